package retention

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"mailwake/engine"
	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/engine/registry"
	"mailwake/engine/wal/waltest"
	"mailwake/query"
)

const (
	defaultSeeds = 12
	// simulations run side by side: much of their time is waiting for fsync.
	simulations = 16
)

// TestSimulate runs random histories of appends, flushes, refusals, policies,
// erasures, maintenance, termination, faults of the store, crashes and moving
// clocks, against a model.
// MAILWAKE_SEEDS sets how many; one of them again:
//
//	MAILWAKE_SEEDS=17 go test -run 'TestSimulate/seed=17$' ./retention
func TestSimulate(t *testing.T) {
	seeds := defaultSeeds
	if s := os.Getenv("MAILWAKE_SEEDS"); s != "" {
		n, err := strconv.Atoi(s)
		must(t, err)
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
		t.Logf("0 wrong: %d histories of %d steps, %d events, %d views compared, %d sweeps and %d that failed, %d rewrites, %d conflicts, %d crashes, %d rows left out, %d blobs deleted, %d erasures, %d purges, %d answers of rollups about who is in a file",
			seeds, total.steps, total.events, total.views, total.sweeps, total.failed, total.rewrites, total.conflicts, total.crashes, total.gone, total.deleted, total.erased, total.purged, total.told)
	}
}

type tally struct {
	steps, events, views, sweeps, failed, crashes, gone, erased, purged, told int
	rewrites, conflicts, deleted                                              int64
}

func (t *tally) add(o tally) {
	t.steps, t.events, t.views, t.sweeps, t.failed = t.steps+o.steps, t.events+o.events, t.views+o.views, t.sweeps+o.sweeps, t.failed+o.failed
	t.crashes, t.gone, t.erased, t.purged, t.told = t.crashes+o.crashes, t.gone+o.gone, t.erased+o.erased, t.purged+o.purged, t.told+o.told
	t.rewrites, t.conflicts, t.deleted = t.rewrites+o.rewrites, t.conflicts+o.conflicts, t.deleted+o.deleted
}

// world is one history. Node 0 has the Keeper, on the same Lake as its Engine;
// node 1 is another process.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	dir   string
	reg   *registry.Registry
	org   event.OrgID
	other registry.Org // an organisation that nothing happens to; of histories that end with a purge
	bytes string       // what the store has of it
	store blob.Store
	nodes [2]*node
	now   time.Time
	keep  *Keeper
	sign  *Signer
	twist func() blobtest.When // at each step of a removal outside of the store; nil: none
	model model
	// parsed are data files by path, decoded: most of them are looked at many times.
	parsed map[string]dataFile
	trace  []string
	tally  tally
}

type dataFile struct {
	data []byte
	rows []event.Interaction
}

type node struct {
	id     uint8
	disk   *waltest.Disk
	faults *blobtest.Faulty
	lake   *lake.Lake
	eng    *engine.Engine
	db     *query.DB
	keep   *Keeper // that of node 1 does not lead, and only cleans up after its node
	views  []held
}

// held is the View of a query that runs over the next steps, until close.
type held struct {
	view  query.View
	want  []event.Interaction
	at    time.Time
	close func()
}

func simulate(t *testing.T, seed uint64) tally {
	w := newWorld(t, seed)
	defer w.close()
	defer func() {
		if t.Failed() {
			for _, line := range w.trace {
				t.Log(line)
			}
		}
	}()
	for range 25 + w.rng.IntN(25) {
		w.tally.steps++
		w.step()
		for _, n := range w.nodes {
			if rows := w.check(n); n.id == 0 || w.tally.steps%8 == 0 {
				w.checkAnswers(n, rows)
			}
			w.checkViews(n)
		}
		if t.Failed() {
			return w.tally
		}
	}
	w.finish()
	if !t.Failed() && w.other.ID != 0 {
		w.end()
	}
	return w.tally
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 0x6b656570)), dir: t.TempDir(), now: time.Now().Truncate(time.Second), parsed: map[string]dataFile{}}
	w.model = model{facts: map[int64]*fact{}, refusals: map[event.RecipientID]registry.Refusal{}, policy: registry.DefaultPolicy()}
	w.store = blob.Mem("sim")
	if w.rng.IntN(2) == 0 {
		dir, err := blob.Dir(filepath.Join(w.dir, "blobs"))
		must(t, err)
		w.store = dir
	}
	var err error
	w.reg, err = registry.Open(context.Background(), registry.Options{DSN: "sqlite://" + filepath.Join(w.dir, "registry.db"), Clock: func() time.Time { return w.now }})
	must(t, err)
	w.sign, err = OpenSigner(filepath.Join(w.dir, "receipt.key"))
	must(t, err)
	w.populate()
	for i := range w.nodes {
		w.nodes[i] = &node{id: uint8(i), disk: waltest.NewDisk(), faults: blobtest.NewFaulty(w.store)}
		w.open(w.nodes[i])
	}
	if w.rng.IntN(2) == 0 {
		w.addOther()
	}
	return w
}

