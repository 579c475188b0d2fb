-- Preferences that were taken together and are many, on their way into the ledger: a
-- row goes in the transaction that applies it. changes is JSON.
CREATE TABLE consent_pieces (
  org_id   INTEGER NOT NULL REFERENCES organisations (id),
  piece    INTEGER NOT NULL CHECK (piece > 0),
  proof_id INTEGER NOT NULL,
  at       INTEGER NOT NULL,
  changes  BLOB    NOT NULL,
  PRIMARY KEY (org_id, piece),
  FOREIGN KEY (org_id, proof_id) REFERENCES consent_proofs (org_id, id)
) STRICT;
