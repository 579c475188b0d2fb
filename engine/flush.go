package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"golang.org/x/sync/errgroup"

	"mailwake/engine/event"
	"mailwake/engine/lake"
)

const (
	// maxFlushRows bounds the memory of one flush to about 200 MB; a longer tail
	// takes several.
	maxFlushRows = 1 << 20
	// flushers bounds the flushes that run at once, so that one organisation
	// whose storage hangs does not hold up the others.
	flushers = 4
	// checkEvery is how often Run looks for tails that are due by age.
	checkEvery = time.Second
	// maxBackoff bounds the pause after a flush that failed.
	maxBackoff = 30 * time.Second
)

// Flush moves the organisation's tail into its table: gather, sort, write,
// commit, trim. When it returns nil, everything appended before the call is in
// the table. A failed Flush leaves the tail as it was; blobs already written are
// in no table and harmless.
func (e *Engine) Flush(ctx context.Context, org event.OrgID) error {
	t, err := e.tail(ctx, org)
	if err != nil {
		return err
	}
	t.flushing.Lock()
	defer t.flushing.Unlock()
	until := e.capture(t).to
	for {
		v := e.capture(t)
		if v.from >= until {
			return nil
		}
		n, err := e.flushOnce(ctx, t, v)
		if err != nil {
			e.counts.flushFailures.Add(1)
			return fmt.Errorf("flush %s: %w", t.name, err)
		}
		if n == 0 {
			return nil
		}
	}
}

// flushOnce commits up to maxFlushRows of v's tail and returns how many.
func (e *Engine) flushOnce(ctx context.Context, t *tail, v *View) (int, error) {
	keys, mark := gather(v)
	if len(keys) == 0 {
		return 0, nil
	}
	sortKeys(keys)
	var files []lake.File
	for batch := range months(v, keys) {
		f, err := t.table.Write(ctx, batch)
		batch.Release()
		if err != nil {
			return 0, fmt.Errorf("write: %w", err)
		}
		files = append(files, f)
	}
	if _, err := t.table.Commit(ctx, lake.Change{Add: files, Node: e.node, Mark: mark}); err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	e.capture(t) // drops what the commit holds
	e.counts.flushed.Add(int64(len(keys)))
	e.counts.flushes.Add(1)
	if err := e.log.Truncate(e.trimmed()); err != nil {
		return 0, fmt.Errorf("trim log: %w", err)
	}
	return len(keys), nil
}

// sortKey orders a row and finds it again.
type sortKey struct {
	month             int32
	email, recipient  int64
	occurred, eventID int64
	at                event.Position
	row               []byte
}

// gather reads the keys of v's tail, whole groups only, and returns the last
// group they cover.
func gather(v *View) ([]sortKey, uint64) {
	var keys []sortKey
	var in event.Interaction
	for p, row := range entries(v.chunks, v.from) {
		if n := len(keys); n >= maxFlushRows && keys[n-1].at.Group() != p.Group() {
			return keys, keys[n-1].at.Group()
		}
		mustDecode(row, &in, v.node, p)
		keys = append(keys, sortKey{
			month: int32(in.OccurredAt.Month()), email: int64(in.Email), recipient: int64(in.Recipient),
			occurred: int64(in.OccurredAt), eventID: in.ID, at: p, row: row,
		})
	}
	return keys, v.to.Group() - 1
}

func sortKeys(keys []sortKey) {
	slices.SortFunc(keys, func(a, b sortKey) int {
		return cmp.Or(
			cmp.Compare(a.month, b.month), cmp.Compare(a.email, b.email), cmp.Compare(a.recipient, b.recipient),
			cmp.Compare(a.occurred, b.occurred), cmp.Compare(a.eventID, b.eventID))
	})
}

// months yields one sorted Arrow batch per month of occurrence, the partition of
// the table.
func months(v *View, keys []sortKey) func(yield func(arrow.RecordBatch) bool) {
	return func(yield func(arrow.RecordBatch) bool) {
		b := event.NewBuilder(memory.DefaultAllocator)
		defer b.Release()
		var in event.Interaction
		for len(keys) > 0 {
			n := slices.IndexFunc(keys, func(k sortKey) bool { return k.month != keys[0].month })
			if n < 0 {
				n = len(keys)
			}
			b.Reserve(n)
			for _, k := range keys[:n] {
				mustDecode(k.row, &in, v.node, k.at)
				b.Add(in.ID, &in)
			}
			if !yield(b.Batch()) {
				return
			}
			keys = keys[n:]
		}
	}
}

// FlushAll flushes every organisation that has a tail. All are tried; the errors
// are joined.
func (e *Engine) FlushAll(ctx context.Context) error {
	var errs []error
	for _, err := range e.flushTails(ctx, func(t *tail) bool { return t.rows > 0 }) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// flushTails flushes the tails that due picks and returns how each went. It calls
// due with Engine.mu held.
func (e *Engine) flushTails(ctx context.Context, due func(*tail) bool) map[event.OrgID]error {
	var picked []event.OrgID
	e.mu.Lock()
	for org, t := range *e.tails.Load() {
		if due(t) {
			picked = append(picked, org)
		}
	}
	e.mu.Unlock()
	errs := make([]error, len(picked))
	var g errgroup.Group
	g.SetLimit(flushers)
	for i, org := range picked {
		g.Go(func() error {
			errs[i] = e.Flush(ctx, org)
			return nil
		})
	}
	_ = g.Wait() // the functions return nil
	results := make(map[event.OrgID]error, len(picked))
	for i, org := range picked {
		results[org] = errs[i]
	}
	return results
}

// Run flushes tails as they become due by rows, bytes or age, until ctx ends. A
// flush that fails is logged, counted and tried again later, with growing
// pauses; the events stay durable in the log meanwhile.
func (e *Engine) Run(ctx context.Context) error {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	pauses := make(map[event.OrgID]pause)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.due:
		case <-tick.C:
		}
		now := time.Now()
		results := e.flushTails(ctx, func(t *tail) bool {
			return now.After(pauses[t.org].until) && (t.full(&e.opts) || t.age() >= e.opts.FlushAge)
		})
		for org, err := range results {
			if err == nil || ctx.Err() != nil {
				delete(pauses, org)
				continue
			}
			p := pauses[org].grown()
			pauses[org] = p
			e.opts.Logger.Error("flush failed; its events stay in the log", "org", org, "retry_in", p.length, "error", err)
		}
	}
}

// pause is the back-off of one organisation after failures.
type pause struct {
	until  time.Time
	length time.Duration
}

func (p pause) grown() pause {
	length := min(max(2*p.length, checkEvery), maxBackoff)
	return pause{until: time.Now().Add(length), length: length}
}
