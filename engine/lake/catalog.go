package lake

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/iceberg-go"
	sqlcat "github.com/apache/iceberg-go/catalog/sql"
	iceio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"mailwake/engine/blob"
)

// openCatalog opens Iceberg's SQL catalog in the SQLite file at path.
// synchronous=FULL, since the log is trimmed once a commit has returned: a
// commit that a power cut takes back would take acknowledged events with it.
// The busy timeout comes first, it also covers the switch to WAL mode.
func openCatalog(ctx context.Context, path string, props iceberg.Properties) (_ *sqlcat.Catalog, _ *sql.DB, err error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, fmt.Errorf("open catalog: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(abs), 0o750); err != nil {
		return nil, nil, fmt.Errorf("open catalog: %w", err)
	}
	options := url.Values{
		"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)"},
		"_txlock": {"immediate"},
	}
	name := url.URL{Path: filepath.ToSlash(abs)}
	db, err := sql.Open("sqlite", "file:"+name.EscapedPath()+"?"+options.Encode())
	if err != nil {
		return nil, nil, fmt.Errorf("open catalog: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	if err := db.PingContext(ctx); err != nil {
		return nil, nil, fmt.Errorf("open catalog %s: %w", path, err)
	}
	c, err := sqlcat.NewCatalog("mailwake", db, sqlcat.SQLite, props)
	if err != nil {
		return nil, nil, fmt.Errorf("open catalog %s: %w", path, err)
	}
	return c, db, nil
}

// commitCatalog is the catalog as iceberg-go's transactions see it during one
// commit. It makes up for three things that the SQL catalog does not do:
//   - a lost race comes back as plain text; here it becomes
//     table.ErrCommitFailed, which the transaction retries on fresh metadata;
//   - nothing is checked against the newest metadata but snapshot ids; here
//     guard decides as well;
//   - the metadata file of a lost race stays behind; here it is deleted.
type commitCatalog struct {
	inner    table.CatalogIO
	store    blob.Store
	guard    table.Requirement
	location func(context.Context) (string, error) // of the table's metadata, as the catalog has it
}

// LoadTable implements table.CatalogIO.
func (c *commitCatalog) LoadTable(ctx context.Context, id table.Identifier) (*table.Table, error) {
	t, err := c.inner.LoadTable(ctx, id)
	if err != nil {
		return nil, err
	}
	return c.wrap(t), nil
}

// wrap returns t with commits going through c. It passes on nothing of t that
// refers to t itself: tables wrapped commit after commit would form a chain.
func (c *commitCatalog) wrap(t *table.Table) *table.Table {
	return table.New(t.Identifier(), t.Metadata(), t.MetadataLocation(), c.files, c)
}

func (c *commitCatalog) files(ctx context.Context) (iceio.IO, error) {
	return &fileIO{ctx: ctx, store: c.store}, nil
}

// CommitTable implements table.CatalogIO.
func (c *commitCatalog) CommitTable(ctx context.Context, id table.Identifier, reqs []table.Requirement, updates []table.Update) (table.Metadata, string, error) {
	var written []string
	record := context.WithValue(ctx, writtenKey{}, &written)
	meta, location, err := c.inner.CommitTable(record, id, slices.Concat([]table.Requirement{c.guard}, reqs), updates)
	if err == nil {
		return meta, location, nil
	}
	if err = lostRace(err); errors.Is(err, table.ErrCommitFailed) {
		err = errors.Join(err, c.discard(context.WithoutCancel(ctx), written))
	}
	return nil, "", err
}

// discard deletes metadata that the catalog has refused. Deleting what it did
// accept would destroy the table, so it is asked once more.
func (c *commitCatalog) discard(ctx context.Context, written []string) error {
	location, err := c.location(ctx)
	if err != nil {
		return err
	}
	key, err := keyOf(c.store, location)
	if err != nil || slices.Contains(written, key) {
		return err
	}
	return c.store.Delete(ctx, written...)
}

// lostRace marks the errors that say for sure that another commit came first
// and this one left no trace in the catalog. iceberg-go's own requirements have
// no sentinel, so their text must do; a contention test holds this in place.
func lostRace(err error) error {
	switch {
	case errors.Is(err, table.ErrCommitFailed):
		return err
	case isBusy(err), strings.HasPrefix(strings.ToLower(err.Error()), "requirement failed"):
		return fmt.Errorf("%w: %w", table.ErrCommitFailed, err)
	default:
		return err
	}
}

// isBusy reports whether SQLite gave up waiting for another writer. It has
// rolled back then.
func isBusy(err error) bool {
	var s *sqlite.Error
	if !errors.As(err, &s) {
		return false
	}
	primary := s.Code() & 0xff
	return primary == sqlite3.SQLITE_BUSY || primary == sqlite3.SQLITE_LOCKED
}
