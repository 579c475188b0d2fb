package registry

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
)

const (
	// scrubPatience is how long scrub waits for readers that hold old pages of the
	// write-ahead log: longer than any page of a feed takes.
	scrubPatience = 10 * time.Second
	scrubPause    = 10 * time.Millisecond
	// scanBytes is read at a time when looking for texts.
	scanBytes = 1 << 20
)

// scrub removes what deleted and replaced rows left in the files. secure_delete has
// overwritten it in the database; the write-ahead log, which has pages from before,
// is folded away; and where a needle is still found, all pages are written anew,
// which takes time in proportion to the registry. Without needles they always are.
// Others write while it searches: what they write is new.
func (r *Registry) scrub(ctx context.Context, needles []string) error {
	if len(needles) > 0 {
		if err := r.inTurn(ctx, r.foldLog); err != nil {
			return storeError("fold registry's log", err)
		}
		if found, err := r.searchFiles(needles); err != nil || !found {
			return storeError("search registry", err)
		}
	}
	return storeError("write registry anew", r.inTurn(ctx, func(ctx context.Context) error {
		if err := r.foldLog(ctx); err != nil {
			return err
		}
		if _, err := r.writer.ExecContext(ctx, "VACUUM"); err != nil {
			return err
		}
		return r.foldLog(ctx)
	}))
}

// inTurn calls do with the turn of the writer.
func (r *Registry) inTurn(ctx context.Context, do func(context.Context) error) error {
	if err := r.takeTurn(ctx); err != nil {
		return err
	}
	defer r.endTurn()
	return do(ctx)
}

// foldLog moves the write-ahead log into the database and empties its file.
func (r *Registry) foldLog(ctx context.Context) error {
	for deadline := time.Now().Add(scrubPatience); ; {
		var busy, pages, moved int
		err := r.writer.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved)
		if err != nil || busy == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return errors.New("readers keep old pages")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(scrubPause):
		}
	}
}

// searchFiles reports whether a needle, in lower case, is in any byte of the
// database's files, whatever its case there.
func (r *Registry) searchFiles(needles []string) (bool, error) {
	for _, suffix := range []string{"", "-wal"} {
		found, err := searchFile(r.path+suffix, needles)
		if err != nil || found {
			return found, err
		}
	}
	return false, nil
}

func searchFile(path string, needles []string) (found bool, err error) {
	f, err := os.Open(path) //nolint:gosec // the registry's own file
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	longest := 0
	for _, n := range needles {
		longest = max(longest, len(n))
	}
	buf := make([]byte, scanBytes+longest)
	kept := 0 // bytes from the read before, so that nothing across the border is missed
	for {
		n, err := io.ReadFull(f, buf[kept:])
		part := bytes.ToLower(buf[:kept+n])
		for _, needle := range needles {
			if bytes.Contains(part, []byte(needle)) {
				return true, nil
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		kept = copy(buf, buf[kept+n-longest:kept+n])
	}
}

func isNoRows(err error) bool { return errors.Is(err, sql.ErrNoRows) }

// Traces says where the registry still holds something of an erased person.
type Traces struct {
	Records []string // tables with rows that point to them, or that hold their texts
	Bytes   bool     // the text searched for is in the files, or was not searched for
}

// SearchErased looks for what is left of the recipients and the person: their rows,
// and, with texts such as the address, every byte of the registry's files. What the
// ledger keeps is no trace. Another organisation's record of the same address makes
// Bytes true as well.
func (r *Registry) SearchErased(ctx context.Context, org event.OrgID, person PersonID, recipients []event.RecipientID, texts []string) (out Traces, err error) {
	list := jsonList(recipients)
	for _, q := range []struct{ table, query string }{
		{"recipients", "SELECT count(*) FROM recipients WHERE org_id = ?0 AND id IN (SELECT value FROM json_each(?1)) AND (address <> '' OR name <> '' OR person <> '' OR erased_at = 0)"},
		{"person_addresses", "SELECT count(*) FROM person_addresses WHERE org_id = ?0 AND (recipient_id IN (SELECT value FROM json_each(?1)) OR person_id = ?2 AND person_id <> 0)"},
		{"people", "SELECT count(*) FROM people WHERE org_id = ?0 AND id = ?2"},
		{"reads", "SELECT count(*) FROM reads WHERE org_id = ?0 AND (recipient_id <> 0 AND recipient_id IN (SELECT value FROM json_each(?1)) OR person_id <> 0 AND person_id = ?2)"},
	} {
		var n int64
		if err := r.reader.NewRaw(q.query, org, list, person).Scan(ctx, &n); err != nil {
			return out, storeError("search "+q.table, err)
		}
		if n > 0 {
			out.Records = append(out.Records, q.table)
		}
	}
	if len(texts) == 0 {
		return out, nil
	}
	needles := make([]string, 0, len(texts))
	for _, t := range texts {
		needles = append(needles, string(bytes.ToLower([]byte(t))))
	}
	out.Bytes, err = r.searchFiles(needles)
	return out, storeError("search registry", err)
}

// forOrgTables calls fn with every table that has rows of organisations.
func forOrgTables(ctx context.Context, db bun.IDB, fn func(table string) error) error {
	var tables []string
	err := db.NewRaw(`SELECT t.name FROM sqlite_schema AS t JOIN pragma_table_info(t.name) AS c ON c.name = 'org_id'
		WHERE t.type = 'table' AND t.name NOT IN ('purges', 'removal_steps') ORDER BY t.name`).Scan(ctx, &tables)
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	for _, table := range tables {
		if err := fn(table); err != nil {
			return err
		}
	}
	return nil
}
