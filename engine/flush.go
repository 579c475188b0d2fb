package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

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
	// restRows is how many rows are gathered between two chances to rest.
	restRows = 1 << 10
	// collectRows is of how many rows a flush holds tens of megabytes.
	collectRows = 1 << 17
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
	t.hurry()
	defer t.flushing.Unlock()
	return e.flush(ctx, t, nil)
}

// flushGently is Flush for when nobody waits: it takes several times as long and
// leaves the cores to others meanwhile.
func (e *Engine) flushGently(ctx context.Context, org event.OrgID) error {
	t, err := e.tail(ctx, org)
	if err != nil {
		return err
	}
	t.flushing.Lock()
	defer t.flushing.Unlock()
	return e.flush(ctx, t, e.pacer(ctx, t))
}

// flush is Flush for the holder of t.flushing.
func (e *Engine) flush(ctx context.Context, t *tail, p *pacer) error {
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
		n, err := e.flushOnce(ctx, t, v, p)
		if err != nil {
			e.counts.flushFailures.Add(1)
			return fmt.Errorf("flush %s: %w", t.name, err)
		}
		if n == 0 {
			return e.trim()
		}
		if n >= collectRows {
			// A collection within the flush took what it held for lasting, and would
			// let twice as much come together until the next one.
			runtime.GC()
		}
	}
}

// flushOnce commits up to maxFlushRows of v's tail and returns how many.
func (e *Engine) flushOnce(ctx context.Context, t *tail, v *View, p *pacer) (int, error) {
	begun := time.Now()
	done := func(step int) {
		now, rested := time.Now(), p.takeRested()
		e.counts.steps[step].Add(int64(now.Sub(begun) - rested))
		e.counts.steps[stepRest].Add(int64(rested))
		begun = now
	}
	g := gather(v, p)
	if g.Len() == 0 {
		return 0, nil
	}
	done(stepGather)
	var files []lake.File
	for batch := range g.Batches {
		done(stepSort)
		f, err := t.table.WriteGently(ctx, batch, p.rest)
		batch.Release()
		if err != nil {
			return 0, fmt.Errorf("write: %w", err)
		}
		files = append(files, f)
		done(stepWrite)
	}
	if _, err := t.table.Commit(ctx, lake.Change{Add: files, Node: e.node, Mark: g.mark}); err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	done(stepCommit)
	e.capture(t) // drops what the commit holds
	e.counts.flushed.Add(int64(g.Len()))
	e.counts.flushes.Add(1)
	return g.Len(), e.trim()
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

// gathered is what one flush takes from a tail.
type gathered struct {
	event.Columns
	mark uint64 // the last group
}

// gather copies v's tail, whole groups only.
func gather(v *View, pace *pacer) *gathered {
	n := 0
	for _, c := range v.chunks {
		n += c.rows
	}
	g := &gathered{mark: v.to.Group() - 1}
	g.Rest = pace.rest
	g.Grow(min(n, maxFlushRows+1<<10))
	var last event.Position
	for p, row := range entries(v.chunks, v.from) {
		if last.Group() != p.Group() {
			if g.Len() >= maxFlushRows {
				g.mark = last.Group()
				break
			}
			g.NextGroup()
		}
		if g.Len()%restRows == 0 {
			pace.rest()
		}
		if err := g.AddRow(row, event.OwnID(v.node, p)); err != nil {
			panic(err) // as in View.Rows
		}
		last = p
	}
	return g
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

// Shred moves everything into the tables and removes the log's bytes from disk,
// also of what was flushed before: what was erased from the tables is then on no
// disk of this node. Appends wait for the last, short part of it.
func (e *Engine) Shred(ctx context.Context) error {
	if err := e.FlushAll(ctx); err != nil { // most of it, while appends go on
		return err
	}
	if err := e.log.Shred(func() error { return e.FlushAll(ctx) }); err != nil {
		return fmt.Errorf("shred log: %w", err)
	}
	return nil
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
