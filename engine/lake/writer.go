package lake

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/google/uuid"

	"mailwake/engine/event"
)

// defaultFileBytes is the middle of the range in which a query over a month
// opens few files and a rewrite of one file stays a matter of seconds.
const defaultFileBytes = 256 << 20

// WriterOptions configure a Writer.
type WriterOptions struct {
	Rules     int   // version of the rules by which the rows' actors were judged; at least 1
	FileBytes int64 // size at which the next file begins; default 256 MiB
}

// Writer writes sorted rows of one month into data files of about FileBytes, row
// group by row group, through a temporary file that has no name and so goes with
// the process. It is not safe for concurrent use.
type Writer struct {
	table *Table
	texts *Texts
	opts  WriterOptions
	coder coder
	done  []File

	out    *output // of the file being written, nil between files
	last   Rows    // the last row written, to check the order
	agents int64   // oldest row with a user agent in this file
	from   int64
	to     int64
	rows   int64
}

// NewWriter returns a Writer of files for t. The caller calls Finish or Abort.
func (t *Table) NewWriter(texts *Texts, o WriterOptions) *Writer {
	if o.FileBytes == 0 {
		o.FileBytes = defaultFileBytes
	}
	return &Writer{table: t, texts: texts, opts: o, coder: coder{texts: texts}}
}

// output is a temporary file with its size and checksum.
type output struct {
	file    *os.File
	buffer  *bufio.Writer
	sum     hash.Hash
	size    int64
	parquet *pqarrow.FileWriter
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	_, _ = o.sum.Write(p)
	o.size += int64(len(p))
	return o.buffer.Write(p)
}

// Write adds rows as one row group. They follow those of earlier calls in the
// order of email, recipient, time and id, and are of the same month; ErrBatch.
func (w *Writer) Write(ctx context.Context, rows *Rows) error {
	if rows.Len() == 0 {
		return nil
	}
	if err := w.check(rows); err != nil {
		return err
	}
	if w.out == nil {
		if err := w.begin(); err != nil {
			return err
		}
	}
	batch := w.coder.batch(rows)
	defer batch.Release()
	if err := w.out.parquet.Write(batch); err != nil {
		return fmt.Errorf("encode parquet: %w", err)
	}
	w.note(rows)
	if w.out.size >= w.opts.FileBytes {
		return w.end(ctx)
	}
	return nil
}

// check holds rows against the table's layout.
func (w *Writer) check(rows *Rows) error {
	if w.last.Len() > 0 && rows.Less(0, &w.last, 0) {
		return fmt.Errorf("%w: rows come before those already written", ErrBatch)
	}
	times := rows.Longs[OccurredAt]
	from, to := times[0], times[0]
	for i := 1; i < len(times); i++ {
		if rows.Less(i, rows, i-1) {
			return fmt.Errorf("%w: row %d comes before row %d in the order of email, recipient, time and id", ErrBatch, i, i-1)
		}
		from, to = min(from, times[i]), max(to, times[i])
	}
	if w.out != nil {
		from, to = min(from, w.from), max(to, w.to)
	}
	if event.Micros(from).Month() != event.Micros(to).Month() {
		return fmt.Errorf("%w: rows are not of one month", ErrBatch)
	}
	w.from, w.to = from, to
	return nil
}

// note remembers what the file's name and the next check need.
func (w *Writer) note(rows *Rows) {
	for i, agent := range rows.Texts[UserAgent] {
		if at := rows.Longs[OccurredAt][i]; agent != 0 && (w.agents == 0 || at < w.agents) {
			w.agents = at
		}
	}
	n := rows.Len()
	w.rows += int64(n)
	w.last.Truncate(0)
	w.last.Append(rows, n-1, n)
}

// begin opens a temporary file beside the catalog: the cache may be small, and
// the system's temporary folder in memory.
func (w *Writer) begin() (err error) {
	file, err := os.CreateTemp(filepath.Dir(w.table.lake.opts.CatalogPath), ".rewrite-")
	if err != nil {
		return fmt.Errorf("create temporary file: %w", err)
	}
	out := &output{file: file, buffer: bufio.NewWriterSize(file, 1<<20), sum: sha256.New()}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	if err := os.Remove(file.Name()); err != nil {
		return fmt.Errorf("create temporary file: %w", err)
	}
	if out.parquet, err = newParquetWriter(w.coder.schema(), out); err != nil {
		return err
	}
	w.out, w.agents, w.rows = out, 0, 0
	return nil
}

func newParquetWriter(schema *arrow.Schema, out io.Writer) (*pqarrow.FileWriter, error) {
	w, err := pqarrow.NewFileWriter(schema, out, parquetProperties(), pqarrow.NewArrowWriterProperties(pqarrow.WithAllocator(memory.DefaultAllocator)))
	if err != nil {
		return nil, fmt.Errorf("encode parquet: %w", err)
	}
	return w, nil
}

// end completes the file and stores it as a blob.
func (w *Writer) end(ctx context.Context) (err error) {
	out := w.out
	w.out = nil
	defer func() { err = errors.Join(err, out.file.Close()) }()
	if err := out.parquet.Close(); err != nil {
		return fmt.Errorf("encode parquet: %w", err)
	}
	footer, err := out.parquet.FileMetadata()
	if err != nil {
		return fmt.Errorf("encode parquet: %w", err)
	}
	if err := out.buffer.Flush(); err != nil {
		return fmt.Errorf("write temporary file: %w", err)
	}
	f := File{
		Rows: w.rows, Bytes: out.size, MinTime: event.Micros(w.from), MaxTime: event.Micros(w.to),
		Sum: sumOf(out.sum), Rules: w.opts.Rules, Agents: dayOf(event.Micros(w.agents)),
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("name data file: %w", err)
	}
	f.Path = path.Join(w.table.lake.tableKey(w.table.org), "data", f.MinTime.Time().Format("2006-01"), id.String()+f.traits()+"-"+f.Sum+dataSuffix)
	if err := w.table.describe(&f, footer); err != nil {
		return err
	}
	if err := w.table.lake.put(ctx, f, out.file); err != nil {
		return err
	}
	w.done = append(w.done, f)
	return nil
}

// Finish completes the last file and returns all of them for Commit. After an
// error what was stored is in no table; Written names it for Discard.
func (w *Writer) Finish(ctx context.Context) ([]File, error) {
	if w.out != nil {
		if err := w.end(ctx); err != nil {
			return nil, err
		}
	}
	return w.done, nil
}

// Written returns the files stored so far.
func (w *Writer) Written() []File { return w.done }

// Abort gives up the file being written. It is safe after Finish.
func (w *Writer) Abort() {
	if w.out != nil {
		_ = w.out.file.Close() // has no name, so nothing is left
		w.out = nil
	}
}
