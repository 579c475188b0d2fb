package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
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
	g := gather(v)
	if len(g.keys) == 0 {
		return 0, nil
	}
	g.sort()
	var files []lake.File
	for batch := range g.months() {
		f, err := t.table.Write(ctx, batch)
		batch.Release()
		if err != nil {
			return 0, fmt.Errorf("write: %w", err)
		}
		files = append(files, f)
	}
	if _, err := t.table.Commit(ctx, lake.Change{Add: files, Node: e.node, Mark: g.mark}); err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	e.capture(t) // drops what the commit holds
	e.counts.flushed.Add(int64(len(g.keys)))
	e.counts.flushes.Add(1)
	if err := e.log.Truncate(e.trimmed()); err != nil {
		return 0, fmt.Errorf("trim log: %w", err)
	}
	return len(g.keys), nil
}

// sortKey orders a row and finds it again.
type sortKey struct {
	email     event.EmailID
	recipient event.RecipientID
	occurred  event.Micros
	id        int64
	month     int32
	place     int32 // in gathered.rows
}

// gathered is what one flush takes from a tail.
type gathered struct {
	node uint8
	keys []sortKey
	rows [][]byte
	at   []event.Position
	mark uint64 // the last group
}

// gather reads the keys of v's tail, whole groups only.
func gather(v *View) *gathered {
	g := &gathered{node: v.node, mark: v.to.Group() - 1}
	for p, row := range entries(v.chunks, v.from) {
		if n := len(g.at); n >= maxFlushRows && g.at[n-1].Group() != p.Group() {
			g.mark = g.at[n-1].Group()
			break
		}
		k, err := event.DecodeKey(row)
		if err != nil {
			panic(err) // see mustDecode
		}
		if k.ID == 0 {
			k.ID = event.OwnID(v.node, p)
		}
		g.keys = append(g.keys, sortKey{k.Email, k.Recipient, k.OccurredAt, k.ID, int32(k.OccurredAt.Month()), int32(len(g.rows))})
		g.rows = append(g.rows, row)
		g.at = append(g.at, p)
	}
	return g
}

// sort orders the keys as tables are sorted, each month by itself.
func (g *gathered) sort() {
	slices.SortFunc(g.keys, func(a, b sortKey) int {
		switch {
		case a.month != b.month:
			return cmp.Compare(a.month, b.month)
		case a.email != b.email:
			return cmp.Compare(a.email, b.email)
		case a.recipient != b.recipient:
			return cmp.Compare(a.recipient, b.recipient)
		case a.occurred != b.occurred:
			return cmp.Compare(a.occurred, b.occurred)
		}
		return cmp.Compare(a.id, b.id)
	})
}

// months yields one sorted Arrow batch per month of occurrence, the partition of
// the table. The consumer releases it.
func (g *gathered) months() iter.Seq[arrow.RecordBatch] {
	return func(yield func(arrow.RecordBatch) bool) {
		b := event.NewBuilder(memory.DefaultAllocator)
		defer b.Release()
		var in event.Interaction
		for keys := g.keys; len(keys) > 0; {
			n := slices.IndexFunc(keys, func(k sortKey) bool { return k.month != keys[0].month })
			if n < 0 {
				n = len(keys)
			}
			b.Reserve(n)
			for _, k := range keys[:n] {
				mustDecode(g.rows[k.place], &in, g.node, g.at[k.place])
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
