package engine_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"mailwake/engine/event"
	"mailwake/engine/wal/waltest"
)

func TestViewIsIsolated(t *testing.T) {
	b := newBench(t)
	e := b.open()
	mustAppend(t, e, opens(b.org, 1, 5))
	mustFlush(t, e, b.org)
	mustAppend(t, e, opens(b.org, 6, 5))
	v, err := e.View(context.Background(), b.org)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	before, id := contentOf(t, v), v.SnapshotID()
	from, to := v.Tail()
	mustAppend(t, e, opens(b.org, 11, 100))
	mustFlush(t, e, b.org)
	mustAppend(t, e, opens(b.org, 111, 3))
	after := contentOf(t, v)
	if !slices.Equal(after.files, before.files) || !slices.Equal(after.tail, before.tail) || !slices.Equal(after.tail, numbers(6, 5)) {
		t.Errorf("the view has changed from %+v to %+v", before, after)
	}
	if f, u := v.Tail(); f != from || u != to || v.SnapshotID() != id {
		t.Errorf("tail %d to %d of snapshot %d, was %d to %d of %d", f, u, v.SnapshotID(), from, to, id)
	}
	want(t, e, b.org, 1, 113)
}

func TestRowsFromPosition(t *testing.T) {
	b := newBench(t)
	second := b.newOrg("second")
	e := b.open()
	for i := range 10 {
		mustAppend(t, e, append(opens(b.org, 3*i+1, 3), opens(second, i, 0)...))
		mustAppend(t, e, opens(second, i+1, 1))
	}
	v, err := e.View(context.Background(), b.org)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	from, to := v.Tail()
	var at []event.Position
	for p := range v.Rows(0) {
		if p < from || p >= to || len(at) > 0 && p <= at[len(at)-1] {
			t.Fatalf("row at %d in a tail from %d to %d after %v", p, from, to, at)
		}
		at = append(at, p)
	}
	if len(at) != 30 {
		t.Fatalf("%d rows, want 30", len(at))
	}
	for i, p := range at {
		n := 0
		for q, in := range v.Rows(p) {
			if q != at[i+n] || int(in.Recipient) != i+n+1 {
				t.Fatalf("from %d: event %d at %d, want %d at %d", p, in.Recipient, q, i+n+1, at[i+n])
			}
			n++
		}
		if n != len(at)-i {
			t.Fatalf("%d rows from %d on, want %d", n, p, len(at)-i)
		}
		for range v.Rows(p) {
			break // may be left early
		}
	}
	for range v.Rows(to) {
		t.Fatal("a row at or after the end")
	}
}

func TestRowsOfAnEmail(t *testing.T) {
	b := newBench(t)
	e := b.open()
	for i := range 5 {
		events := opens(b.org, 8*i+1, 8)
		for k := range events {
			events[k].Email = event.EmailID(1 + (i+k)%3)
		}
		mustAppend(t, e, events)
	}
	v, err := e.View(context.Background(), b.org)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	type row struct {
		at event.Position
		in event.Interaction
	}
	for from := range v.Rows(0) {
		var want, got []row
		for p, in := range v.Rows(from) {
			if in.Email == 2 {
				want = append(want, row{p, *in})
			}
		}
		for p, in := range v.RowsOf(2, from) {
			got = append(got, row{p, *in})
		}
		if !slices.Equal(got, want) {
			t.Fatalf("from %d: %v, want %v", from, got, want)
		}
		for range v.RowsOf(2, from) {
			break // may be left early
		}
	}
}

// A reader that follows the tail by position misses nothing and sees nothing
// twice, whatever is flushed meanwhile.
func TestFollowTheTail(t *testing.T) {
	b := newBench(t)
	e := b.open()
	var got []int
	next := event.Position(0)
	for i := range 30 {
		mustAppend(t, e, opens(b.org, 2*i+1, 2))
		v, err := e.View(context.Background(), b.org)
		if err != nil {
			t.Fatal(err)
		}
		from, to := v.Tail()
		if next != 0 && next < from && i%4 != 0 {
			t.Fatalf("the tail begins at %d, the reader is at %d", from, next)
		}
		for _, in := range v.Rows(next) {
			got = append(got, int(in.Recipient))
		}
		next = to
		v.Close()
		if i%4 == 3 {
			mustFlush(t, e, b.org)
		}
	}
	if !slices.Equal(got, numbers(1, 60)) {
		t.Errorf("read %v", got)
	}
}

func TestTwoNodes(t *testing.T) {
	b := newBench(t)
	one := b.open()
	b.opts.Node, b.opts.Log.VFS, b.opts.Lake = 1, waltest.NewDisk(), openLake(t, b.dir, "1", b.store)
	two := b.open()
	mustAppend(t, one, opens(b.org, 1, 5))
	mustAppend(t, two, opens(b.org, 6, 5))
	want(t, one, b.org, 1, 5) // the tail of the other node is its own
	want(t, two, b.org, 6, 5)
	mustFlush(t, one, b.org)
	want(t, two, b.org, 1, 10)
	mustFlush(t, two, b.org)
	c, d := want(t, one, b.org, 1, 10), want(t, two, b.org, 1, 10)
	if len(c.tail)+len(d.tail) != 0 {
		t.Errorf("views are %+v and %+v", c, d)
	}
}

// An event whose Append has returned is in every View taken from then on, and
// once, with flushes going on all the time.
func TestViewAfterAppend(t *testing.T) {
	const appenders, rounds, callsPerRound, rows = 8, 40, 24, 3
	b := newBench(t)
	e := b.open()
	var acked [appenders]atomic.Int64 // events of each appender
	calls := make(chan struct{}, callsPerRound)
	var group sync.WaitGroup
	for a := range appenders {
		group.Go(func() {
			for range calls {
				n := int(acked[a].Load())
				if err := e.Append(context.Background(), opens(b.org, a<<20+n+1, rows)); err != nil {
					t.Errorf("append: %v", err)
					continue
				}
				acked[a].Store(int64(n + rows))
			}
		})
	}
	done := make(chan struct{})
	group.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if err := e.Flush(context.Background(), b.org); err != nil {
				t.Errorf("flush: %v", err)
				return
			}
		}
	})
	stop := sync.OnceFunc(func() {
		close(calls)
		close(done)
		group.Wait()
	})
	defer stop()
	for round, last := 0, false; !last && !t.Failed(); round++ {
		for range callsPerRound {
			calls <- struct{}{}
		}
		if last = round >= rounds && e.Stats().Flushes >= rounds; last {
			stop()
		}
		var floor [appenders]int64
		for a := range floor {
			floor[a] = acked[a].Load()
		}
		got := look(t, e, b.org).all()
		if n := len(slices.Compact(slices.Clone(got))); n != len(got) || n%rows != 0 {
			t.Errorf("%d different events in a view of %d, appended by %d", n, len(got), rows)
		}
		for a, n := range floor {
			for i := range int(n) {
				if _, ok := slices.BinarySearch(got, a<<20+i+1); !ok {
					t.Errorf("event %d of appender %d was acknowledged and is not in the view", i, a)
				}
			}
		}
		if all := (round + 1) * callsPerRound * rows; last && len(got) != all {
			t.Errorf("%d events at the end, want %d", len(got), all)
		}
	}
}
