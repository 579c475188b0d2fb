package retention

import (
	"context"
	"errors"
	"sync/atomic"

	"mailwake/engine/blob/blobtest"
	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// sweep maintains, which has to work, unless a reader keeps an erasure waiting.
func (w *world) sweep() {
	w.logf("sweep")
	waits := w.makeWay()
	w.maintained(false)
	err := w.keep.Sweep(context.Background(), w.org)
	switch {
	case err == nil:
		w.maintained(true)
		if open := w.erasures(); len(open) > 0 {
			w.t.Errorf("erasures are still under way: %+v", open)
		}
	case !waits:
		w.t.Errorf("sweep: %v", err)
	}
	w.tally.sweeps++
}

// sweepTwisted maintains while something happens at one operation of the store, or
// between the steps of an erasure.
func (w *world) sweepTwisted() {
	waits := w.makeWay()
	w.maintained(false)
	kind, err := w.twisted(true, func(ctx context.Context) error { return w.keep.Sweep(ctx, w.org) })
	if kind == "conflict" {
		if err != nil && !waits {
			w.t.Errorf("sweep beside a commit: %v", err)
		}
		w.maintained(false) // of the events that came in the middle
	}
}

// makeWay closes the Views of other processes, and mostly those of the Keeper's,
// when an erasure is about to delete what they show. It reports whether one that is
// held keeps it waiting.
func (w *world) makeWay() (waits bool) {
	if len(w.erasures()) == 0 {
		return false
	}
	w.nodes[1].closeViews()
	if w.rng.IntN(3) > 0 {
		w.nodes[0].closeViews()
	}
	return len(w.nodes[0].views) > 0
}

func (n *node) closeViews() {
	for _, h := range n.views {
		h.close()
	}
	n.views = nil
}

var errTwist = errors.New("twist")

// twisted runs the Keeper while something happens at one operation of the store or
// of the engine.
func (w *world) twisted(beside bool, run func(context.Context) error) (kind string, err error) {
	kinds := []string{"fails before", "fails after", "goes down before", "goes down after", "crash", "crash", "cancel", "conflict", "conflict"}
	if !beside {
		kinds = kinds[:7]
	}
	kind = kinds[w.rng.IntN(len(kinds))]
	at := int64(1 + w.rng.IntN([]int{8, 60}[w.rng.IntN(2)]))
	w.logf("at operation %d: %s", at, kind)
	n := w.nodes[0]
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var count atomic.Int64
	var down atomic.Bool
	w.twist = func() blobtest.When {
		if down.Load() {
			return blobtest.Before
		}
		if count.Add(1) != at {
			return blobtest.Never
		}
		switch kind {
		case "fails before":
			return blobtest.Before
		case "fails after":
			return blobtest.After
		case "goes down before":
			down.Store(true)
			return blobtest.Before
		case "goes down after", "crash":
			down.Store(true)
			return blobtest.After
		case "cancel":
			cancel()
		case "conflict":
			w.append(w.nodes[1])
			w.flush(w.nodes[1])
		}
		return blobtest.Never
	}
	n.faults.Script(func(blobtest.Op, string) blobtest.Fault { return blobtest.Fault{When: w.twist()} })
	err = run(ctx)
	n.faults.Script(nil)
	w.twist = nil
	w.logf("  %v", err)
	if err != nil {
		w.tally.failed++
	}
	if kind == "crash" {
		w.crash(n)
	}
	return kind, err
}

// removals are the Keeper's, with a twist at each of the engine's parts.
func (w *world) removals(n *node) *Removals {
	twist := func(ctx context.Context, call func(context.Context) error) error {
		when := blobtest.Never
		if w.twist != nil {
			when = w.twist()
		}
		if when == blobtest.Before {
			return errTwist
		}
		err := call(ctx)
		if err == nil && when == blobtest.After {
			err = errTwist
		}
		return err
	}
	return &Removals{
		Registry: w.reg, Store: n.faults, Dir: w.dir, Signer: w.sign, Patience: 1, OrphanAge: 1,
		Shred: func(ctx context.Context) error { return twist(ctx, n.eng.Shred) },
		Flush: func(ctx context.Context, org event.OrgID) error {
			return twist(ctx, func(ctx context.Context) error { return n.eng.Flush(ctx, org) })
		},
		DropTail: func(ctx context.Context, org event.OrgID) error {
			return twist(ctx, func(ctx context.Context) error { return n.eng.Drop(ctx, org) })
		},
		Forget: func(ctx context.Context, org event.OrgID) error {
			return twist(ctx, func(ctx context.Context) error { return n.db.Forget(ctx, org) })
		},
		Rollups: n.db.SearchRollups, Told: n.db.Told, Tidy: n.db.Tidy,
	}
}

// crash takes the process away, and with it all it had in memory.
func (w *world) crash(n *node) {
	w.tally.crashes++
	disk := n.disk.Crash(w.rng)
	w.shut(n)
	n.disk = disk
	w.open(n)
}

// erase erases somebody, for good from the first instant on: what a fault leaves
// undone is done by the sweeps that follow.
func (w *world) erase() {
	who := w.someone()
	if len(w.living()) == 1 {
		return // somebody has to be there to whom things happen
	}
	w.logf("erase recipient %d", who)
	w.nodes[1].closeViews()
	if w.rng.IntN(3) > 0 {
		w.nodes[0].closeViews()
	}
	waits := len(w.nodes[0].views) > 0
	_, err := w.reg.BeginErasure(context.Background(), w.org, registry.Whose{Recipient: who}, registry.BySystem())
	must(w.t, err)
	w.maintained(false)
	var reached []*fact
	for _, f := range w.model.facts {
		if f.in.Recipient == who && (f.inFiles || f.node == w.nodes[0]) {
			reached = append(reached, f)
		}
	}
	run := func(ctx context.Context) error {
		_, err := w.keep.Erase(ctx, w.org, registry.Whose{Recipient: who}, registry.BySystem())
		return err
	}
	kind := ""
	if w.rng.IntN(2) == 0 {
		err = run(context.Background())
	} else {
		kind, err = w.twisted(true, run)
		w.maintained(false) // of the events that came in the middle
	}
	if err != nil {
		if (kind == "" || kind == "conflict") && !(waits && problem.Of(err).Code == "removal_waits") {
			w.t.Errorf("erase: %v", err)
		}
		return
	}
	w.tally.erased++
	for _, f := range reached {
		f.gone = true
	}
	w.searchErased(who)
}
