package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

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
	// An earlier commit may have taken effect without an answer. Its mark must be
	// known before rows are gathered, or they would be committed a second time.
	if _, err := t.table.Refresh(ctx); err != nil {
		e.counts.flushFailures.Add(1)
		return fmt.Errorf("flush %s: %w", t.name, err)
	}
	until := e.capture(t).to
	for {
		v := e.capture(t)
		if v.from >= until {
			return e.trim()
		}
		n, err := e.flushOnce(ctx, t, v)
		if err != nil {
			e.counts.flushFailures.Add(1)
			return fmt.Errorf("flush %s: %w", t.name, err)
		}
		if n == 0 {
			return e.trim()
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
	return len(g.keys), e.trim()
}

// trim drops the groups of the log that no tail needs any more.
func (e *Engine) trim() error {
	e.trimming.Lock()
	defer e.trimming.Unlock()
	upTo := e.unneeded()
	if upTo <= e.trimmed {
		return nil
	}
	if err := e.log.Truncate(upTo); err != nil {
		return fmt.Errorf("trim log: %w", err)
	}
	e.trimmed = upTo
	return nil
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
	n := 0
	for _, c := range v.chunks {
		n += c.rows
	}
	n = min(n, maxFlushRows+1<<10)
	g := &gathered{node: v.node, mark: v.to.Group() - 1, keys: make([]sortKey, 0, n), rows: make([][]byte, 0, n), at: make([]event.Position, 0, n)}
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
	orgs := e.pick(func(t *tail) bool { return t.rows > 0 })
	errs := make([]error, len(orgs), len(orgs)+1)
	var g errgroup.Group
	g.SetLimit(flushers)
	for i, org := range orgs {
		g.Go(func() error {
			errs[i] = e.Flush(ctx, org)
			return nil
		})
	}
	_ = g.Wait() // the functions return nil
	return errors.Join(append(errs, e.trim())...)
}

// pick returns the organisations whose tails due wants flushed.
func (e *Engine) pick(due func(*tail) bool) []event.OrgID {
	e.mu.Lock()
	defer e.mu.Unlock()
	var orgs []event.OrgID
	for org, t := range *e.tails.Load() {
		if due(t) {
			orgs = append(orgs, org)
		}
	}
	return orgs
}
