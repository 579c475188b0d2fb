package lake

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"mailwake/engine/event"
)

// defaultFileBytes is the middle of the range in which a query over a month
// opens few files and a rewrite of one file stays a matter of seconds.
const defaultFileBytes = 256 << 20

// Sink takes the data files that an Encoder makes, one after the other. A Maker is
// one.
type Sink interface {
	// Write takes bytes of the file being made.
	Write(p []byte) (int, error)
	// End says that the file is complete.
	End(ctx context.Context, about About) error
}

// About is what a data file's footer does not tell.
type About struct {
	Rows             int64
	MinTime, MaxTime event.Micros // of occurred_at
	Agents           event.Micros // oldest row with a user agent; 0: none has one
	Rules            int          // version of the rules by which the rows' actors were judged; at least 1
}

// EncoderOptions configure an Encoder.
type EncoderOptions struct {
	Rules     int   // see About
	FileBytes int64 // size at which the next file begins; default 256 MiB
}

// Encoder turns sorted rows of one month into data files of about FileBytes, row
// group by row group. It is not safe for concurrent use.
type Encoder struct {
	sink  Sink
	texts *Texts
	opts  EncoderOptions
	coder coder

	out   *pqarrow.FileWriter // of the file being made, nil between files
	size  int64               // of it
	about About               // it
	last  Rows                // the last row written, to check the order
}

// NewEncoder returns an Encoder of files for sink.
func NewEncoder(sink Sink, texts *Texts, o EncoderOptions) *Encoder {
	if o.FileBytes == 0 {
		o.FileBytes = defaultFileBytes
	}
	return &Encoder{sink: sink, texts: texts, opts: o, coder: coder{texts: texts}}
}

// counted counts what goes to the sink.
type counted struct{ e *Encoder }

func (c counted) Write(p []byte) (int, error) {
	n, err := c.e.sink.Write(p)
	c.e.size += int64(n)
	return n, err
}

// Write adds rows as one row group. They follow those of earlier calls in the
// order of email, recipient, time and id, and are of the same month; ErrBatch.
func (e *Encoder) Write(ctx context.Context, rows *Rows) error {
	if rows.Len() == 0 {
		return nil
	}
	if err := e.check(rows); err != nil {
		return err
	}
	if e.out == nil {
		var err error
		e.out, err = pqarrow.NewFileWriter(e.coder.schema(), counted{e}, parquetProperties(), pqarrow.NewArrowWriterProperties(pqarrow.WithAllocator(memory.DefaultAllocator)))
		if err != nil {
			return fmt.Errorf("encode parquet: %w", err)
		}
	}
	batch := e.coder.batch(rows)
	defer batch.Release()
	if err := e.out.Write(batch); err != nil {
		return fmt.Errorf("encode parquet: %w", err)
	}
	e.note(rows)
	if e.size >= e.opts.FileBytes {
		return e.Finish(ctx)
	}
	return nil
}

// check holds rows against the table's layout.
func (e *Encoder) check(rows *Rows) error {
	if e.last.Len() > 0 && rows.Less(0, &e.last, 0) {
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
	first, last := event.Micros(from), event.Micros(to)
	if e.out != nil {
		first, last = min(first, e.about.MinTime), max(last, e.about.MaxTime)
	}
	if first.Month() != last.Month() {
		return fmt.Errorf("%w: rows are not of one month", ErrBatch)
	}
	e.about.MinTime, e.about.MaxTime = first, last
	return nil
}

// note remembers what End and the next check need.
func (e *Encoder) note(rows *Rows) {
	for i, agent := range rows.Texts[UserAgent] {
		if at := rows.Occurred(i); agent != 0 && (e.about.Agents == 0 || at < e.about.Agents) {
			e.about.Agents = at
		}
	}
	n := rows.Len()
	e.about.Rows += int64(n)
	e.last.Truncate(0)
	e.last.Append(rows, n-1, n)
}

// Finish completes the file being made, if there is one.
func (e *Encoder) Finish(ctx context.Context) error {
	if e.out == nil {
		return nil
	}
	if err := e.out.Close(); err != nil {
		return fmt.Errorf("encode parquet: %w", err)
	}
	about := e.about
	about.Rules = e.opts.Rules
	e.out, e.size, e.about = nil, 0, About{}
	return e.sink.End(ctx, about)
}
