package lake

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"os"
	"path"
	"path/filepath"

	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/google/uuid"
)

// Receiver makes data files of a table from the bytes that an Encoder makes,
// through a temporary file that has no name and so goes with the process. It is a
// Sink, and not safe for concurrent use.
type Receiver struct {
	table *Table
	done  []File

	temp   *os.File // nil between files
	buffer *bufio.Writer
	sum    hash.Hash
	size   int64
}

// Receive returns a Receiver of files for t. The caller calls Close.
func (t *Table) Receive() *Receiver { return &Receiver{table: t} }

// Files are those stored so far, for Commit. What is not committed is in no table,
// and for Discard.
func (r *Receiver) Files() []File { return r.done }

// Close gives up a file that has not ended.
func (r *Receiver) Close() error {
	if r.temp == nil {
		return nil
	}
	err := r.temp.Close() // has no name, so nothing is left
	r.temp = nil
	return err
}

// Write implements Sink.
func (r *Receiver) Write(p []byte) (int, error) {
	if r.temp == nil {
		if err := r.begin(); err != nil {
			return 0, err
		}
	}
	_, _ = r.sum.Write(p)
	r.size += int64(len(p))
	return r.buffer.Write(p)
}

// begin opens a temporary file beside the catalog: the cache may be small, and
// the system's temporary folder in memory.
func (r *Receiver) begin() error {
	temp, err := os.CreateTemp(filepath.Dir(r.table.lake.opts.CatalogPath), ".rewrite-")
	if err != nil {
		return fmt.Errorf("create temporary file: %w", err)
	}
	if err := os.Remove(temp.Name()); err != nil {
		return errors.Join(fmt.Errorf("create temporary file: %w", err), temp.Close())
	}
	r.temp, r.buffer, r.sum, r.size = temp, bufio.NewWriterSize(temp, 1<<20), sha256.New(), 0
	return nil
}

// End implements Sink: it stores the file as a blob.
func (r *Receiver) End(ctx context.Context, about About) (err error) {
	if r.temp == nil {
		return fmt.Errorf("%w: a file without bytes", ErrBatch)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := r.buffer.Flush(); err != nil {
		return fmt.Errorf("write temporary file: %w", err)
	}
	parsed, err := file.NewParquetReader(r.temp)
	if err != nil {
		return fmt.Errorf("read temporary file: %w", err)
	}
	f := File{
		Rows: about.Rows, Bytes: r.size, MinTime: about.MinTime, MaxTime: about.MaxTime,
		Sum: sumOf(r.sum), Rules: about.Rules, Agents: dayOf(about.Agents),
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("name data file: %w", err)
	}
	f.Path = path.Join(r.table.lake.tableKey(r.table.org), "data", f.MinTime.Time().Format("2006-01"), id.String()+f.traits()+"-"+f.Sum+dataSuffix)
	if err := r.table.describe(&f, parsed.MetaData()); err != nil {
		return err
	}
	if err := r.table.lake.put(ctx, f, r.temp); err != nil {
		return err
	}
	r.done = append(r.done, f)
	return nil
}
