package lake

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/apache/iceberg-go"

	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
	"mailwake/engine/event"
)

// clock is a clock that stands still until it is moved.
type clock struct{ at time.Time }

func (c *clock) now() time.Time          { return c.at }
func (c *clock) option(o *Options)       { o.Now = c.now }
func (c *clock) forward(d time.Duration) { c.at = c.at.Add(d) }

const grace = 10 * time.Minute

// collect expires and collects at the clock's time.
func (c *clock) collect(t *testing.T, tbl *Table) Collected {
	t.Helper()
	_, err := tbl.Expire(t.Context(), c.at.Add(-grace))
	must(t, err)
	got, err := tbl.Collect(t.Context(), c.at.Add(-grace))
	must(t, err)
	return got
}

func exists(t *testing.T, l *Lake, f File) bool {
	t.Helper()
	_, err := l.opts.Store.Stat(t.Context(), f.Path)
	if err != nil && !errors.Is(err, blob.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

// TestCollect: a replaced blob goes after its grace, not while it is read, and
// then from everywhere.
func TestCollect(t *testing.T) {
	c := &clock{time.Now()}
	folder := t.TempDir()
	mem := blob.Mem("collect")
	l := dirLake(t, folder, c.option, func(o *Options) { o.Store = mem })
	tbl := tableOf(t, l)
	first := commit(t, tbl, Change{Add: []File{write(t, tbl, 5, 1), write(t, tbl, 5, 2), write(t, tbl, 5, 3)}})
	a, b := first.Files()[0], first.Files()[1]
	unpin := l.Pin(first)
	_, release, err := l.Local(t.Context(), a)
	must(t, err)
	commit(t, tbl, Change{Remove: []File{a, b}, Add: []File{write(t, tbl, 10, 4)}})
	if got := c.collect(t, tbl); got != (Collected{Waiting: 2}) || !exists(t, l, a) {
		t.Fatalf("while an old snapshot has it: %+v", got)
	}
	must(t, func() error { _, err := tbl.Expire(t.Context(), c.at.Add(time.Hour)); return err }())
	for range 2 {
		if got := c.collect(t, tbl); got != (Collected{Waiting: 2}) || !exists(t, l, a) {
			t.Fatalf("before the grace is over: %+v", got)
		}
	}
	c.forward(grace + time.Hour)
	if got := c.collect(t, tbl); got != (Collected{Pinned: 2}) || !exists(t, l, b) {
		t.Fatalf("while a snapshot is pinned: %+v", got)
	}
	unpin()
	if got := c.collect(t, tbl); got != (Collected{Pinned: 1, Deleted: 1, Bytes: b.Bytes}) || !exists(t, l, a) || exists(t, l, b) {
		t.Fatalf("while one file is read: %+v", got)
	}
	release()
	if got := c.collect(t, tbl); got.Deleted != 1 || exists(t, l, a) {
		t.Fatalf("afterwards: %+v", got)
	}
	for _, f := range []File{a, b} {
		if _, err := os.Stat(filepath.Join(folder, "cache", f.Path)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("copy of %s in the cache: %v", f.Path, err)
		}
	}
	if got := c.collect(t, tbl); got != (Collected{}) {
		t.Errorf("with nothing to do: %+v", got)
	}
	if list, err := l.listReplaced(t.Context(), "acme"); err != nil || len(list) != 0 {
		t.Errorf("ledger holds %v, %v", list, err)
	}
	if got := damages(t, l); len(got) != 0 {
		t.Errorf("Verify = %q", got)
	}
}

// TestCollectKeepsWhatTheTableHas: a commit that failed has noted its files; they
// stay, and later commits can replace them.
func TestCollectKeepsWhatTheTableHas(t *testing.T) {
	c := &clock{time.Now()}
	faulty := blobtest.NewFaulty(blob.Mem("keep"))
	l := dirLake(t, t.TempDir(), c.option, func(o *Options) { o.Store = faulty })
	tbl := tableOf(t, l)
	f := commit(t, tbl, Change{Add: []File{write(t, tbl, 5, 1)}}).Files()[0]
	merged := write(t, tbl, 5, 2)
	faulty.Script(func(op blobtest.Op, _ string) blobtest.Fault {
		return blobtest.Fault{When: blobtest.Before, Err: errors.New("down")}
	})
	if _, err := tbl.Commit(t.Context(), Change{Remove: []File{f}, Add: []File{merged}}); err == nil {
		t.Fatal("commit on a store that is down")
	}
	faulty.Script(nil)
	must(t, tbl.Discard(t.Context(), []File{merged}))
	for range 3 {
		c.collect(t, tbl)
		c.forward(2 * commitLongest)
	}
	if got := c.collect(t, tbl); got != (Collected{}) || !exists(t, l, f) || exists(t, l, merged) {
		t.Fatalf("%+v; file of the table there: %v, discarded file there: %v", got, exists(t, l, f), exists(t, l, merged))
	}
	commit(t, tbl, Change{Remove: []File{f}, Add: []File{write(t, tbl, 5, 3)}})
	c.forward(grace + time.Hour)
	if got := c.collect(t, tbl); got.Deleted != 1 || exists(t, l, f) {
		t.Errorf("replaced at last: %+v", got)
	}
}

// TestCollectOnFaultyStore: whatever fails, the ledger keeps what is not gone.
func TestCollectOnFaultyStore(t *testing.T) {
	for _, op := range []blobtest.Op{blobtest.OpGet, blobtest.OpStat, blobtest.OpDelete, blobtest.OpPut} {
		for _, when := range []blobtest.When{blobtest.Before, blobtest.After} {
			c := &clock{time.Now()}
			faulty := blobtest.NewFaulty(blob.Mem("faulty"))
			l := dirLake(t, t.TempDir(), c.option, func(o *Options) { o.Store = faulty })
			tbl := tableOf(t, l)
			old := commit(t, tbl, Change{Add: []File{write(t, tbl, 5, 1), write(t, tbl, 5, 2)}}).Files()
			commit(t, tbl, Change{Remove: old, Add: []File{write(t, tbl, 10, 3)}})
			c.forward(grace + time.Hour)
			for n := 1; n < 12; n++ {
				count := 0
				faulty.Script(func(o blobtest.Op, _ string) blobtest.Fault {
					if o != op {
						return blobtest.Fault{}
					}
					if count++; count != n {
						return blobtest.Fault{}
					}
					return blobtest.Fault{When: when, Err: errors.New("down")}
				})
				_, _ = tbl.Expire(t.Context(), c.at)
				_, _ = tbl.Collect(t.Context(), c.at.Add(-grace))
				faulty.Script(nil)
				if s, err := tbl.Refresh(t.Context()); err == nil && !exists(t, l, s.Files()[0]) {
					t.Fatalf("%s %d %v: the table's file is gone", op, n, when)
				}
			}
			if got := c.collect(t, tbl); exists(t, l, old[0]) || exists(t, l, old[1]) {
				t.Errorf("%s %v: %+v", op, when, got)
			}
			if list, _ := l.listReplaced(t.Context(), "acme"); len(list) != 0 {
				t.Errorf("%s %v: ledger holds %v", op, when, list)
			}
		}
	}
}

// TestSweep: only what nothing refers to, and only when it is old.
func TestSweep(t *testing.T) {
	c := &clock{time.Now()}
	l := dirLake(t, t.TempDir(), c.option)
	tbl := tableOf(t, l)
	orphan := write(t, tbl, 5, 1)
	old := commit(t, tbl, Change{Add: []File{write(t, tbl, 5, 2)}}).Files()[0]
	live := write(t, tbl, 5, 3)
	commit(t, tbl, Change{Remove: []File{old}, Add: []File{live}})
	prefix := l.tableKey("acme")
	blobtest.Put(t, l.opts.Store, prefix+"/metadata/lost-m0.avro", []byte("x"))
	blobtest.Put(t, l.opts.Store, "warehouse/acme-2/interactions/data/other.parquet", []byte("x"))
	if got, err := tbl.Sweep(t.Context(), time.Now().Add(-time.Hour)); err != nil || got != (Collected{}) {
		t.Fatalf("everything is young: %+v, %v", got, err)
	}
	before := blobtest.Keys(t, l.opts.Store, "")
	got, err := tbl.Sweep(t.Context(), time.Now().Add(time.Hour))
	must(t, err)
	want := slices.DeleteFunc(slices.Clone(before), func(key string) bool { return key == orphan.Path || key == prefix+"/metadata/lost-m0.avro" })
	if after := blobtest.Keys(t, l.opts.Store, ""); got.Deleted != 2 || !slices.Equal(after, want) {
		t.Errorf("%+v\nleft %q\nwant %q", got, after, want)
	}
	if got := damages(t, l); len(got) != 0 || !exists(t, l, old) {
		t.Errorf("Verify = %q; the ledger's blob is there: %v", got, exists(t, l, old))
	}
}

// TestRewriteManifests: bounds of removed files are gone after it and an expiry.
func TestRewriteManifests(t *testing.T) {
	c := &clock{time.Now()}
	folder := t.TempDir()
	l := dirLake(t, folder, c.option)
	tbl := tableOf(t, l)
	marked := interactions(5, july, 1)
	for i := range marked {
		marked[i].Email, marked[i].Recipient = event.EmailID(i+1), 987_654_321
	}
	f, err := tbl.Write(t.Context(), batchOf(t, marked))
	must(t, err)
	var files []File
	for i := range uint64(5) {
		files = append(files, write(t, tbl, 5, i+2))
	}
	commit(t, tbl, Change{Add: append(files, f)})
	commit(t, tbl, Change{Remove: []File{f}, Add: []File{write(t, tbl, 5, 20)}})
	if !boundsHold(t, tbl, 987_654_321) {
		t.Fatal("the test sees no bounds at all")
	}
	before := tbl.Snapshot()
	done, err := tbl.RewriteManifests(t.Context())
	must(t, err)
	c.forward(grace + time.Hour)
	c.collect(t, tbl)
	if !done || boundsHold(t, tbl, 987_654_321) {
		t.Errorf("rewritten: %v; bounds of the removed file are still there", done)
	}
	after := tbl.Snapshot()
	sort := func(files []File) []string {
		var keys []string
		for _, f := range files {
			keys = append(keys, f.Path)
		}
		slices.Sort(keys)
		return keys
	}
	if !slices.Equal(sort(before.Files()), sort(after.Files())) {
		t.Error("the files are others")
	}
	if done, err := tbl.RewriteManifests(t.Context()); err != nil || done {
		t.Errorf("a second time: %v, %v", done, err)
	}
	commit(t, tbl, Change{Remove: after.Files()[:2], Node: "n1", Mark: 7, Add: []File{write(t, tbl, 5, 30)}})
	if got := damages(t, l); len(got) != 0 {
		t.Errorf("Verify = %q", got)
	}
	checkPlan(t, tbl, folder)
}

// boundsHold reports whether a manifest in the store has the value as a bound of
// recipient_id.
func boundsHold(t *testing.T, tbl *Table, value int64) bool {
	t.Helper()
	files := &fileIO{ctx: t.Context(), store: tbl.lake.opts.Store}
	for _, snap := range tbl.current.Load().iceberg.Metadata().Snapshots() {
		manifests, err := snap.Manifests(files)
		must(t, err)
		for _, m := range manifests {
			for e, err := range m.Entries(files, false) {
				must(t, err)
				if holds(e.DataFile(), value) {
					return true
				}
			}
		}
	}
	return false
}

func holds(df iceberg.DataFile, value int64) bool {
	for _, bounds := range []map[int][]byte{df.LowerBoundValues(), df.UpperBoundValues()} {
		if v, ok := micros(bounds[fieldRecipientID]); ok && int64(v) == value {
			return true
		}
	}
	return false
}

// TestLead: one at a time, of two Lakes as of two processes.
func TestLead(t *testing.T) {
	folder := t.TempDir()
	a, b := dirLake(t, folder), dirLake(t, folder)
	release, ok, err := a.Lead(context.Background())
	if err != nil || !ok {
		t.Fatalf("first: %v, %v", ok, err)
	}
	for _, l := range []*Lake{a, b} {
		if _, ok, err := l.Lead(context.Background()); err != nil || ok {
			t.Errorf("second: %v, %v", ok, err)
		}
	}
	release()
	if release, ok, err = b.Lead(context.Background()); err != nil || !ok {
		t.Fatalf("after the first has gone: %v, %v", ok, err)
	}
	release()
}
