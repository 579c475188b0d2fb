package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"mailwake/engine/problem"
)

// primeBytes is how much of a result is taken before the caller gets it: small
// results are whole then, with their number of rows known and their worker free
// for the next statement, however slow their reader is.
const primeBytes = 4 << 20

// sql runs a statement in a worker.
func (w *workers) sql(ctx context.Context, st Statement) (*Result, error) {
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, w.opts.Worker.Timeout)
	r, err := w.begin(ctx, st)
	if err != nil {
		err = timely(outer, ctx, err)
		cancel()
		return nil, err
	}
	r.stream.outer, r.stream.cancel = outer, cancel
	r.prime(primeBytes)
	if r.err != nil {
		r.Close()
		return nil, r.err
	}
	return r, nil
}

// timely replaces what a statement ended with by why: the caller left, or the time
// was over.
func timely(outer, inner context.Context, err error) error {
	switch {
	case outer.Err() != nil:
		return errors.Join(outer.Err(), err)
	case inner.Err() != nil && problem.Of(err).Status >= 500:
		return problem.New(504, "sql_timeout", "The query took longer than is allowed; ask for less.").Because(err)
	}
	return err
}

func (w *workers) begin(ctx context.Context, st Statement) (_ *Result, err error) {
	p, err := w.take(ctx, workerKey{st.Org, st.Persons})
	if err != nil {
		return nil, err
	}
	a := &answer{workers: w, worker: p, ctx: ctx, maxRows: st.Limit, maxBytes: w.opts.Worker.MaxBytes, unpin: func() {}}
	defer func() {
		if err != nil {
			a.finish()
		}
	}()
	deadline, _ := ctx.Deadline()
	left := time.Until(deadline)
	a.late = time.AfterFunc(left+workerGrace, func() { p.kill("its statement took too long") })
	a.left = context.AfterFunc(ctx, func() {
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			p.kill("its caller left")
		}
	})
	order := workerStatement{Text: st.Text, Limit: st.Limit, Bytes: w.opts.Worker.MaxBytes, Timeout: left}
	snapshot, unpin, err := w.feed.feed(ctx, p, order)
	if err != nil {
		p.kill("it could not be fed")
		return nil, err
	}
	a.unpin = unpin
	if a.reader, err = ipc.NewReader(a, ipc.WithAllocator(bounded{memory.DefaultAllocator})); err != nil {
		if a.end != nil {
			return nil, a.end.problem()
		}
		return nil, errWorkerGone(err)
	}
	return &Result{Snapshot: snapshot, schema: a.reader.Schema(), stream: a}, nil
}

// answer is the rest of a result that a worker still sends. What it says is
// counted again here: the worker is not believed.
type answer struct {
	workers  *workers
	worker   *worker
	ctx      context.Context // the statement's, with its deadline
	outer    context.Context
	cancel   context.CancelFunc
	late     *time.Timer
	left     func() bool
	unpin    func()
	reader   *ipc.Reader
	maxRows  int
	maxBytes int64

	rest  []byte // of the last frame
	bytes int64
	rows  int
	end   *workerEnd
	over  bool
}

// Read gives the Arrow stream to its reader.
func (a *answer) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.end != nil {
			return 0, io.EOF
		}
		kind, payload, err := readFrame(a.worker.end.frames, a.worker.end.buf)
		if err != nil {
			return 0, err
		}
		a.worker.end.buf = payload[:0]
		switch kind {
		case frameData:
			a.rest = payload
		case frameEnd:
			a.end = new(workerEnd)
			if err := json.Unmarshal(payload, a.end); err != nil {
				return 0, err
			}
		default:
			return 0, fmt.Errorf("frame of kind %q", kind)
		}
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	if a.bytes += int64(n); a.bytes > 2*a.maxBytes { // an Arrow stream is larger than its columns, but not that much
		return 0, errors.New("worker sends more than it may")
	}
	return n, nil
}

// next returns the next batch, nil at the end. The caller releases it.
func (a *answer) next() (batch arrow.RecordBatch, err error) {
	defer func() {
		if r := recover(); r != nil { // Arrow's reader panics on some damaged streams
			batch, err = nil, errWorkerGone(fmt.Errorf("damaged result: %v", r))
		}
		if err != nil {
			err = timely(a.outer, a.ctx, err)
		}
	}()
	if a.reader.Next() {
		batch := a.reader.RecordBatch()
		if a.rows += int(batch.NumRows()); a.rows > a.maxRows {
			return nil, errWorkerGone(errors.New("worker sends more rows than it may"))
		}
		batch.Retain()
		return batch, nil
	}
	if err := a.reader.Err(); err != nil && a.end == nil {
		return nil, errWorkerGone(err)
	}
	// The stream's end is followed by the word whether it is the true one.
	var b [1]byte
	if _, err := a.Read(b[:]); !errors.Is(err, io.EOF) {
		return nil, errWorkerGone(err)
	}
	if err := a.end.problem(); err != nil {
		return nil, err
	}
	return nil, nil
}

// finish gives the worker back, or kills it when it may still be sending.
func (a *answer) finish() {
	if a.over {
		return
	}
	a.over = true
	if a.reader != nil {
		a.reader.Release()
	}
	inTime := a.late.Stop() && a.left()
	a.unpin()
	a.workers.give(a.worker, inTime && a.end != nil && a.end.Internal == "")
	if a.cancel != nil {
		a.cancel()
	}
}

// problem is what an answer ended with, nil if well.
func (e *workerEnd) problem() error {
	switch {
	case e.Code != "" && e.Internal != "":
		return problem.New(e.Status, e.Code, "%s", e.Detail).Because(fmt.Errorf("worker: %s", e.Internal))
	case e.Code != "":
		return problem.New(e.Status, e.Code, "%s", e.Detail)
	case e.Internal != "":
		return fmt.Errorf("worker: %s", e.Internal)
	}
	return nil
}

// bounded refuses the allocations that only a damaged stream asks for.
type bounded struct{ memory.Allocator }

// maxBuffer is far above a column of one of DuckDB's chunks of 2,048 rows.
const maxBuffer = 512 << 20

func (b bounded) Allocate(size int) []byte {
	if size > maxBuffer {
		panic(fmt.Errorf("buffer of %d bytes", size))
	}
	return b.Allocator.Allocate(size)
}

func (b bounded) Reallocate(size int, old []byte) []byte {
	if size > maxBuffer {
		panic(fmt.Errorf("buffer of %d bytes", size))
	}
	return b.Allocator.Reallocate(size, old)
}
