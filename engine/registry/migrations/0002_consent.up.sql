-- Purposes are bits: 1 open, 2 click, 4 attachment, 8 reply. A subject's own
-- preference is two sets of them, allowed and denied; in neither is unknown.

ALTER TABLE organisations ADD COLUMN terminated_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE organisations ADD COLUMN purge_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE organisations ADD COLUMN policy_unknown TEXT NOT NULL DEFAULT 'opt_out' CHECK (policy_unknown IN ('opt_out', 'opt_in'));
ALTER TABLE organisations ADD COLUMN policy_on_refusal TEXT NOT NULL DEFAULT 'block' CHECK (policy_on_refusal IN ('block', 'follow_others'));
ALTER TABLE organisations ADD COLUMN policy_on_withdrawal TEXT NOT NULL DEFAULT 'hide' CHECK (policy_on_withdrawal IN ('hide', 'purge'));
ALTER TABLE organisations ADD COLUMN policy_hide_days INTEGER NOT NULL DEFAULT 30;
ALTER TABLE organisations ADD COLUMN policy_max_age_days INTEGER NOT NULL DEFAULT 0;
ALTER TABLE organisations ADD COLUMN policy_zone TEXT NOT NULL DEFAULT 'UTC';
ALTER TABLE organisations ADD COLUMN policy_smart_replies INTEGER NOT NULL DEFAULT 0 CHECK (policy_smart_replies IN (0, 1));
ALTER TABLE organisations ADD COLUMN last_person_id INTEGER NOT NULL DEFAULT 0;
ALTER TABLE organisations ADD COLUMN last_proof_id INTEGER NOT NULL DEFAULT 0;
ALTER TABLE organisations ADD COLUMN last_email_change INTEGER NOT NULL DEFAULT 0;
-- Moves with every change of what the snapshot's consent says.
ALTER TABLE organisations ADD COLUMN consent_version INTEGER NOT NULL DEFAULT 0;
-- The ledger's head: without it, entries cut off its end would not show.
ALTER TABLE organisations ADD COLUMN ledger_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE organisations ADD COLUMN ledger_hash BLOB NOT NULL DEFAULT x'';

CREATE TABLE org_events (
  org_id     INTEGER NOT NULL REFERENCES organisations (id),
  seq        INTEGER NOT NULL CHECK (seq > 0),
  at         INTEGER NOT NULL,
  actor_kind TEXT    NOT NULL CHECK (actor_kind IN ('key', 'recipient', 'import', 'system')),
  actor_key  INTEGER NOT NULL,
  action     TEXT    NOT NULL CHECK (action IN ('provision', 'enable', 'disable', 'terminate', 'resubscribe', 'policy')),
  before     TEXT    NOT NULL,
  after      TEXT    NOT NULL,
  PRIMARY KEY (org_id, seq)
) STRICT, WITHOUT ROWID;

INSERT INTO org_events (org_id, seq, at, actor_kind, actor_key, action, before, after)
  SELECT id, 1, created_at, 'system', 0, 'provision', '', state FROM organisations;

