package engine_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/wal"
	"mailwake/engine/wal/waltest"
)

// borders are the instants around which times are drawn: ends of months, and the
// ends of what is accepted.
var borders = []time.Time{
	time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC),
	time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC), time.Date(2000, 2, 1, 0, 0, 0, 0, time.UTC), time.Date(2199, 12, 1, 0, 0, 0, 0, time.UTC),
}

var texts = []string{"", "", "Gmail", "Outlook für Windows", "Mozilla/5.0 (Windows NT 10.0; Win64; x64)", strings.Repeat("長", 40)}

// draw invents a call with up to most events.
func (w *world) draw(n *node, most int) *call {
	c := &call{node: n, posts: w.rng.IntN(2) == 0}
	orgs := w.orgs
	if w.rng.IntN(3) > 0 {
		orgs = []event.OrgID{w.anyOrg()}
	}
	c.encoded = len(orgs) == 1 && w.rng.IntN(3) == 0
	for range 1 + w.rng.IntN(most) {
		at := event.At(borders[w.rng.IntN(len(borders))]) + event.Micros(w.rng.IntN(7)-3)
		if w.rng.IntN(2) == 0 {
			at = event.At(july) + event.Micros(w.rng.Int64N(3600e6))
		}
		num := int64(len(w.model.facts) + 1)
		f := &fact{call: c, in: event.Interaction{
			Org: orgs[w.rng.IntN(len(orgs))], OccurredAt: at, ReceivedAt: at + event.Micros(w.rng.Int64N(1e6)-5e5),
			Kind: event.Kind(1 + w.rng.IntN(9)), Email: event.EmailID(1 + w.rng.IntN(4)), Recipient: event.RecipientID(num),
			Component: int32(w.rng.IntN(3)), Actor: event.Actor(w.rng.IntN(6)), Reason: texts[w.rng.IntN(len(texts))],
			Device: event.Device(w.rng.IntN(4)), Client: texts[w.rng.IntN(len(texts))], OS: texts[w.rng.IntN(len(texts))],
			Source: event.Source(w.rng.IntN(5)), UserAgent: texts[w.rng.IntN(len(texts))], Network: texts[w.rng.IntN(len(texts))],
		}}
		if w.rng.IntN(8) == 0 {
			f.in.ID = -num // reported by somebody else
		}
		w.model.facts[num] = f
		c.facts = append(c.facts, f)
	}
	w.model.calls = append(w.model.calls, c)
	return c
}

// run appends the events of c. ambiguous says whether an error may be one that
// leaves it open whether they are kept.
func (c *call) run(ctx context.Context, ambiguous bool) error {
	in := make([]event.Interaction, len(c.facts))
	for i, f := range c.facts {
		in[i] = f.in
	}
	var err error
	switch {
	case c.encoded:
		err = c.node.eng.AppendRows(ctx, encoded(in))
	case c.posts && ctx.Done() == nil:
		told := make(outcome, 1)
		if err = c.node.eng.Post(in, told); err == nil {
			err = <-told
		}
	default:
		err = c.node.eng.Append(ctx, in)
	}
	switch {
	case err == nil:
		c.fate = acked
	case ambiguous && !errors.Is(err, wal.ErrFull):
		c.fate = unclear
	}
	return err
}

// encoded is events of one organisation with equal texts written once.
func encoded(in []event.Interaction) *event.Rows {
	rows, known := event.NewRows(in[0].Org), map[[5]string]*event.Texts{}
	for i := range in {
		ev := &in[i]
		key := [5]string{ev.Reason, ev.Client, ev.OS, ev.UserAgent, ev.Network}
		if known[key] == nil {
			known[key] = new(event.Texts)
		}
		if err := rows.Add(ev, known[key]); err != nil {
			panic(err)
		}
	}
	return rows
}

// outcome is a Waiter that passes on what it is told.
type outcome chan error

func (o outcome) Done(err error) { o <- err }

// expect reports errors of an append without a cause.
func (w *world) expect(c *call, err error) {
	switch {
	case err == nil:
		w.tally.acked += len(c.facts)
	case errors.Is(err, wal.ErrFull):
		w.tally.full++
		if s := c.node.eng.Stats(); s.TailRows == 0 && !c.node.untrimmed {
			w.errorf("append on %v: %v, with %d bytes in the log and nothing to flush", c.node, err, s.LogBytes)
		}
	case !c.node.stopped:
		w.errorf("append of %d events on %v: %v", len(c.facts), c.node, err)
	}
}

func (w *world) append(n *node) {
	c := w.draw(n, 20)
	w.logf("%v: append %d events", n, len(c.facts))
	w.expect(c, c.run(context.Background(), false))
}

// appendMany appends from several goroutines at once, on one node or on both.
func (w *world) appendMany(n *node) {
	calls := make([]*call, 2+w.rng.IntN(4))
	for i := range calls {
		calls[i] = w.draw(n, 8)
		if o := w.other(n); o != nil && w.rng.IntN(3) == 0 {
			calls[i].node = o
		}
	}
	w.logf("%v: %d appends at once", n, len(calls))
	errs := make([]error, len(calls))
	var wg sync.WaitGroup
	for i, c := range calls {
		wg.Go(func() { errs[i] = c.run(context.Background(), false) })
	}
	wg.Wait()
	for i, c := range calls {
		w.expect(c, errs[i])
	}
}

// appendCancelled ends the context of some callers while the group of the first
// is being synced.
func (w *world) appendCancelled(n *node) {
	calls := make([]*call, 2+w.rng.IntN(3))
	for i := range calls {
		calls[i] = w.draw(n, 5)
	}
	w.logf("%v: %d appends at once, most of them cancelled", n, len(calls))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n.disk.Inject(func(op waltest.Op) error {
		if op.Kind == waltest.Sync {
			cancel()
		}
		return nil
	})
	var wg sync.WaitGroup
	for i, c := range calls {
		wg.Go(func() {
			if i == 0 {
				_ = c.run(context.Background(), true)
				return
			}
			_ = c.run(ctx, true)
		})
	}
	wg.Wait()
	n.disk.Inject(nil)
	// All groups are written now, so what is not visible will never be.
	w.settle(n, calls)
}

// appendFault appends while the log's disk fails once.
func (w *world) appendFault(n *node) {
	c := w.draw(n, 20)
	at, count := 1+w.rng.IntN(4), 0
	var mu sync.Mutex // the log may prepare a segment on the side
	synced := false
	n.disk.Inject(func(op waltest.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if count++; count != at {
			return nil
		}
		synced = op.Kind == waltest.Sync
		return errDisk
	})
	in := make([]event.Interaction, len(c.facts))
	for i, f := range c.facts {
		in[i] = f.in
	}
	err := n.eng.Append(context.Background(), in)
	n.disk.Inject(nil)
	mu.Lock()
	defer mu.Unlock()
	w.logf("%v: append %d events, disk fails at operation %d (a sync: %v): %v", n, len(in), at, synced, err)
	n.stopped = n.stopped || synced
	switch {
	case err == nil:
		c.fate = acked
	case count >= at:
		c.fate = unclear
	}
}

var errDisk = errors.New("injected fault of the disk")

// appendCrash takes the power away at some point of an append.
func (w *world) appendCrash(n *node) {
	c := w.draw(n, 20)
	at := w.rng.IntN(5)
	n.disk.PowerOff(at)
	err := c.run(context.Background(), true)
	w.logf("%v: append %d events, power goes off at operation %d: %v; crash", n, len(c.facts), at, err)
	n.crash()
}
