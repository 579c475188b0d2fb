package lake

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"github.com/apache/arrow-go/v18/parquet/file"

	"mailwake/engine/blob"
)

// Receiver takes files that Makers made for a table: they become blobs. It is not
// safe for concurrent use.
type Receiver struct {
	// Maker makes files for this Receiver in this process.
	*Maker
	table *Table
	done  []File
}

// madePrefix begins the names of files that are made for a Receiver.
const madePrefix = partPrefix + "made-"

// madeDir is where files are made: a folder store takes them from there without
// copying them, and so does the cache of a store that is elsewhere.
func (l *Lake) madeDir() string {
	if dir, ok := blob.DraftFolder(l.opts.Store); ok {
		return dir
	}
	return filepath.Clean(l.opts.CacheDir)
}

// Receive returns a Receiver of files for t. The caller calls Close.
func (t *Table) Receive() *Receiver {
	r := &Receiver{table: t}
	r.Maker = NewMaker(Place{t.lake.madeDir(), madePrefix + rand.Text() + "-"}, r.Take)
	return r
}

// Place is where a Maker of another process makes files for this Receiver.
func (r *Receiver) Place() Place { return r.place }

// Files are those stored so far, for Commit. What is not committed is in no table,
// and for Discard.
func (r *Receiver) Files() []File { return r.done }

// Close removes what was made and not taken.
func (r *Receiver) Close() error {
	return errors.Join(r.Maker.Close(), blob.RemoveDrafts(r.place.Dir, r.place.Prefix))
}

// Take makes m a blob. Of its bytes it reads the footer, and all only where the store
// is on another machine.
func (r *Receiver) Take(ctx context.Context, m Made) (err error) {
	if filepath.Dir(m.Local) != r.place.Dir || filepath.Base(m.Name) != m.Name {
		return fmt.Errorf("%w: a file that was made elsewhere", ErrBatch)
	}
	made, err := os.Open(m.Local)
	if err != nil {
		return fmt.Errorf("open data file: %w", err)
	}
	defer func() { err = errors.Join(err, made.Close()) }()
	parsed, err := file.NewParquetReader(made)
	if err != nil {
		return fmt.Errorf("read data file: %w", err)
	}
	f := File{
		Rows: m.Rows, Bytes: m.Bytes, MinTime: m.MinTime, MaxTime: m.MaxTime, Sum: m.Sum, Rules: m.Rules, Agents: dayOf(m.Agents),
		Path: path.Join(r.table.lake.tableKey(r.table.org), "data", m.MinTime.Time().Format("2006-01"), m.Name),
	}
	if err := r.table.describe(&f, parsed.MetaData()); err != nil {
		return err
	}
	if err := r.table.lake.put(ctx, f, made); err != nil {
		return err
	}
	r.done = append(r.done, f)
	if err := os.Remove(m.Local); err != nil && !errors.Is(err, os.ErrNotExist) { // the cache took it
		return fmt.Errorf("remove what was stored: %w", err)
	}
	return nil
}
