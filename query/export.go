package query

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

const (
	// exportTime ends an export that a slow reader holds open: until then its files
	// and hot segments cannot be let go.
	exportTime = time.Hour
	// exportGroup is the rows of a Parquet row group, which is held in memory until
	// it is whole: about 10 MB.
	exportGroup = 256 << 10
)

// Export is all interactions of an organisation that may be shown, as of one View.
// It must be closed.
type Export struct {
	ctx    context.Context
	cancel context.CancelFunc
	done   func()
	lease  *lease
	text   string
}

// Export begins an export, one at a time over all organisations; others wait. It
// is for administrators: a terminated organisation's data is exported too until it
// is purged. Problems: feature_disabled, query_timeout, query_closed.
func (db *DB) Export(ctx context.Context, org event.OrgID) (e *Export, err error) {
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, exportTime)
	e = &Export{ctx: ctx, cancel: cancel, done: func() {}}
	begun := e
	defer func() {
		if err != nil {
			err = explain(outer, ctx, err, question{}, 0, nil)
			begun.Close()
		}
	}()
	select {
	case db.exports <- struct{}{}:
		e.done = func() { <-db.exports }
	case <-db.done:
		return nil, errClosed()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s, err := db.store(org)
	if err != nil {
		return nil, err
	}
	now := event.At(db.opts.Clock())
	if e.lease, err = s.lease(ctx, func(r *Rules) error { return r.exportable(now) }); err != nil {
		return nil, err
	}
	head, err := e.lease.base().with([]string{"interactions"})
	if err != nil {
		return nil, err
	}
	e.text = head + "SELECT * FROM interactions"
	return e, nil
}

// Exports can be NDJSON or Parquet.
func exportFormat(f Format) error {
	if f != NDJSON && f != Parquet {
		return problem.New(400, "format_unknown", "Exports are ndjson or parquet.")
	}
	return nil
}

// Write writes the rows as they are read, in no particular order, with the memory
// of a row group at most. An error is of the reading or of w.
func (e *Export) Write(w io.Writer, f Format) error {
	if err := exportFormat(f); err != nil {
		return err
	}
	conn, err := e.lease.duck.Conn(e.ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() {
		// The pool keeps the connection or has dropped it; nothing is lost either way.
		_ = conn.Close()
	}()
	out := &exportWriter{to: w, format: f}
	if err := streamQuery(e.ctx, conn, e.text, out); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return out.close()
}

// Close lets go of what the export reads. It may be called twice.
func (e *Export) Close() {
	if e.lease != nil {
		e.lease.release()
		e.lease = nil
	}
	e.cancel()
	e.done()
	e.done = func() {}
}

// exportWriter writes batches as they come.
type exportWriter struct {
	to      io.Writer
	format  Format
	columns *arrow.Schema
	parquet *pqarrow.FileWriter
}

func (w *exportWriter) begin(int) {}

func (w *exportWriter) schema(s *arrow.Schema) (err error) {
	w.columns = s
	if w.format == Parquet {
		props := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd),
			parquet.WithAllocator(memory.DefaultAllocator), parquet.WithMaxRowGroupLength(exportGroup))
		w.parquet, err = pqarrow.NewFileWriter(s, keepOpen{w.to}, props, pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	}
	return err
}

func (w *exportWriter) batch(b arrow.RecordBatch) (more bool, err error) {
	if w.parquet != nil {
		return true, w.parquet.WriteBuffered(b)
	}
	return true, (&Result{schema: w.columns, batches: []arrow.RecordBatch{b}}).writeNDJSON(w.to)
}

func (w *exportWriter) close() error {
	if w.parquet == nil {
		return nil
	}
	return w.parquet.Close()
}
