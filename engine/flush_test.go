package engine_test

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"mailwake/engine/blob/blobtest"
	"mailwake/engine/event"
	"mailwake/engine/wal"
)

func down(blobtest.Op, string) blobtest.Fault { return blobtest.Fault{When: blobtest.Before} }

func TestFlushOneFilePerMonth(t *testing.T) {
	b := newBench(t)
	e := b.open()
	months := []time.Month{time.March, time.January, time.February}
	var in []event.Interaction
	for i := range 30 {
		at := time.Date(2026, months[i%3]+1, 1, 0, 0, 0, 0, time.UTC).Add(-time.Microsecond)
		if i%2 == 0 {
			at = time.Date(2026, months[i%3], 1, 0, 0, 0, 0, time.UTC)
		}
		x := opens(b.org, i+1, 1)[0]
		x.OccurredAt, x.Email = event.At(at), event.EmailID(3-i%3)
		in = append(in, x)
	}
	slices.Reverse(in)
	mustAppend(t, e, in)
	mustFlush(t, e, b.org)
	want(t, e, b.org, 1, 30)

	v, err := e.View(context.Background(), b.org)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	seen := map[int]bool{}
	for _, path := range v.Files() {
		rows, err := readParquet(path)
		if err != nil {
			t.Fatal(err)
		}
		sorted := slices.IsSortedFunc(rows, func(a, b event.Interaction) int {
			return cmp.Or(cmp.Compare(a.Email, b.Email), cmp.Compare(a.Recipient, b.Recipient), cmp.Compare(a.OccurredAt, b.OccurredAt), cmp.Compare(a.ID, b.ID))
		})
		month := rows[0].OccurredAt.Month()
		mixed := slices.ContainsFunc(rows, func(in event.Interaction) bool { return in.OccurredAt.Month() != month })
		if len(rows) != 10 || !sorted || mixed || seen[month] {
			t.Errorf("file of month %d has %d rows, sorted %v, of several months %v, not its first %v", month, len(rows), sorted, mixed, seen[month])
		}
		seen[month] = true
	}
	if len(seen) != 3 {
		t.Errorf("files are of the months %v, want three", seen)
	}
}