func (w *world) open(n *node) {
	var err error
	n.lake, err = lake.Open(context.Background(), lake.Options{
		Store: n.faults, CatalogPath: filepath.Join(w.dir, "catalog.db"), CacheDir: filepath.Join(w.dir, fmt.Sprintf("cache-%d", n.id)),
		Logger: slog.New(slog.DiscardHandler), ExpireEvery: 8, Now: func() time.Time { return w.now },
	})
	must(w.t, err)
	opts := engine.Options{Dir: fmt.Sprintf("data-%d", n.id), Node: n.id, Registry: w.reg, Lake: n.lake}
	opts.Log.VFS, opts.Log.SegmentBytes = n.disk, 64<<10
	n.eng, err = engine.Open(context.Background(), opts)
	must(w.t, err)
	folder := "" // a node without rollups
	if n.id == 0 {
		folder = filepath.Join(w.dir, "queries")
	}
	n.db = w.openQuery(n, folder, func(ctx context.Context, org event.OrgID) (query.View, error) { return n.eng.View(ctx, org) })
	o := Options{Lake: n.lake, Removals: w.removals(n), Registry: registryOf{w}, Now: func() time.Time { return w.now }}
	if n.id == 0 {
		o.Incoming = n.db.Incoming
		o.MinMerge, o.FullBytes, o.FileBytes = []int{2, 3, 5, 50}[w.rng.IntN(4)], []int64{1, 12_000, 1 << 20}[w.rng.IntN(3)], []int64{6_000, 1 << 20}[w.rng.IntN(2)]
	}
	n.keep, err = New(o)
	must(w.t, err)
	w.keep = w.nodes[0].keep
}

func (w *world) shut(n *node) {
	if n.id == 0 {
		s := w.keep.Stats()
		w.tally.rewrites, w.tally.conflicts, w.tally.deleted = w.tally.rewrites+s.Rewrites, w.tally.conflicts+s.Conflicts, w.tally.deleted+s.Deleted
	}
	n.closeViews()
	must(w.t, n.db.Close())
	_ = n.eng.Close()
	_ = n.lake.Close()
}

func (w *world) close() {
	for _, n := range w.nodes {
		w.shut(n)
	}
	must(w.t, w.reg.Close())
}

func (w *world) logf(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%3d %s ", len(w.trace), w.now.Format("01-02 15:04"))+fmt.Sprintf(format, args...))
}

func (w *world) step() {
	n := w.nodes[w.rng.IntN(2)]
	switch p := w.rng.IntN(100); {
	case p < 25:
		w.append(n)
	case p < 42:
		w.append(n)
		w.flush(n)
	case p < 52:
		w.sweep()
		if w.rng.IntN(2) == 0 { // what it replaced is due then
			w.passes(20 * time.Minute)
			w.sweep()
		}
	case p < 70:
		w.sweepTwisted()
	case p < 80:
		w.passes([]time.Duration{time.Minute, 20 * time.Minute, 3 * time.Hour, 26 * time.Hour, 5 * 24 * time.Hour, 31 * 24 * time.Hour}[w.rng.IntN(6)])
	case p < 87:
		w.prefer()
	case p < 90:
		w.setPolicy()
	case p < 93:
		w.hold(w.nodes[0])
	case p < 94:
		w.hold(w.nodes[1])
	case p < 97:
		w.erase()
	case p < 98:
		w.terminateOrReturn()
	default:
		w.logf("node %d: crash", n.id)
		w.crash(n)
	}
}

