package engine_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
	"mailwake/engine/event"
	"mailwake/engine/wal/waltest"
)

// failFrom is a store that stops working with its n-th operation.
func failFrom(n int) func(blobtest.Op, string) blobtest.Fault {
	var count atomic.Int64
	return func(blobtest.Op, string) blobtest.Fault {
		if count.Add(1) >= int64(n) {
			return blobtest.Fault{When: blobtest.Before}
		}
		return blobtest.Fault{}
	}
}

// flush flushes org on n, which has to work.
func (w *world) flush(n *node, org event.OrgID) {
	before := len(w.model.calls)
	w.logf("%v: flush org %d", n, org)
	w.flushResult(n, org, before, n.eng.Flush(context.Background(), org))
}

func (w *world) flushResult(n *node, org event.OrgID, before int, err error) {
	switch {
	case err == nil:
		w.tally.flushes++
		n.untrimmed = false
		w.flushed(n, org, before)
	case !n.stopped: // a log that has stopped cannot be trimmed either
		w.errorf("flush of org %d on %v: %v", org, n, err)
	}
}

// flushAll flushes n and expects an empty log.
func (w *world) flushAll(n *node) {
	before := len(w.model.calls)
	w.logf("%v: flush all", n)
	w.flushAllResult(n, before, n.eng.FlushAll(context.Background()))
}

func (w *world) flushAllResult(n *node, before int, err error) {
	for _, org := range w.orgs {
		w.flushResult(n, org, before, err)
	}
	if s := n.eng.Stats(); !n.stopped && (s.TailRows != 0 || s.LogBytes != 0) {
		w.errorf("%v has %d rows in its tails and %d bytes in its log after a flush of all", n, s.TailRows, s.LogBytes)
	}
}

// flushBoth flushes both nodes at once.
func (w *world) flushBoth() {
	before := len(w.model.calls)
	w.logf("all nodes flush at once")
	errs := make([]error, len(w.nodes))
	var wg sync.WaitGroup
	for i, n := range w.nodes {
		wg.Go(func() { errs[i] = n.eng.FlushAll(context.Background()) })
	}
	wg.Wait()
	for i, n := range w.nodes {
		w.flushAllResult(n, before, errs[i])
	}
}

// What can happen at one operation of a flush on its store. Those that leave
// the store working must not fail the flush.
const (
	failBefore     = "store fails before the effect"
	failAfter      = "store fails after the effect"
	downBefore     = "store goes down before the effect"
	downAfter      = "store goes down after the effect"
	cancelled      = "the caller goes away"
	conflict       = "the other node commits"
	appendsHere    = "events arrive"
	powerOffBefore = "power goes off before the effect"
	powerOffAfter  = "power goes off after the effect"
)

var flushTwists = []string{failBefore, failAfter, downBefore, downAfter, downAfter, cancelled, conflict, conflict, appendsHere, powerOffBefore, powerOffAfter}

// flushTwisted flushes org on n and lets something happen at one operation.
func (w *world) flushTwisted(n *node) {
	org, at, twist := w.anyOrg(), int64(1+w.rng.IntN(12)), flushTwists[w.rng.IntN(len(flushTwists))]
	if twist == conflict && w.other(n) == nil {
		twist = downAfter
	}
	if w.rng.IntN(5) == 0 {
		w.flushUnanswered(n, org)
		return
	}
	w.logf("%v: flush org %d; at operation %d %s", n, org, at, twist)
	before := len(w.model.calls)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var count atomic.Int64
	var down atomic.Bool
	n.faults.Script(func(blobtest.Op, string) blobtest.Fault {
		if down.Load() {
			return blobtest.Fault{When: blobtest.Before}
		}
		if count.Add(1) != at {
			return blobtest.Fault{}
		}
		return w.twist(n, org, twist, &down, cancel)
	})
	err := n.eng.Flush(ctx, org)
	n.faults.Script(nil)
	happened := count.Load() >= at
	if err == nil || !happened || twist == conflict || twist == appendsHere {
		w.flushResult(n, org, before, err)
	} else {
		w.tally.failed++
		n.untrimmed = true
		w.logf("  %v", err)
	}
	if twist == powerOffBefore || twist == powerOffAfter {
		n.crash()
	}
}

