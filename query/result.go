package query

import (
	"iter"

	"github.com/apache/arrow-go/v18/arrow"
)

// Result is a table of answers: Arrow record batches in memory that DuckDB
// allocated, so it must be closed. One goroutine uses it.
type Result struct {
	// Snapshot is the table snapshot that was read, next to the tail.
	Snapshot int64

	schema    *arrow.Schema
	batches   []arrow.RecordBatch
	rows      int
	truncated bool
}

// Schema returns names and types of the columns.
func (r *Result) Schema() *arrow.Schema { return r.schema }

// Rows returns the number of rows.
func (r *Result) Rows() int { return r.rows }

// Truncated reports that there were more rows than the limit.
func (r *Result) Truncated() bool { return r.truncated }

// Batches yields the rows in order. A batch is valid until Close.
func (r *Result) Batches() iter.Seq[arrow.RecordBatch] {
	return func(yield func(arrow.RecordBatch) bool) {
		for _, b := range r.batches {
			if !yield(b) {
				return
			}
		}
	}
}

// Close frees the rows. It may be called twice.
func (r *Result) Close() {
	for _, b := range r.batches {
		b.Release()
	}
	r.batches = nil
}

// add takes over b.
func (r *Result) add(b arrow.RecordBatch) {
	r.batches = append(r.batches, b)
	r.rows += int(b.NumRows())
}
