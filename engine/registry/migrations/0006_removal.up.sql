-- Erased people, and organisations that are no more.

-- An erased recipient keeps its id, so that what was sent before is refused for
-- ever, and nothing else: its address becomes '' and its key 'erased:' and the id,
-- which no address can have.
ALTER TABLE recipients ADD COLUMN erased_at INTEGER NOT NULL DEFAULT 0;
CREATE INDEX recipients_erased ON recipients (org_id, id) WHERE erased_at <> 0;

CREATE TABLE erasures (
  org_id      INTEGER NOT NULL REFERENCES organisations (id),
  id          INTEGER NOT NULL CHECK (id > 0),
  person_id   INTEGER NOT NULL DEFAULT 0,
  started_at  INTEGER NOT NULL,
  finished_at INTEGER NOT NULL DEFAULT 0,
  actor_kind  TEXT    NOT NULL CHECK (actor_kind IN ('key', 'recipient', 'import', 'system')),
  actor_key   INTEGER NOT NULL,
  receipt     BLOB    NOT NULL DEFAULT x'',
  PRIMARY KEY (org_id, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX erasures_unfinished ON erasures (org_id, id) WHERE finished_at = 0;

CREATE TABLE erasure_recipients (
  org_id       INTEGER NOT NULL,
  erasure_id   INTEGER NOT NULL,
  recipient_id INTEGER NOT NULL,
  PRIMARY KEY (org_id, erasure_id, recipient_id),
  FOREIGN KEY (org_id, erasure_id) REFERENCES erasures (org_id, id)
) STRICT, WITHOUT ROWID;

-- A row per step that was done, with what it found and did as JSON. erasure_id 0 is
-- the purge of the whole organisation; its rows outlive the organisation's.
CREATE TABLE removal_steps (
  org_id     INTEGER NOT NULL,
  erasure_id INTEGER NOT NULL,
  step       TEXT    NOT NULL,
  done_at    INTEGER NOT NULL,
  found      TEXT    NOT NULL,
  PRIMARY KEY (org_id, erasure_id, step)
) STRICT, WITHOUT ROWID;

-- Outlives the organisation, so that its id and name are never another one's.
CREATE TABLE purges (
  org_id        INTEGER NOT NULL PRIMARY KEY,
  name          TEXT    NOT NULL UNIQUE,
  terminated_at INTEGER NOT NULL,
  purge_at      INTEGER NOT NULL,
  started_at    INTEGER NOT NULL,
  finished_at   INTEGER NOT NULL DEFAULT 0,
  certificate   BLOB    NOT NULL DEFAULT x''
) STRICT;

-- How long the clock has gone on without a jump: see ClockRun.
CREATE TABLE clock_run (
  id    INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  since INTEGER NOT NULL,
  seen  INTEGER NOT NULL
) STRICT;
