package lake

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"
)

// ErrPinned says that somebody in this process is reading what is to be deleted.
var ErrPinned = errors.New("data files are being read")

// Drop deletes the organisation's table for good: first from the catalog, so that
// a table never names blobs that are gone, then everything below the organisation's
// prefix, attachments included, then local copies. Its Table must not be used any more, and nobody may create one of
// the same name meanwhile. Calling it again after an error, or when there is no
// table, is right. ErrPinned while this process reads the table.
func (l *Lake) Drop(ctx context.Context, org string) (Collected, error) {
	if err := checkOrg(org); err != nil {
		return Collected{}, err
	}
	c, err := l.drop(ctx, org)
	if err != nil {
		return c, fmt.Errorf("drop table of %s: %w", org, err)
	}
	return c, nil
}

func (l *Lake) drop(ctx context.Context, org string) (c Collected, err error) {
	prefix := l.Prefix(org)
	for key := range l.pins.pinned() {
		if strings.HasPrefix(key, prefix) {
			return c, ErrPinned
		}
	}
	id := table.Identifier{org, tableName}
	if err := l.catalog.DropTable(ctx, id); err != nil && !errors.Is(err, catalog.ErrNoSuchTable) && !errors.Is(err, catalog.ErrNoSuchNamespace) {
		return c, err
	}
	if err := l.catalog.DropNamespace(ctx, catalog.NamespaceFromIdent(id)); err != nil && !errors.Is(err, catalog.ErrNoSuchNamespace) {
		return c, err
	}
	l.mu.Lock()
	delete(l.mu.tables, org)
	l.mu.Unlock()
	if err := l.dropBlobs(ctx, org, &c); err != nil {
		return c, err
	}
	err = l.inLedger(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM mailwake_replaced WHERE org = ?`, org)
		return err
	})
	if err != nil {
		return c, err
	}
	return c, l.scrub(ctx)
}

// scrub writes the catalog anew: free pages and the write-ahead log still have what
// was deleted. It is small.
func (l *Lake) scrub(ctx context.Context) error {
	if _, err := l.db.ExecContext(ctx, "VACUUM"); err != nil {
		return fmt.Errorf("write catalog anew: %w", err)
	}
	var busy, pages, folded int
	if err := l.db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &folded); err != nil {
		return fmt.Errorf("fold catalog's log: %w", err)
	}
	if busy != 0 {
		return errors.New("fold catalog's log: somebody reads it for long")
	}
	return nil
}

// dropBlobs deletes everything below the organisation's prefix, here and there.
func (l *Lake) dropBlobs(ctx context.Context, org string, c *Collected) error {
	var keys []string
	for info, err := range l.opts.Store.List(ctx, l.Prefix(org)) {
		if err != nil {
			return err
		}
		keys = append(keys, info.Key)
		c.Bytes += info.Size
	}
	if err := l.opts.Store.Delete(ctx, keys...); err != nil {
		return err
	}
	for info, err := range l.opts.Store.List(ctx, l.Prefix(org)) {
		if err != nil {
			return err
		}
		return fmt.Errorf("%s is still there after it was deleted", info.Key)
	}
	c.Deleted += len(keys)
	if l.cache == nil {
		return nil
	}
	return l.cache.forgetAll(l.Prefix(org))
}

// ForgetDropped removes the local copies that this process has of an organisation
// whose table another process has dropped. ErrPinned while somebody reads them.
func (l *Lake) ForgetDropped(org string) error {
	if err := checkOrg(org); err != nil {
		return err
	}
	l.mu.Lock()
	delete(l.mu.tables, org)
	l.mu.Unlock()
	for key := range l.pins.pinned() {
		if strings.HasPrefix(key, l.Prefix(org)) {
			return ErrPinned
		}
	}
	if l.cache == nil {
		return nil
	}
	return l.cache.forgetAll(l.Prefix(org))
}

// forgetAll removes all copies of keys with prefix, and their folder.
func (c *cache) forgetAll(prefix string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, el := range c.mu.entries {
		if e := el.Value.(*entry); strings.HasPrefix(key, prefix) && e.pins == 0 && e.busy == nil {
			c.dropLocked(e)
		}
	}
	return os.RemoveAll(c.path(strings.TrimSuffix(prefix, "/")))
}

// Dropped returns what is left of the organisation's table: nothing once Drop has
// done its work.
func (l *Lake) Dropped(ctx context.Context, org string) (left []string, err error) {
	if err := checkOrg(org); err != nil {
		return nil, err
	}
	if _, err := l.metadataLocation(ctx, org); err == nil {
		left = append(left, "catalog")
	} else if !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	for info, err := range l.opts.Store.List(ctx, l.Prefix(org)) {
		if err != nil {
			return nil, fmt.Errorf("list blobs of %s: %w", org, err)
		}
		left = append(left, info.Key)
	}
	if l.cache == nil {
		return left, nil
	}
	err = filepath.WalkDir(l.cache.path(strings.TrimSuffix(l.Prefix(org), "/")), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			left = append(left, "cache/"+filepath.Base(path))
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	})
	return left, err
}

// ForgetCopies removes the local copies of blobs that are not in the current
// snapshot and that nobody is reading.
func (t *Table) ForgetCopies() {
	if t.lake.cache == nil {
		return
	}
	live := keysOf(t.Snapshot().Files())
	c, prefix := t.lake.cache, t.lake.tableKey(t.org)+"/"
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, el := range c.mu.entries {
		_, in := live[key]
		if e := el.Value.(*entry); !in && strings.HasPrefix(key, prefix) && e.pins == 0 && e.busy == nil {
			c.dropLocked(e)
		}
	}
}