// twist makes one thing happen in the middle of a flush.
func (w *world) twist(n *node, org event.OrgID, twist string, down *atomic.Bool, cancel func()) blobtest.Fault {
	switch twist {
	case failBefore:
		return blobtest.Fault{When: blobtest.Before}
	case failAfter:
		return blobtest.Fault{When: blobtest.After}
	case downBefore:
		down.Store(true)
		return blobtest.Fault{When: blobtest.Before}
	case downAfter:
		down.Store(true)
		return blobtest.Fault{When: blobtest.After}
	case cancelled:
		cancel()
	case conflict:
		o := w.other(n)
		w.append(o)
		w.flush(o, org)
	case appendsHere:
		w.append(n)
	case powerOffBefore, powerOffAfter:
		n.disk.PowerOff(0)
		down.Store(true)
		cancel()
		if twist == powerOffBefore {
			return blobtest.Fault{When: blobtest.Before}
		}
		return blobtest.Fault{When: blobtest.After}
	}
	return blobtest.Fault{}
}

// flushTrimFault flushes org on n while the log's disk fails at trimming, and
// may lose power there.
func (w *world) flushTrimFault(n *node) {
	org, at := w.anyOrg(), 1+w.rng.IntN(4)
	before := len(w.model.calls)
	if w.rng.IntN(2) == 0 {
		n.disk.PowerOff(at)
		err := n.eng.Flush(context.Background(), org)
		w.logf("%v: flush org %d, power goes off at operation %d of the log: %v; crash", n, org, at, err)
		if err == nil {
			w.flushed(n, org, before)
		}
		n.crash()
		return
	}
	var mu sync.Mutex
	count, synced := 0, false
	n.disk.Inject(func(op waltest.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if count++; count != at {
			return nil
		}
		synced = op.Kind == waltest.Sync
		return errDisk
	})
	err := n.eng.Flush(context.Background(), org)
	n.disk.Inject(nil)
	mu.Lock()
	defer mu.Unlock()
	n.stopped = n.stopped || synced
	n.untrimmed = n.untrimmed || err != nil
	w.logf("%v: flush org %d, disk fails at operation %d of the log: %v", n, org, at, err)
	if err == nil {
		w.flushed(n, org, before)
	}
}

// putHook calls after, if set, when a Put has taken effect.
type putHook struct {
	blob.Store
	after func(key string)
}

func (p *putHook) Put(ctx context.Context, key string, r io.ReadSeeker, ifAbsent bool) error {
	err := p.Store.Put(ctx, key, r, ifAbsent)
	if err == nil && p.after != nil {
		p.after(key)
	}
	return err
}

// flushUnanswered flushes org on n. The commit takes effect, but the node does
// not learn of it: its own statement comes too late, and with it the store goes
// down. Then life goes on, often without a look at the table.
func (w *world) flushUnanswered(n *node, org event.OrgID) {
	w.logf("%v: flush org %d; the commit's answer is lost", n, org)
	n.store.after = func(key string) {
		if !strings.HasSuffix(key, ".metadata.json") {
			return
		}
		n.store.after = nil
		if err := w.moveCatalog(w.store.URL(key), org); err != nil {
			w.errorf("move the catalog: %v", err)
		}
		n.faults.Script(down)
	}
	err := n.eng.Flush(context.Background(), org)
	happened := n.store.after == nil
	n.untrimmed = n.untrimmed || err != nil
	n.store.after = nil
	n.faults.Script(nil)
	w.logf("  %v", err)
	switch {
	case happened && err == nil:
		w.errorf("flush of org %d on %v works without an answer", org, n)
	case err != nil && !happened && !n.stopped:
		w.errorf("flush of org %d on %v: %v", org, n, err)
	}
	if w.rng.IntN(2) == 0 {
		w.append(n)
		w.flush(n, org)
	}
}

// moveCatalog makes location the current metadata of org's table.
func (w *world) moveCatalog(location string, org event.OrgID) (err error) {
	db, err := sql.Open("sqlite", w.catalog())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = db.Exec(`UPDATE iceberg_tables SET previous_metadata_location = metadata_location, metadata_location = ? WHERE table_namespace = ?`,
		location, fmt.Sprintf("org-%d", org))
	return err
}
