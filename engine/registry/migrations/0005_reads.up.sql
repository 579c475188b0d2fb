-- Who read data about persons: ids only. Rows go with their organisation.
-- 0 stands for nobody and nothing in particular.
CREATE TABLE reads (
  id           INTEGER NOT NULL PRIMARY KEY,
  org_id       INTEGER NOT NULL REFERENCES organisations (id),
  at           INTEGER NOT NULL,
  key_id       INTEGER NOT NULL,
  what         TEXT    NOT NULL,
  person_id    INTEGER NOT NULL DEFAULT 0,
  recipient_id INTEGER NOT NULL DEFAULT 0,
  email_id     INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX reads_by_org ON reads (org_id, id);
