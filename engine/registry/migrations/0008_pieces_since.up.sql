-- How many entries the ledger had when the changes were asked for: what others gave
-- since then is behind them.
ALTER TABLE consent_pieces ADD COLUMN since INTEGER NOT NULL DEFAULT 0;
