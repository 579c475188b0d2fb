// Package engine is the embedded store and its stream: it makes interactions
// durable, keeps the newest in memory, folds them into Parquet tables and hands
// out consistent views over both.
//
//	Append ─▶ wal (group commit, fsync) ─▶ tail of each organisation ─┐
//	                 ▲                          │ Flush               ├─▶ View
//	                 └── Truncate ◀── lake: Write, Commit{files, mark} ┘
//
// The mark of a table is the last log group whose events the table holds; it
// moves in the same commit as the files. A View pairs a table snapshot with the
// tail after that snapshot's mark, so each event is in exactly one of the two,
// whatever crashed or was retried before.
package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"mailwake/engine/event"
	"mailwake/engine/wal"
)

// ErrUnknownOrg reports an event of an organisation the registry does not know.
var ErrUnknownOrg = errors.New("engine: unknown organisation")

// Engine is safe for concurrent use. It does not own the Registry and the Lake
// given to it.
type Engine struct {
	opts   Options
	node   string // property suffix of this node's marks
	log    *wal.Log
	due    chan struct{} // wakes Run when a tail has reached its size
	counts counters

	tails atomic.Pointer[map[event.OrgID]*tail] // copied on write, under mu

	// trimming is held while the log is trimmed; trimmed is how far it was.
	trimming sync.Mutex
	trimmed  wal.LSN

	// mu guards what is inside the tails. The leader of a log group holds it while
	// it hands the whole group over, so a holder sees whole groups only.
	mu struct {
		sync.Mutex
		delivered wal.LSN // last group handed over
		contents  uint64  // numbers View.Content
	}
}

// Open recovers an Engine: it reads the marks of all tables and replays the log
// after them. It starts no goroutine; call Run for the periodic work.
func Open(ctx context.Context, opts Options) (e *Engine, err error) {
	if err := opts.setDefaults(); err != nil {
		return nil, err
	}
	e = &Engine{opts: opts, node: strconv.Itoa(int(opts.Node)), due: make(chan struct{}, 1)}
	e.tails.Store(&map[event.OrgID]*tail{})
	mark, err := e.openTables(ctx)
	if err != nil {
		return nil, err
	}
	e.mu.delivered = mark // a log that is gone goes on after it
	lo := opts.Log
	lo.Dir, lo.LimitBytes, lo.Next, lo.OnDurable = filepath.Join(opts.Dir, "wal"), opts.LogLimit, mark+1, e.accept
	if e.log, err = wal.Open(lo); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	log := e.log // a return of an error sets e to nil
	defer func() {
		if err != nil {
			err = errors.Join(err, log.Close())
		}
	}()
	if err := e.replay(ctx); err != nil {
		return nil, fmt.Errorf("replay log: %w", err)
	}
	return e, e.trim()
}

// openTables opens the table of every organisation and returns the highest mark
// of this node.
func (e *Engine) openTables(ctx context.Context) (wal.LSN, error) {
	var highest uint64
	for _, o := range e.opts.Registry.Orgs() {
		t, err := e.tail(ctx, o.ID)
		if err != nil {
			return 0, err
		}
		highest = max(highest, t.table.Snapshot().Mark(e.node))
	}
	return wal.LSN(highest), nil
}

