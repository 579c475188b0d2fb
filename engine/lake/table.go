package lake

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"

	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"

	"mailwake/engine/blob"
)

// reloads bounds how often a load is tried again because the metadata it was
// about to read was replaced and deleted meanwhile.
const reloads = 5

// Table is one organisation's table. It is safe for concurrent use; Commit and
// Refresh of one Table run one after the other.
type Table struct {
	lake    *Lake
	org     string
	id      table.Identifier
	busy    chan struct{} // holds one token while current is being replaced
	current atomic.Pointer[state]
	// expireAt is the number of snapshots at which expiry is due. Owned by busy.
	expireAt int
}

// state is a version of the table: iceberg-go's view and ours.
type state struct {
	iceberg  *table.Table
	snapshot *Snapshot
}

func newTable(l *Lake, org string) *Table {
	return &Table{
		lake: l, org: org, id: table.Identifier{org, tableName},
		busy: make(chan struct{}, 1), expireAt: l.opts.ExpireEvery,
	}
}

// Snapshot is one version of a table. It is immutable and needs no release: its
// files stay readable for the grace of Collect, and longer while it is pinned.
type Snapshot struct {
	id    int64
	files []File
	rows  int64
	marks map[string]uint64
}

// ID is Iceberg's snapshot id, 0 while the table has never held a file. A
// commit of a mark alone does not change it.
func (s *Snapshot) ID() int64 { return s.id }

// Files returns the data files in no particular order, each once. The caller
// must not change the slice.
func (s *Snapshot) Files() []File { return s.files }

// Rows is the number of rows in all files.
func (s *Snapshot) Rows() int64 { return s.rows }

// Mark is how far the log of node is in the table; 0 when nothing of it is.
func (s *Snapshot) Mark(node string) uint64 { return s.marks[node] }

// Flushed returns how many rows flushes of node have added since before, and whether
// nothing else has changed.
func (s *Snapshot) Flushed(before *Snapshot, node string) (rows int64, only bool) {
	if len(s.files) < len(before.files) {
		return 0, false
	}
	for i := range before.files { // commits of this process keep their order
		if s.files[i].Path != before.files[i].Path {
			return 0, false
		}
	}
	for other, mark := range s.marks {
		if other != node && mark != before.marks[other] {
			return 0, false
		}
	}
	for i := range s.files[len(before.files):] {
		f := &s.files[len(before.files)+i]
		if f.Rules != 0 { // rewritten meanwhile
			return 0, false
		}
		rows += f.Rows
	}
	return rows, true
}

// lock waits for its turn to replace current; the caller calls unlock.
func (t *Table) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case t.busy <- struct{}{}:
		return func() { <-t.busy }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// open reads the table, creating it first when it is missing.
func (t *Table) open(ctx context.Context) error {
	if t.current.Load() != nil {
		return nil
	}
	unlock, err := t.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if t.current.Load() != nil {
		return nil
	}
	_, err = t.reload(ctx)
	if errors.Is(err, catalog.ErrNoSuchTable) || errors.Is(err, catalog.ErrNoSuchNamespace) {
		if err := t.lake.createTable(ctx, t.id, t.lake.opts.Store.URL(t.lake.tableKey(t.org))); err != nil {
			return err
		}
		_, err = t.reload(ctx)
	}
	return err
}

// Snapshot returns the latest version this process knows of, without IO.
func (t *Table) Snapshot() *Snapshot { return t.current.Load().snapshot }

// Refresh reads what other processes have committed. When nothing was, it asks
// the catalog only: it waits for no commit and needs no store.
func (t *Table) Refresh(ctx context.Context) (*Snapshot, error) {
	location, err := t.lake.metadataLocation(ctx, t.org)
	if s := t.current.Load(); err == nil && location == s.iceberg.MetadataLocation() {
		return s.snapshot, nil
	}
	unlock, err := t.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	s, err := t.reload(ctx)
	if err != nil {
		return nil, fmt.Errorf("refresh table of %s: %w", t.org, err)
	}
	return s.snapshot, nil
}

// reload makes the catalog's version current. Must hold busy.
func (t *Table) reload(ctx context.Context) (s *state, err error) {
	for range reloads {
		var loaded *table.Table
		if loaded, err = t.lake.catalog.LoadTable(ctx, t.id); err == nil {
			s, err = t.adopt(ctx, loaded, nil)
		} else if location, errCatalog := t.lake.metadataLocation(ctx, t.org); errCatalog == nil {
			err = fmt.Errorf("read table metadata %s: %w", location, err)
		}
		// Another process may have replaced the metadata between our looking up
		// its location and our reading it, and deleted it by now.
		if !errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil {
			break
		}
	}
	return s, err
}

// adopt makes loaded current. c is the change that led from the current version
// to loaded, if known, which saves reading the manifests. Must hold busy.
func (t *Table) adopt(ctx context.Context, loaded *table.Table, c *Change) (*state, error) {
	old := t.current.Load()
	if old != nil && old.iceberg.MetadataLocation() == loaded.MetadataLocation() {
		return old, nil
	}
	if old == nil {
		if err := checkLayout(loaded.Metadata()); err != nil {
			return nil, err
		}
	}
	snapshot := &Snapshot{marks: map[string]uint64{}}
	for name := range loaded.Properties() {
		if node, ok := strings.CutPrefix(name, markPrefix); ok {
			mark, err := markOf(loaded.Metadata(), node)
			if err != nil {
				return nil, err
			}
			snapshot.marks[node] = mark
		}
	}
	if head := loaded.CurrentSnapshot(); head != nil {
		snapshot.id = head.SnapshotID
		var err error
		switch {
		case old != nil && old.snapshot.id == head.SnapshotID:
			snapshot.files = old.snapshot.files
		case old != nil && c != nil && parent(head) == old.snapshot.id:
			snapshot.files = c.apply(old.snapshot.files)
		default:
			snapshot.files, err = plan(ctx, t.lake.opts.Store, loaded)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, f := range snapshot.files {
		snapshot.rows += f.Rows
	}
	s := &state{iceberg: loaded, snapshot: snapshot}
	t.current.Store(s)
	return s, nil
}

// parent is the id of the snapshot before s, 0 for the first.
func parent(s *table.Snapshot) int64 {
	if s.ParentSnapshotID == nil {
		return 0
	}
	return *s.ParentSnapshotID
}

// Local returns a path under which the file can be read until release is
// called: the blob itself when the store is a folder on this machine, else a
// copy in the cache, which is fetched and checked when missing. A blob that is
// not what was committed gives a *CorruptError.
func (l *Lake) Local(ctx context.Context, f File) (path string, release func(), err error) {
	unpin := l.pinKey(f.Path)
	defer func() {
		if err != nil {
			unpin()
		}
	}()
	if l.cache != nil {
		path, drop, err := l.cache.get(ctx, l.opts.Store, f)
		if err != nil {
			return "", nil, err
		}
		return path, func() { drop(); unpin() }, nil
	}
	info, err := l.opts.Store.Stat(ctx, f.Path)
	if err != nil {
		return "", nil, fmt.Errorf("open data file: %w", err)
	}
	if info.Size != f.Bytes {
		return "", nil, &CorruptError{f.Path, fmt.Sprintf("%d bytes, want %d", info.Size, f.Bytes)}
	}
	path, _ = blob.LocalPath(l.opts.Store, f.Path)
	return path, unpin, nil
}
