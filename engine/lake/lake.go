// Package lake keeps each organisation's interactions as one Iceberg table:
// immutable Parquet blobs in a blob.Store, named by manifests and metadata in
// the same store, of which a SQL catalog (SQLite) holds the current one. Any
// engine that reads Iceberg reads the tables as they are.
//
// The package has four types to know: Lake, Table, Snapshot, File.
//
//	<warehouse>/<org>/interactions/data/2026-07/<uuid v7>-<sha256/128>.parquet   Write puts it
//	<warehouse>/<org>/interactions/metadata/<uuid>-m0.avro                       its columns' bounds
//	<warehouse>/<org>/interactions/metadata/snap-….avro                          one per snapshot
//	<warehouse>/<org>/interactions/metadata/00042-<uuid>.metadata.json           one per commit
//	catalog: (org, interactions) ──▶ location of the metadata                    Commit moves it
//
// A data blob's name ends in the first 128 bits of its SHA-256, so that whoever
// has the blob can tell whether it is intact, without any other record.
//
// A node's mark is the table property mailwake.mark.<node>: how far that node's
// log is in the table. It changes in the same transaction as the files.
//
// Invariants: Commit is the only place where a table changes; files and mark
// move together and a mark never moves backwards. A data blob's key is never
// used twice and its bytes never change. Deletion is two steps: a commit takes a
// file out of the table, and Collect deletes the blob when nobody can be reading
// it any more; expiry of snapshots removes manifests and metadata only.
package lake

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/iceberg-go"
	sqlcat "github.com/apache/iceberg-go/catalog/sql"
	"github.com/apache/iceberg-go/table"

	"mailwake/engine/blob"
)

// defaultExpireEvery keeps the metadata that every commit reads and writes
// small: see BenchmarkCommitAfter1000.
const defaultExpireEvery = 50

// Options configure a Lake. Store and CatalogPath are required; CacheDir as
// well unless Store is a folder on this machine.
type Options struct {
	Store       blob.Store
	Warehouse   string       // key prefix of all tables; default "warehouse"
	CatalogPath string       // SQLite file, created when missing; shared by all processes that commit
	CacheDir    string       // folder of its own for copies of remote blobs
	CacheBytes  int64        // bytes to keep in CacheDir; default 10 GiB; files in use may exceed it
	Logger      *slog.Logger // default slog.Default()
	ExpireEvery int          // number of snapshots at which old ones expire; default 50
	// Now is the clock by which replaced blobs wait for their deletion; default time.Now.
	Now func() time.Time
}