func (w *world) append(n *node) {
	in := make([]event.Interaction, 1+w.rng.IntN(12))
	for i := range in {
		id := int64(len(w.model.facts) + 1)
		// Times are unique, so that they can be searched for.
		at := event.At(w.now) - event.Micros(w.rng.Int64N([]int64{60e6, 86_400e6, 60 * 86_400e6}[w.rng.IntN(3)])*7) - event.Micros(id)
		marker := fmt.Sprintf("marker-%06d", id)
		in[i] = event.Interaction{
			Org: w.org, ID: -id, OccurredAt: at, ReceivedAt: event.At(w.now), Kind: event.Kind(1 + w.rng.IntN(9)),
			Email: event.EmailID(1 + w.rng.IntN(3)), Recipient: w.someone(), Component: int32(w.rng.IntN(5)),
			Actor: event.Actor(w.rng.IntN(6)), Client: marker, Source: event.Pixel,
			UserAgent: []string{"", "agent " + marker}[w.rng.IntN(2)], Network: []string{"", "10.0.0.0/24"}[w.rng.IntN(2)],
		}
		w.model.facts[-id] = &fact{in: in[i], marker: marker, node: n}
	}
	w.logf("node %d: append %d events", n.id, len(in))
	must(w.t, n.eng.Append(context.Background(), in))
	w.tally.events += len(in)
}

func (w *world) flush(n *node) {
	w.logf("node %d: flush", n.id)
	if err := n.eng.Flush(context.Background(), w.org); err != nil {
		w.t.Errorf("flush: %v", err)
		return
	}
	for _, f := range w.model.facts {
		f.inFiles = f.inFiles || f.node == n
	}
}

// passes moves the clock. Another process holds no View for longer than the grace.
func (w *world) passes(d time.Duration) {
	if o := w.acme(); o.State == registry.OrgTerminated && w.now.Add(d+24*time.Hour).After(o.PurgeAt.Time()) {
		w.terminateOrReturn()
	}
	w.logf("%s pass", d)
	w.now = w.now.Add(d)
	must(w.t, w.keep.Purge(context.Background()))
	n := w.nodes[1]
	for len(n.views) > 0 && w.now.Sub(n.views[0].at) >= defaultGrace {
		n.views[0].close()
		n.views = n.views[1:]
	}
}

// prefer changes what a recipient refuses.
func (w *world) prefer() {
	r := registry.Refusal{Recipient: w.someone(), Purposes: registry.Purposes(w.rng.IntN(16)), Since: event.At(w.now)}
	w.logf("recipient %d refuses %v", r.Recipient, r.Purposes.Names())
	w.model.changes++
	delete(w.model.refusals, r.Recipient)
	if r.Purposes != 0 {
		w.model.refusals[r.Recipient] = r
	}
}

func (w *world) setPolicy() {
	p := &w.model.policy
	p.OnWithdrawal = []registry.WithdrawalPolicy{registry.WithdrawalHides, registry.WithdrawalPurges}[w.rng.IntN(2)]
	p.HideDays, p.MaxAgeDays = 1+w.rng.IntN(40), []int{0, 0, 10, 100}[w.rng.IntN(4)]
	w.logf("policy %+v", *p)
	if _, err := w.reg.SetPolicy(context.Background(), w.org, *p, registry.Actor{Kind: registry.ActorSystem}); err != nil {
		w.t.Errorf("set policy: %v", err)
	}
}

func (w *world) hold(n *node) {
	w.logf("node %d: hold a view", n.id)
	var h held
	if h.at = w.now; w.acme().State == registry.OrgEnabled {
		h.view, h.close = w.begin(n)
	} else {
		v, err := n.eng.View(context.Background(), w.org)
		must(w.t, err)
		h.view, h.close = v, v.Close
	}
	h.want = w.content(h.view)
	n.views = append(n.views, h)
	if len(n.views) > 3 {
		n.views[0].close()
		n.views = n.views[1:]
	}
}

// checkViews reads the views that are held: they show what they showed.
func (w *world) checkViews(n *node) {
	for _, h := range n.views {
		if !slices.Equal(w.content(h.view), h.want) {
			w.t.Errorf("node %d: a view taken at %s shows something else now", n.id, h.at)
		}
	}
}
