package query

import (
	"iter"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/util"
)

// Result is a table of answers: Arrow record batches in memory that DuckDB
// allocated, and, for a large answer to a statement, a stream of more. It must be
// closed. One goroutine uses it.
type Result struct {
	// Snapshot is the table snapshot that was read, next to the tail.
	Snapshot int64
	// Tag of a KPI's answer: while it is the same, so is the answer.
	Tag string

	unchanged bool // the caller has the answer; there is none here
	schema    *arrow.Schema
	batches   []arrow.RecordBatch
	rows      int
	truncated bool

	stream *answer // what is still to come; nil if nothing
	err    error   // what the stream ended with
}

// Schema returns names and types of the columns.
func (r *Result) Schema() *arrow.Schema { return r.schema }

// Unchanged reports that the caller has the answer already. There are no rows then.
func (r *Result) Unchanged() bool { return r.unchanged }

// Rows returns the number of rows so far: all of them once Whole.
func (r *Result) Rows() int { return r.rows }

// Truncated reports that there were more rows than the limit. It is known once
// the result is Whole.
func (r *Result) Truncated() bool { return r.truncated }

// Whole reports that nothing is still to come.
func (r *Result) Whole() bool { return r.stream == nil }

// Err is what a stream ended with instead of its last row.
func (r *Result) Err() error { return r.err }

// Batches yields the rows in order. A batch is valid until the next one, those of
// a Whole result until Close. A stream can be read once; see Err after it.
func (r *Result) Batches() iter.Seq[arrow.RecordBatch] {
	return func(yield func(arrow.RecordBatch) bool) {
		for _, b := range r.batches {
			if !yield(b) {
				return
			}
		}
		for {
			b := r.pull()
			if b == nil {
				return
			}
			more := yield(b)
			b.Release()
			if !more {
				return
			}
		}
	}
}

// pull returns the next batch of the stream, nil at its end.
func (r *Result) pull() arrow.RecordBatch {
	if r.stream == nil {
		return nil
	}
	b, err := r.stream.next()
	if b != nil {
		r.rows += int(b.NumRows())
		return b
	}
	if r.err = err; err == nil {
		r.truncated = r.stream.end.Truncated
	}
	r.stream.finish()
	r.stream = nil
	return nil
}

// prime takes the stream into memory up to about limit bytes.
func (r *Result) prime(limit int64) {
	for size := int64(0); size < limit; {
		b := r.pull()
		if b == nil {
			return
		}
		r.batches = append(r.batches, b)
		size += util.TotalRecordSize(b)
	}
}

// Close frees the rows and ends a stream. It may be called twice.
func (r *Result) Close() {
	for _, b := range r.batches {
		b.Release()
	}
	r.batches = nil
	if r.stream != nil {
		r.stream.finish()
		r.stream = nil
	}
}

// add takes over b.
func (r *Result) add(b arrow.RecordBatch) {
	r.batches = append(r.batches, b)
	r.rows += int(b.NumRows())
}
