-- Times are microseconds since the Unix epoch, UTC; 0 is never.
-- Ids are handed out from the counters below, inside the transaction that uses
-- them, so they are dense and are not given out twice, even after a deletion.

CREATE TABLE sequences (
  name TEXT NOT NULL PRIMARY KEY,
  last INTEGER NOT NULL CHECK (last BETWEEN 0 AND 4294967295)
) STRICT, WITHOUT ROWID;

INSERT INTO sequences (name, last) VALUES ('organisation', 0), ('key', 0);

CREATE TABLE organisations (
  id                INTEGER NOT NULL PRIMARY KEY,
  name              TEXT    NOT NULL UNIQUE,
  title             TEXT    NOT NULL,
  state             TEXT    NOT NULL CHECK (state IN ('enabled', 'disabled', 'terminated')),
  created_at        INTEGER NOT NULL,
  last_email_id     INTEGER NOT NULL DEFAULT 0,
  last_recipient_id INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE recipients (
  org_id      INTEGER NOT NULL REFERENCES organisations (id),
  id          INTEGER NOT NULL,
  address     TEXT    NOT NULL,
  address_key TEXT    NOT NULL,
  name        TEXT    NOT NULL,
  person      TEXT    NOT NULL,
  created_at  INTEGER NOT NULL,
  PRIMARY KEY (org_id, id),
  UNIQUE (org_id, address_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE emails (
  org_id       INTEGER NOT NULL REFERENCES organisations (id),
  id           INTEGER NOT NULL,
  sender       TEXT    NOT NULL,
  subject      TEXT    NOT NULL,
  template     TEXT    NOT NULL,
  follow_state TEXT    NOT NULL CHECK (follow_state IN ('on', 'off', 'blocked')),
  created_at   INTEGER NOT NULL,
  PRIMARY KEY (org_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE email_recipients (
  org_id       INTEGER NOT NULL,
  email_id     INTEGER NOT NULL,
  recipient_id INTEGER NOT NULL,
  PRIMARY KEY (org_id, email_id, recipient_id),
  FOREIGN KEY (org_id, email_id) REFERENCES emails (org_id, id),
  FOREIGN KEY (org_id, recipient_id) REFERENCES recipients (org_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE links (
  org_id   INTEGER NOT NULL,
  email_id INTEGER NOT NULL,
  ordinal  INTEGER NOT NULL CHECK (ordinal > 0),
  url      TEXT    NOT NULL,
  PRIMARY KEY (org_id, email_id, ordinal),
  FOREIGN KEY (org_id, email_id) REFERENCES emails (org_id, id)
) STRICT, WITHOUT ROWID;

-- org_id NULL: the key is good for all organisations.
CREATE TABLE api_keys (
  id           INTEGER NOT NULL PRIMARY KEY,
  name         TEXT    NOT NULL,
  role         TEXT    NOT NULL CHECK (role IN ('admin', 'sender', 'ingest', 'analyst', 'aggregate_analyst')),
  org_id       INTEGER REFERENCES organisations (id),
  hash         TEXT    NOT NULL UNIQUE,
  created_at   INTEGER NOT NULL,
  revoked_at   INTEGER NOT NULL DEFAULT 0,
  last_used_at INTEGER NOT NULL DEFAULT 0
) STRICT;
