package engine_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
)

// simulations run side by side: most of their time is waiting, for fsync of
// SQLite and for the pauses of commits that start over.
const simulations = 12

// TestSimulate runs random histories, each given by its seed, against a model.
// MAILWAKE_SEEDS sets how many; one of them again:
//
//	MAILWAKE_SEEDS=17 go test -run 'TestSimulate/seed=17$' ./engine
func TestSimulate(t *testing.T) {
	seeds := defaultSeeds
	if s := os.Getenv("MAILWAKE_SEEDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("MAILWAKE_SEEDS: %v", err)
		}
		seeds = n
	}
	var mu sync.Mutex
	var total tally
	next := make(chan int)
	var wg sync.WaitGroup
	for range simulations {
		wg.Go(func() {
			for seed := range next {
				t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
					result := simulate(t, uint64(seed))
					mu.Lock()
					defer mu.Unlock()
					total.add(result)
				})
			}
		})
	}
	for seed := 1; seed <= seeds; seed++ {
		next <- seed
	}
	close(next)
	wg.Wait()
	if !t.Failed() {
		t.Logf("0 lost, 0 doubled: %d histories of %d steps, %d events acknowledged, %d views compared, %d flushes and %d that failed, %d crashes, %d restarts, %d times at the limit of the log",
			seeds, total.steps, total.acked, total.views, total.flushes, total.failed, total.crashes, total.restarts, total.full)
	}
}

func simulate(t *testing.T, seed uint64) tally {
	w := newWorld(t, seed)
	defer func() {
		if t.Failed() {
			for _, line := range w.trace {
				t.Log(line)
			}
		}
	}()
	for range 15 + w.rng.IntN(25) {
		w.tally.steps++
		w.step(w.anyNode())
		if w.strict || w.rng.IntN(4) == 0 {
			w.checkAll()
		}
		if t.Failed() {
			return w.tally
		}
	}
	w.finish()
	return w.tally
}

// step does one thing on n.
func (w *world) step(n *node) {
	if n.stopped && w.rng.IntN(2) == 0 {
		w.logf("%v: restart with a log that has stopped", n)
		n.restart()
		return
	}
	switch p := w.rng.IntN(100); {
	case p < 26:
		w.append(n)
	case p < 36:
		w.appendMany(n)
	case p < 39:
		w.appendCancelled(n)
	case p < 44:
		w.appendFault(n)
	case p < 48:
		w.appendCrash(n)
	case p < 56:
		w.flush(n, w.anyOrg())
	case p < 60:
		w.flushAll(n)
	case p < 63:
		w.flushBoth()
	case p < 80:
		w.flushTwisted(n)
	case p < 84:
		w.flushTrimFault(n)
	case p < 88:
		w.logf("%v: restart", n)
		n.restart()
	case p < 92:
		w.logf("%v: crash", n)
		n.crash()
	case p < 96:
		w.hold(n)
	case p < 98:
		w.viewFault(n)
	case len(w.orgs) < 4:
		w.logf("a new organisation")
		w.addOrg()
	}
}

// hold takes a View that is kept over the next steps, and drops an old one.
func (w *world) hold(n *node) {
	org := w.anyOrg()
	w.logf("%v: hold a view of org %d", n, org)
	v, err := n.eng.View(context.Background(), org)
	if err != nil {
		w.errorf("view of org %d on %v: %v", org, n, err)
		return
	}
	w.checkView(n, org, v)
	n.views = append(n.views, heldView{v, org, contentOf(w.t, v)})
	if len(n.views) > 3 {
		n.views[0].view.Close()
		n.views = n.views[1:]
	}
}

// viewFault takes a View while the store fails: it is right or an error.
func (w *world) viewFault(n *node) {
	org, at := w.anyOrg(), 1+w.rng.IntN(10)
	if len(n.views) == 0 {
		n.clearCache()
	}
	n.faults.Script(failFrom(at))
	v, err := n.eng.View(context.Background(), org)
	n.faults.Script(nil)
	w.logf("%v: view of org %d while the store fails: %v", n, org, err)
	if err != nil {
		return
	}
	defer v.Close()
	w.checkView(n, org, v)
}

// finish brings everything to rest and requires equality: all acknowledged
// events are in the tables, once, and the logs are empty.
func (w *world) finish() {
	w.logf("finish")
	for _, n := range w.nodes {
		n.restart() // settles what is unclear
	}
	for _, n := range w.nodes {
		w.flushAll(n)
		n.restart()
	}
	w.checkAll()
	for _, n := range w.nodes {
		if s := n.eng.Stats(); s.TailRows != 0 || s.LogBytes != 0 {
			w.errorf("%v has %d rows in its tails and %d bytes in its log at the end", n, s.TailRows, s.LogBytes)
		}
	}
	for num, f := range w.model.facts {
		if f.committed != (f.call.fate == acked) {
			w.errorf("event %d of a call that is %v: in the table is %v", num, f.call.fate, f.committed)
		}
	}
}