func (o *Options) setDefaults() {
	if o.Warehouse == "" {
		o.Warehouse = "warehouse"
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 10 << 30
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.ExpireEvery == 0 {
		o.ExpireEvery = defaultExpireEvery
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

func (o *Options) validate() error {
	switch {
	case o.Store == nil:
		return errors.New("open lake: no store")
	case o.CatalogPath == "":
		return errors.New("open lake: no catalog path")
	case o.ExpireEvery <= retainedSnapshots:
		return fmt.Errorf("open lake: expire every %d commits, want more than %d", o.ExpireEvery, retainedSnapshots)
	case o.CacheBytes < 0:
		return fmt.Errorf("open lake: negative cache size %d", o.CacheBytes)
	}
	if err := blob.CheckKey(o.Warehouse); err != nil {
		return fmt.Errorf("open lake: warehouse: %w", err)
	}
	if base := o.Store.URL(""); strings.ContainsAny(base, "?#%") {
		return fmt.Errorf("open lake: Iceberg cannot name files below %s: its path must not contain ?, # or %%", base)
	}
	if _, local := blob.LocalPath(o.Store, "x"); !local && o.CacheDir == "" {
		return errors.New("open lake: a store that is not a local folder needs a cache folder")
	}
	return nil
}

// Errors that callers tell apart.
var (
	// ErrMark says that a commit would not move its node's mark forward: what it
	// holds is in the table already, or another process uses the node's name.
	ErrMark = errors.New("mark is not ahead of the table's")
	// ErrConflict says that a change does not fit what others have committed
	// meanwhile: it must be planned anew.
	ErrConflict = errors.New("another commit came first")
	// ErrStale says that files to remove are not in the table any more. It is an
	// ErrConflict.
	ErrStale = fmt.Errorf("%w: files to remove are not in the table", ErrConflict)
	// ErrOrg says that a name cannot be an organisation's.
	ErrOrg = errors.New("invalid organisation name")
	// ErrBatch says that Write was given rows that break the table's layout.
	ErrBatch = errors.New("batch does not fit the table")
)

// CorruptError says that a blob is not what was stored. Nothing repairs it.
type CorruptError struct {
	Key    string // of the blob
	Detail string
}

// Error implements error.
func (e *CorruptError) Error() string { return fmt.Sprintf("blob %s is corrupt: %s", e.Key, e.Detail) }

// Lake holds the tables of all organisations. It is safe for concurrent use, by
// several Lakes and processes on the same store and catalog too.
type Lake struct {
	opts    Options
	id      string // under which fileIO finds opts.Store
	catalog *sqlcat.Catalog
	db      *sql.DB // below catalog
	cache   *cache  // nil: the store is a folder on this machine
	pins    pins
	// committer is catalog; tests put something less reliable in between.
	committer table.CatalogIO

	mu struct {
		sync.Mutex
		tables map[string]*Table // org -> table, not yet opened when current is nil
	}
	expireFailures atomic.Int64
}

// Open opens the catalog and the cache, creating both when missing. It starts
// no goroutine.
func Open(ctx context.Context, o Options) (_ *Lake, err error) {
	o.setDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	l := &Lake{opts: o, id: registerStore(o.Store)}
	l.mu.tables = map[string]*Table{}
	l.pins.init()
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if _, local := blob.LocalPath(o.Store, "x"); !local {
		if l.cache, err = openCache(o.CacheDir, o.CacheBytes); err != nil {
			return nil, fmt.Errorf("open lake: %w", err)
		}
	}
	props := iceberg.Properties{"warehouse": o.Store.URL(o.Warehouse), storeProperty: l.id}
	if l.catalog, l.db, err = openCatalog(ctx, o.CatalogPath, props); err != nil {
		return nil, fmt.Errorf("open lake: %w", err)
	}
	if _, err := l.db.ExecContext(ctx, ledgerSchema); err != nil {
		return nil, fmt.Errorf("open ledger of replaced blobs: %w", err)
	}
	l.committer = l.catalog
	return l, nil
}

// Close closes the catalog. It leaves the Store open and must not run while
// other calls do.
func (l *Lake) Close() error {
	unregisterStore(l.id)
	if l.catalog == nil {
		return nil
	}
	if err := errors.Join(l.catalog.Close(), l.db.Close()); err != nil {
		return fmt.Errorf("close catalog: %w", err)
	}
	return nil
}

// ExpireFailures counts the expiries of snapshots that did not work since Open.
// They are tried again with later commits; until then commits get slower.
func (l *Lake) ExpireFailures() int64 { return l.expireFailures.Load() }

var orgName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

func checkOrg(org string) error {
	if !orgName.MatchString(org) {
		return fmt.Errorf("%w: %q", ErrOrg, org)
	}
	return nil
}

// Table opens the organisation's table, creating it when missing, and reads its
// current snapshot. Every call for one organisation returns the same *Table.
func (l *Lake) Table(ctx context.Context, org string) (*Table, error) {
	if err := checkOrg(org); err != nil {
		return nil, err
	}
	l.mu.Lock()
	t, ok := l.mu.tables[org]
	if !ok {
		t = newTable(l, org)
		l.mu.tables[org] = t
	}
	l.mu.Unlock()
	if err := t.open(ctx); err != nil {
		return nil, fmt.Errorf("open table of %s: %w", org, err)
	}
	return t, nil
}

// tableKey is the key prefix of everything that belongs to org's table, without
// a trailing slash.
func (l *Lake) tableKey(org string) string { return path.Join(l.opts.Warehouse, org, tableName) }

// keyOf is the key of a location in a manifest, in metadata or in the catalog.
// iceberg-go escapes the locations that it makes up; the keys themselves hold
// nothing to escape.
func keyOf(s blob.Store, location string) (string, error) {
	base := s.URL("")
	if key, ok := strings.CutPrefix(location, base); ok {
		return key, nil
	}
	if u, err := url.Parse(base); err == nil {
		if key, ok := strings.CutPrefix(location, u.String()); ok {
			return key, nil
		}
	}
	return "", fmt.Errorf("location %s is outside the store %s", location, base)
}
