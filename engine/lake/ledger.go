package lake

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// The ledger of replaced blobs lives beside the catalog, where every process that
// commits finds it. A key enters it before the commit that removes it, so that
// none is forgotten, and leaves it when its blob was seen to be gone.
//
//	noted ──commit, or Collect sees it is in the table no more──▶ replaced since ──grace──▶ deleted, seen gone: out
//	  └─ an hour later still in the table: the commit failed: out
const ledgerSchema = `CREATE TABLE IF NOT EXISTS mailwake_replaced (
	org TEXT NOT NULL, key TEXT NOT NULL,
	noted_at INTEGER NOT NULL, -- µs
	since INTEGER NOT NULL,    -- µs; 0 while it may be in the table
	PRIMARY KEY (org, key)
)`

// replaced is one line of the ledger.
type replaced struct {
	key          string
	noted, since time.Time // since is zero while the key may be in the table
}

// inLedger runs change in one transaction.
func (l *Lake) inLedger(ctx context.Context, change func(tx *sql.Tx) error) error {
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("ledger of replaced blobs: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // does nothing after Commit
	if err := change(tx); err != nil {
		return fmt.Errorf("ledger of replaced blobs: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("ledger of replaced blobs: %w", err)
	}
	return nil
}

// noteReplaced enters keys that are about to leave org's table, or, with since
// set, that have left it.
func (l *Lake) noteReplaced(ctx context.Context, org string, keys []string, since time.Time) error {
	if len(keys) == 0 {
		return nil
	}
	at := int64(0)
	if !since.IsZero() {
		at = since.UnixMicro()
	}
	return l.inLedger(ctx, func(tx *sql.Tx) error {
		for _, key := range keys {
			_, err := tx.ExecContext(ctx, `INSERT INTO mailwake_replaced (org, key, noted_at, since) VALUES (?, ?, ?, ?)
				ON CONFLICT (org, key) DO UPDATE SET noted_at = excluded.noted_at,
				since = CASE WHEN mailwake_replaced.since = 0 THEN excluded.since ELSE mailwake_replaced.since END`,
				org, key, l.opts.Now().UnixMicro(), at)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// forgetReplaced takes keys out.
func (l *Lake) forgetReplaced(ctx context.Context, org string, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	return l.inLedger(ctx, func(tx *sql.Tx) error {
		for _, key := range keys {
			if _, err := tx.ExecContext(ctx, `DELETE FROM mailwake_replaced WHERE org = ? AND key = ?`, org, key); err != nil {
				return err
			}
		}
		return nil
	})
}

// Replaced returns since when each of the blobs that Collect is to delete is in the
// table no more; zero is what Collect has not seen yet.
func (t *Table) Replaced(ctx context.Context) (since []time.Time, err error) {
	list, err := t.lake.listReplaced(ctx, t.org)
	live := keysOf(t.Snapshot().Files())
	for _, r := range list {
		if _, in := live[r.key]; !in {
			since = append(since, r.since)
		}
	}
	return since, err
}

// listReplaced returns org's lines.
func (l *Lake) listReplaced(ctx context.Context, org string) (list []replaced, err error) {
	rows, err := l.db.QueryContext(ctx, `SELECT key, noted_at, since FROM mailwake_replaced WHERE org = ? ORDER BY key`, org)
	if err != nil {
		return nil, fmt.Errorf("ledger of replaced blobs: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r replaced
		var noted, since int64
		if err := rows.Scan(&r.key, &noted, &since); err != nil {
			return nil, fmt.Errorf("ledger of replaced blobs: %w", err)
		}
		r.noted = time.UnixMicro(noted)
		if since != 0 {
			r.since = time.UnixMicro(since)
		}
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("ledger of replaced blobs: %w", err)
	}
	return list, nil
}