// replay hands the log to the tails, which skip what their tables hold.
func (e *Engine) replay(ctx context.Context) error {
	for rec, err := range e.log.Read(e.log.First()) {
		if err != nil {
			return err
		}
		if err := e.prepare(ctx, rec); err != nil {
			return err
		}
		e.deliver(rec.LSN, rec.Frames)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes sure that every row of a group can be delivered.
func (e *Engine) prepare(ctx context.Context, rec wal.Record) error {
	var in event.Interaction
	var rows event.Decoder
	for ordinal, row := range wal.Frames(rec.Frames) {
		if err := rows.Decode(row, &in); err != nil {
			return fmt.Errorf("group %d row %d: %w", rec.LSN, ordinal, err)
		}
		if _, err := e.tail(ctx, in.Org); err != nil {
			return fmt.Errorf("group %d row %d: %w", rec.LSN, ordinal, err)
		}
	}
	return nil
}

// Append makes events durable and visible: when it returns nil, they survive a
// crash and every View taken from then on holds them. All events of one call
// become durable together or not at all. It fails with ErrUnknownOrg, with
// event.ErrInvalid, with wal.ErrFull when the unflushed log has reached its
// limit, and with the log's own error when the disk fails.
//
// A cancelled ctx ends the wait; the events may become durable nevertheless.
func (e *Engine) Append(ctx context.Context, events []event.Interaction) error {
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	if err := e.encode(ctx, s, events); err != nil {
		return err
	}
	_, err := e.log.Append(ctx, s.frames, len(events))
	return err
}

// AppendRows is Append for events that are encoded already.
func (e *Engine) AppendRows(ctx context.Context, rows *event.Rows) error {
	if _, err := e.tail(ctx, rows.Org()); err != nil {
		return err
	}
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	s.frames = s.frames[:0]
	for row := range rows.All() {
		s.frames = wal.Frame(s.frames, row)
	}
	_, err := e.log.Append(ctx, s.frames, rows.Len())
	return err
}

// Waiter is told the outcome of a Post; see wal.Waiter.
type Waiter = wal.Waiter

// Post is Append for a caller that never waits: w is told when the events are durable
// and visible, or that they are not, perhaps before Post returns. Errors found at once
// are returned, and w is not told then. events may be reused after the call.
func (e *Engine) Post(events []event.Interaction, w Waiter) error {
	for i := range events {
		if (*e.tails.Load())[events[i].Org] == nil { // its table is opened first, which waits for the storage
			later := slices.Clone(events)
			go func() { w.Done(e.Append(context.Background(), later)) }()
			return nil
		}
	}
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	if err := e.encode(context.Background(), s, events); err != nil {
		return err
	}
	return e.log.Post(s.frames, len(events), w)
}

// encode checks events and leaves them in s as the frames of the log.
func (e *Engine) encode(ctx context.Context, s *scratch, events []event.Interaction) error {
	s.frames = s.frames[:0]
	for i := range events {
		in := &events[i]
		if err := in.Check(); err != nil {
			return fmt.Errorf("event %d: %w", i, err)
		}
		if _, err := e.tail(ctx, in.Org); err != nil {
			return err
		}
		s.row = event.AppendRow(s.row[:0], in)
		s.frames = wal.Frame(s.frames, s.row)
	}
	return nil
}

type scratch struct{ row, frames []byte }

var scratchPool = sync.Pool{New: func() any { return new(scratch) }}

// accept takes over a group that has just become durable.
func (e *Engine) accept(lsn wal.LSN, frames []byte) {
	e.counts.appended.Add(int64(e.deliver(lsn, frames)))
}

// deliver hands a durable group to the tails, in log order, before its callers
// are answered, and returns how many events it has.
func (e *Engine) deliver(lsn wal.LSN, frames []byte) (events int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	full, tails := false, *e.tails.Load()
	for ordinal, row := range wal.Frames(frames) {
		events++
		org, err := event.RowOrg(row)
		t := tails[org]
		if err != nil || t == nil {
			// Append and replay have checked both.
			panic(fmt.Sprintf("engine: group %d row %d has no tail", lsn, ordinal))
		}
		t.append(event.PositionOf(uint64(lsn), ordinal), row)
		full = full || t.full(&e.opts)
	}
	e.mu.delivered = lsn
	if full {
		select {
		case e.due <- struct{}{}:
		default:
		}
	}
	return events
}

// tail returns the organisation's tail and opens it on first use.
func (e *Engine) tail(ctx context.Context, org event.OrgID) (*tail, error) {
	if t := (*e.tails.Load())[org]; t != nil {
		return t, nil
	}
	o, ok := e.opts.Registry.Snapshot().Org(org)
	if !ok {
		return nil, fmt.Errorf("%w: %d", ErrUnknownOrg, org)
	}
	table, err := e.opts.Lake.Table(ctx, o.Name)
	if err != nil {
		return nil, fmt.Errorf("open table of %s: %w", o.Name, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	tails := *e.tails.Load()
	if t := tails[org]; t != nil {
		return t, nil
	}
	t := &tail{org: org, name: o.Name, table: table}
	t.dropTo(table.Snapshot().Mark(e.node))
	tails = maps.Clone(tails)
	tails[org] = t
	e.tails.Store(&tails)
	return t, nil
}

// Close ends the Engine and waits for the log. Flush first to leave little to
// replay; nothing is lost without.
func (e *Engine) Close() error { return e.log.Close() }

// unneeded returns the last group that no tail needs any more.
func (e *Engine) unneeded() wal.LSN {
	e.mu.Lock()
	defer e.mu.Unlock()
	first := uint64(math.MaxUint64)
	for _, t := range *e.tails.Load() {
		if t.rows > 0 {
			first = min(first, t.first().Group())
		}
	}
	if first == math.MaxUint64 {
		return e.mu.delivered
	}
	return wal.LSN(first - 1)
}