func TestFlushKeepsEventIDs(t *testing.T) {
	b := newBench(t)
	b.opts.Node = 7
	e := b.open()
	in := opens(b.org, 1, 3)
	in[1].ID = -42 // given by its reporter
	mustAppend(t, e, in)
	ids := func() map[event.RecipientID]int64 {
		v, err := e.View(context.Background(), b.org)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		out := map[event.RecipientID]int64{}
		for _, path := range v.Files() {
			rows, err := readParquet(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rows {
				out[r.Recipient] = r.ID
			}
		}
		for _, r := range v.Rows(0) {
			out[r.Recipient] = r.ID
		}
		return out
	}
	before := ids()
	e = b.reopen(e)
	replayed := ids()
	mustFlush(t, e, b.org)
	flushed := ids()
	for r := event.RecipientID(1); r <= 3; r++ {
		if before[r] == 0 || before[r] != replayed[r] || before[r] != flushed[r] {
			t.Errorf("event %d has id %d, %d after a restart and %d in the table", r, before[r], replayed[r], flushed[r])
		}
	}
	if before[2] != -42 || before[1] == before[3] || uint64(before[1])>>55 != 7 {
		t.Errorf("ids are %v", before)
	}
}

func TestFlushOfNothing(t *testing.T) {
	b := newBench(t)
	e := b.open()
	for range 2 {
		mustFlush(t, e, b.org)
		if err := e.FlushAll(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if s := e.Stats(); s.Flushes != 0 {
		t.Errorf("%d commits of nothing", s.Flushes)
	}
}

func TestFlushThatFailsLeavesEverything(t *testing.T) {
	b := newBench(t)
	e := b.open()
	mustAppend(t, e, opens(b.org, 1, 10))
	b.store.Script(down)
	for i := range 3 {
		if err := e.Flush(context.Background(), b.org); !errors.Is(err, blobtest.ErrInjected) {
			t.Fatalf("flush: %v, want the store's error", err)
		}
		if s := e.Stats(); s.TailRows != 10 || s.FlushFailures != int64(i+1) || s.Flushes != 0 {
			t.Fatalf("after %d failures: %+v", i+1, s)
		}
	}
	b.store.Script(nil)
	if c := want(t, e, b.org, 1, 10); len(c.files) != 0 {
		t.Fatalf("view is %+v", c)
	}
	mustFlush(t, e, b.org)
	if c := want(t, e, b.org, 1, 10); len(c.tail) != 0 {
		t.Fatalf("view is %+v", c)
	}
}

func TestFlushOfOneOrganisationLeavesTheOthers(t *testing.T) {
	b := newBench(t)
	second := b.newOrg("second")
	e := b.open()
	for i := range 10 {
		mustAppend(t, e, append(opens(b.org, i+1, 1), opens(second, i+1, 1)...))
	}
	mustFlush(t, e, second)
	c, d := want(t, e, b.org, 1, 10), want(t, e, second, 1, 10)
	if len(c.tail) != 10 || len(d.tail) != 0 {
		t.Errorf("views are %+v and %+v", c, d)
	}
	// The groups are still needed by the first organisation.
	e = b.reopen(e)
	c, d = want(t, e, b.org, 1, 10), want(t, e, second, 1, 10)
	if len(c.tail) != 10 || len(d.tail) != 0 {
		t.Errorf("views are %+v and %+v after a restart", c, d)
	}
}

func TestFullLog(t *testing.T) {
	b := newBench(t)
	b.opts.LogLimit = 16 << 10
	e := b.open()
	b.store.Script(down)
	n := 0
	fill := func() {
		t.Helper()
		for {
			err := e.Append(context.Background(), opens(b.org, n+1, 5))
			if errors.Is(err, wal.ErrFull) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if n += 5; n > 10_000 {
				t.Fatal("the log never gets full")
			}
		}
	}
	fill()
	if err := e.FlushAll(context.Background()); err == nil {
		t.Fatal("flush works on a store that is down")
	}
	if err := e.Append(context.Background(), opens(b.org, n+1, 5)); !errors.Is(err, wal.ErrFull) {
		t.Fatalf("append after a failed flush: %v, want ErrFull", err)
	}
	b.store.Script(nil)
	want(t, e, b.org, 1, n)
	if s := e.Stats(); s.LogBytes > b.opts.LogLimit || s.TailRows != int64(n) {
		t.Errorf("full: %+v", s)
	}
	mustFlush(t, e, b.org)
	fill()
	want(t, e, b.org, 1, n)
	e = b.reopen(e)
	want(t, e, b.org, 1, n)
}

// A crash after the commit and before the trim must not leave a log that is full
// of what nobody needs: nothing could be appended, so nothing would ever flush.
func TestFullLogIsTrimmedAfterCrash(t *testing.T) {
	b := newBench(t)
	b.opts.LogLimit = 16 << 10
	e := b.open()
	n := 0
	for e.Append(context.Background(), opens(b.org, n+1, 5)) == nil {
		n += 5
	}
	b.disk.PowerOff(0)
	if err := e.Flush(context.Background(), b.org); err == nil {
		t.Fatal("flush trims a log without power")
	}
	b.disk = b.disk.Clone()
	b.opts.Log.VFS = b.disk
	e = b.open()
	want(t, e, b.org, 1, n)
	if err := e.FlushAll(context.Background()); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, e, opens(b.org, n+1, 5))
	want(t, e, b.org, 1, n+5)
}

func TestShredUnderLoad(t *testing.T) {
	b := newBench(t)
	e := b.open()
	other := b.newOrg("globex")
	var loads sync.WaitGroup
	stop := make(chan struct{})
	counts := [2]int{}
	for i, org := range []event.OrgID{b.org, other} {
		loads.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					counts[i] = n
					return
				default:
					mustAppend(t, e, opens(org, n+1, 1))
				}
			}
		})
	}
	for range 5 {
		if err := e.Shred(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	loads.Wait()
	e = b.reopen(e)
	want(t, e, b.org, 1, counts[0])
	want(t, e, other, 1, counts[1])
}