CREATE TABLE people (
  org_id      INTEGER NOT NULL REFERENCES organisations (id),
  id          INTEGER NOT NULL,
  kind        TEXT    NOT NULL CHECK (kind IN ('contact', 'lead', 'account')),
  external_id TEXT    NOT NULL,
  name        TEXT    NOT NULL,
  account_id  INTEGER CHECK (account_id IS NULL OR kind = 'contact'),
  created_at  INTEGER NOT NULL,
  allowed     INTEGER NOT NULL DEFAULT 0 CHECK (allowed BETWEEN 0 AND 15),
  denied      INTEGER NOT NULL DEFAULT 0 CHECK (denied BETWEEN 0 AND 15 AND allowed & denied = 0),
  PRIMARY KEY (org_id, id),
  UNIQUE (org_id, kind, external_id),
  FOREIGN KEY (org_id, account_id) REFERENCES people (org_id, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX people_by_account ON people (org_id, account_id) WHERE account_id IS NOT NULL;

-- ordinal is the place of the address in the person's list, from 1.
CREATE TABLE person_addresses (
  org_id       INTEGER NOT NULL,
  person_id    INTEGER NOT NULL,
  recipient_id INTEGER NOT NULL,
  ordinal      INTEGER NOT NULL CHECK (ordinal > 0),
  PRIMARY KEY (org_id, person_id, recipient_id),
  FOREIGN KEY (org_id, person_id) REFERENCES people (org_id, id),
  FOREIGN KEY (org_id, recipient_id) REFERENCES recipients (org_id, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX person_addresses_by_recipient ON person_addresses (org_id, recipient_id);

-- answer is what follows from all preferences that reach the address, so that
-- opening the registry need not work it out again: denied + 16 * allowed.
-- answered_at is when what it denies last changed.
ALTER TABLE recipients ADD COLUMN allowed INTEGER NOT NULL DEFAULT 0 CHECK (allowed BETWEEN 0 AND 15);
ALTER TABLE recipients ADD COLUMN denied INTEGER NOT NULL DEFAULT 0 CHECK (denied BETWEEN 0 AND 15 AND allowed & denied = 0);
ALTER TABLE recipients ADD COLUMN answer INTEGER NOT NULL DEFAULT 0 CHECK (answer BETWEEN 0 AND 255);
ALTER TABLE recipients ADD COLUMN answered_at INTEGER NOT NULL DEFAULT 0;

CREATE INDEX recipients_answered ON recipients (org_id, answer) WHERE answer <> 0;

-- What one call of SetPreferences was given as proof; its entries share it.
CREATE TABLE consent_proofs (
  org_id       INTEGER NOT NULL REFERENCES organisations (id),
  id           INTEGER NOT NULL,
  source       TEXT    NOT NULL,
  form_version TEXT    NOT NULL,
  shown        TEXT    NOT NULL,
  locale       TEXT    NOT NULL,
  actor_kind   TEXT    NOT NULL CHECK (actor_kind IN ('key', 'recipient', 'import', 'system')),
  actor_key    INTEGER NOT NULL,
  PRIMARY KEY (org_id, id)
) STRICT, WITHOUT ROWID;

-- hash is SHA-256 over the previous entry's hash and all fields of this one, its
-- proof's included. Subjects have no foreign key: entries outlive them.
CREATE TABLE consent_ledger (
  org_id       INTEGER NOT NULL REFERENCES organisations (id),
  seq          INTEGER NOT NULL CHECK (seq > 0),
  at           INTEGER NOT NULL,
  subject_kind TEXT    NOT NULL CHECK (subject_kind IN ('person', 'recipient')),
  subject_id   INTEGER NOT NULL,
  purposes     INTEGER NOT NULL CHECK (purposes BETWEEN 1 AND 15),
  state        TEXT    NOT NULL CHECK (state IN ('unknown', 'allowed', 'denied')),
  was_allowed  INTEGER NOT NULL,
  was_denied   INTEGER NOT NULL,
  evidence     TEXT    NOT NULL,
  proof_id     INTEGER NOT NULL,
  hash         BLOB    NOT NULL,
  PRIMARY KEY (org_id, seq),
  FOREIGN KEY (org_id, proof_id) REFERENCES consent_proofs (org_id, id)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER consent_ledger_is_append_only BEFORE UPDATE ON consent_ledger
BEGIN SELECT raise(ABORT, 'the consent ledger is append-only'); END;
CREATE TRIGGER consent_proofs_are_append_only BEFORE UPDATE ON consent_proofs
BEGIN SELECT raise(ABORT, 'the consent ledger is append-only'); END;

CREATE INDEX consent_ledger_by_subject ON consent_ledger (org_id, subject_kind, subject_id);

-- follow_state is what was found, wished what the sender asked for, reasons the
-- names of what stood against it, separated by commas. sent_at is when copies were
-- handed out, followed or plain; 0 is never. change is the organisation's counter
-- of changes to its emails.
ALTER TABLE emails ADD COLUMN wished INTEGER NOT NULL DEFAULT 1 CHECK (wished IN (0, 1));
ALTER TABLE emails ADD COLUMN reasons TEXT NOT NULL DEFAULT '';
ALTER TABLE emails ADD COLUMN sent_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE emails ADD COLUMN change INTEGER NOT NULL DEFAULT 0;
UPDATE emails SET sent_at = created_at, change = id;
UPDATE organisations SET last_email_change = last_email_id;
CREATE INDEX emails_by_change ON emails (org_id, change);

-- purposes is what may be collected of this recipient's copy.
ALTER TABLE email_recipients ADD COLUMN purposes INTEGER NOT NULL DEFAULT 15 CHECK (purposes BETWEEN 0 AND 15);
ALTER TABLE email_recipients ADD COLUMN reasons TEXT NOT NULL DEFAULT '';
ALTER TABLE email_recipients ADD COLUMN blocks INTEGER NOT NULL DEFAULT 0 CHECK (blocks IN (0, 1));
