-- What is kept of a reply: enough to know its Message-ID again, and nothing that
-- names it. The hash is keyed with the organisation's secret, so that it cannot
-- be compared with guesses or with another organisation's.
CREATE TABLE reply_secrets (
  org_id INTEGER NOT NULL PRIMARY KEY REFERENCES organisations (id),
  secret BLOB    NOT NULL CHECK (length(secret) = 32)
) STRICT;

-- settled 0: its event was about to be recorded; whether it was is in the log.
CREATE TABLE replies (
  org_id  INTEGER NOT NULL REFERENCES organisations (id),
  hash    BLOB    NOT NULL CHECK (length(hash) = 16),
  at      INTEGER NOT NULL,
  settled INTEGER NOT NULL CHECK (settled IN (0, 1)),
  PRIMARY KEY (org_id, hash)
) STRICT, WITHOUT ROWID;

CREATE INDEX replies_by_age ON replies (org_id, at);

-- The emails of one recipient, newest first, for replies without a token.
CREATE INDEX email_recipients_by_recipient ON email_recipients (org_id, recipient_id, email_id);
