-- Files that senders upload to go with emails. A row is written before the blob
-- and outlives it, so that every blob has a row: "uploading" and "removed" rows
-- that grow old name blobs that nobody needs.

ALTER TABLE organisations ADD COLUMN last_attachment_id INTEGER NOT NULL DEFAULT 0;

CREATE TABLE attachments (
  org_id       INTEGER NOT NULL REFERENCES organisations (id),
  id           INTEGER NOT NULL,
  name         TEXT    NOT NULL,
  content_type TEXT    NOT NULL,
  size         INTEGER NOT NULL DEFAULT 0 CHECK (size >= 0),
  sha256       TEXT    NOT NULL DEFAULT '',
  blob_key     TEXT    NOT NULL UNIQUE,
  follow       INTEGER NOT NULL CHECK (follow IN (0, 1)),
  sent         INTEGER NOT NULL DEFAULT 0 CHECK (sent IN (0, 1)),
  state        TEXT    NOT NULL CHECK (state IN ('uploading', 'stored', 'removed')),
  created_at   INTEGER NOT NULL,
  PRIMARY KEY (org_id, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX attachments_abandoned ON attachments (created_at) WHERE sent = 0;

-- followed: views are collected where the recipient allows it; else the file went
-- with the mail itself. It does not follow later changes of attachments.follow,
-- which there are none of once sent.
CREATE TABLE email_attachments (
  org_id        INTEGER NOT NULL,
  email_id      INTEGER NOT NULL,
  ordinal       INTEGER NOT NULL CHECK (ordinal > 0),
  attachment_id INTEGER NOT NULL,
  followed      INTEGER NOT NULL CHECK (followed IN (0, 1)),
  PRIMARY KEY (org_id, email_id, ordinal),
  UNIQUE (org_id, email_id, attachment_id),
  FOREIGN KEY (org_id, email_id) REFERENCES emails (org_id, id),
  FOREIGN KEY (org_id, attachment_id) REFERENCES attachments (org_id, id)
) STRICT, WITHOUT ROWID;
