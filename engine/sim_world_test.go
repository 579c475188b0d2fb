package engine_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"mailwake/engine"
	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/engine/registry"
	"mailwake/engine/wal/waltest"
)

// world is one simulated history: one or two nodes over one registry, catalog
// and store, and the model they are compared with.
type world struct {
	t     *testing.T
	rng   *rand.Rand // used by one goroutine at a time
	dir   string
	reg   *registry.Registry
	orgs  []event.OrgID
	store *blob.MemStore
	nodes []*node
	model model

	strict   bool // look at everything after every step, else after some
	logLimit int64
	segment  int
	expire   int
	trace    []string
	tally    tally
}

// tally counts what a history went through.
type tally struct{ steps, acked, views, flushes, failed, crashes, restarts, full int }

func (t *tally) add(o tally) {
	t.steps, t.acked, t.views, t.flushes = t.steps+o.steps, t.acked+o.acked, t.views+o.views, t.flushes+o.flushes
	t.failed, t.crashes, t.restarts, t.full = t.failed+o.failed, t.crashes+o.crashes, t.restarts+o.restarts, t.full+o.full
}

// node is one Engine with its own log and its own way to the store.
type node struct {
	w      *world
	id     uint8
	disk   *waltest.Disk
	faults *blobtest.Faulty
	store  *putHook // on top of faults
	lake   *lake.Lake
	eng    *engine.Engine
	// stopped: an fsync failed, the log takes nothing until it is opened again.
	stopped bool
	// untrimmed: a flush has failed, so the log may hold what tables have, too.
	untrimmed bool
	views     []heldView
	tails     map[event.OrgID]event.Position // start of the tail, which never moves back
	contents  map[event.OrgID]shown          // of the last View
}

type heldView struct {
	view *engine.View
	org  event.OrgID
	want content
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 0x6d61696c)), dir: t.TempDir(), store: blob.Mem("sim")}
	w.model.init()
	w.reg = openRegistry(t, w.dir)
	w.addOrg()
	w.addOrg()
	w.strict = w.rng.IntN(2) == 0
	w.logLimit = []int64{12 << 10, 24 << 10, 1 << 20, 1 << 20}[w.rng.IntN(4)]
	w.segment = []int{16 << 10, 64 << 10}[w.rng.IntN(2)]
	w.expire = 6 + w.rng.IntN(10)
	for id := range 1 + min(1, w.rng.IntN(3)) {
		w.nodes = append(w.nodes, &node{w: w, id: uint8(id), disk: waltest.NewDisk()})
	}
	for _, n := range w.nodes {
		n.faults = blobtest.NewFaulty(w.store)
		n.store = &putHook{Store: n.faults}
		n.open()
	}
	t.Cleanup(w.close)
	return w
}

func (w *world) close() {
	for _, n := range w.nodes {
		n.dropViews()
		n.shut()
	}
}

func (w *world) addOrg() {
	o, err := w.reg.CreateOrg(context.Background(), registry.NewOrg{Name: fmt.Sprintf("org-%d", len(w.orgs)+1)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.orgs = append(w.orgs, o.ID)
}

func (w *world) anyOrg() event.OrgID { return w.orgs[w.rng.IntN(len(w.orgs))] }
func (w *world) anyNode() *node      { return w.nodes[w.rng.IntN(len(w.nodes))] }

// other is the node beside n, nil when n is alone.
func (w *world) other(n *node) *node {
	for _, o := range w.nodes {
		if o != n {
			return o
		}
	}
	return nil
}

func (w *world) logf(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%3d ", len(w.trace))+fmt.Sprintf(format, args...))
}

// errorf reports a broken promise; the history ends after this step.
func (w *world) errorf(format string, args ...any) {
	w.t.Helper()
	w.t.Errorf(format, args...)
}

func (n *node) String() string { return "node " + strconv.Itoa(int(n.id)) }

func (n *node) tryOpen() error {
	ctx := context.Background()
	l, err := lake.Open(ctx, lake.Options{
		Store: n.store, CatalogPath: n.w.catalog(), CacheDir: n.cacheDir(),
		Logger: slog.New(slog.DiscardHandler), ExpireEvery: n.w.expire,
	})
	if err != nil {
		return err
	}
	opts := engine.Options{Dir: fmt.Sprintf("data-%d", n.id), Node: n.id, Registry: n.w.reg, Lake: l, LogLimit: n.w.logLimit}
	opts.Log.VFS, opts.Log.SegmentBytes = n.disk, n.w.segment
	e, err := engine.Open(ctx, opts)
	if err != nil {
		l.Close()
		return err
	}
	n.lake, n.eng, n.stopped, n.untrimmed, n.tails = l, e, false, false, map[event.OrgID]event.Position{}
	n.contents = map[event.OrgID]shown{}
	return nil
}

func (n *node) open() {
	n.w.t.Helper()
	if err := n.tryOpen(); err != nil {
		n.w.t.Fatalf("open %v: %v", n, err)
	}
}

func (w *world) catalog() string { return filepath.Join(w.dir, "catalog.db") }

func (n *node) cacheDir() string { return filepath.Join(n.w.dir, fmt.Sprintf("cache-%d", n.id)) }

// clearCache removes the local copies of blobs.
func (n *node) clearCache() {
	if err := os.RemoveAll(n.cacheDir()); err != nil {
		n.w.t.Fatal(err)
	}
}

// shut closes Engine and Lake; the log of a node that has lost power cannot end
// well.
func (n *node) shut() (err error) {
	if n.eng == nil {
		return nil
	}
	err = n.eng.Close()
	if errLake := n.lake.Close(); errLake != nil {
		n.w.errorf("close lake of %v: %v", n, errLake)
	}
	n.eng = nil
	return err
}

// restart closes the node in order and opens it again, sometimes without the
// local copies of blobs.
func (n *node) restart() {
	n.w.tally.restarts++
	n.checkViews()
	n.dropViews()
	if err := n.shut(); err != nil && !n.stopped {
		n.w.errorf("close %v: %v", n, err)
	}
	n.comeBack()
}

// crash takes the power away: what was not fsynced is lost in part or whole. The
// next start may meet faults of its own.
func (n *node) crash() {
	n.w.tally.crashes++
	n.checkViews()
	n.dropViews()
	disk := n.disk.Crash(n.w.rng)
	_ = n.shut()
	n.disk = disk
	if n.w.rng.IntN(4) == 0 {
		n.crashInOpen()
	}
	n.comeBack()
}

func (n *node) crashInOpen() {
	at := 1 + n.w.rng.IntN(6)
	if n.w.rng.IntN(2) == 0 {
		n.w.logf("  %v: power goes off at operation %d of the start", n, at)
		n.disk.PowerOff(at)
		if err := n.tryOpen(); err == nil {
			_ = n.shut()
		}
		n.disk = n.disk.Crash(n.w.rng)
		return
	}
	n.w.logf("  %v: store fails at operation %d of the start", n, at)
	n.faults.Script(failFrom(at))
	if err := n.tryOpen(); err == nil {
		_ = n.shut()
	}
	n.faults.Script(nil)
}

// comeBack opens the node and settles what became of the appends that ended
// without an answer.
func (n *node) comeBack() {
	if n.w.rng.IntN(3) == 0 {
		n.clearCache()
	}
	n.open()
	n.w.settle(n, n.w.model.calls)
}

func (n *node) dropViews() {
	for _, h := range n.views {
		h.view.Close()
	}
	n.views = nil
}
