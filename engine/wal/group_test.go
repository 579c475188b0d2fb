package wal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"mailwake/engine/wal/waltest"
)

// gate holds back every fsync until it is released; release once per fsync.
type gate chan struct{}

func (g gate) inject(op waltest.Op) error {
	if op.Kind == waltest.Sync {
		<-g
	}
	return nil
}

// gated returns a log with one group in it, whose next fsyncs wait at the gate.
func gated(t *testing.T, o Options, disk *waltest.Disk) (*Log, gate) {
	o.VFS, o.Dir, o.SegmentBytes = disk, dir, 64<<20
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "first") // the segment's first group costs a second fsync
	g := make(gate)
	disk.Inject(g.inject)
	return l, g
}

type result struct {
	lsn LSN
	err error
}

// background starts an Append and returns its later result.
func background(ctx context.Context, l *Log, records ...string) <-chan result {
	done := make(chan result, 1)
	go func() {
		lsn, err := l.Append(ctx, framed(records...), len(records))
		done <- result{lsn, err}
	}()
	return done
}

func pending(done <-chan result) bool { return len(done) == 0 }

func TestCallersShareTheNextGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := waltest.NewDisk()
		l, gate := gated(t, Options{}, disk)
		a := background(t.Context(), l, "a")
		synctest.Wait()
		var rest []<-chan result
		for i := range 20 {
			rest = append(rest, background(t.Context(), l, fmt.Sprint(i), "x"))
		}
		synctest.Wait()
		if !pending(a) || slices.ContainsFunc(rest, func(c <-chan result) bool { return !pending(c) }) {
			t.Fatal("a call returned before its fsync")
		}
		gate <- struct{}{}
		synctest.Wait()
		if r := <-a; r.lsn != 2 || r.err != nil {
			t.Fatalf("first call: %+v", r)
		}
		if slices.ContainsFunc(rest, func(c <-chan result) bool { return !pending(c) }) {
			t.Fatal("a call returned after the fsync of another group")
		}
		gate <- struct{}{}
		for _, c := range rest {
			if r := <-c; r.lsn != 3 || r.err != nil {
				t.Fatalf("call of the second group: %+v", r)
			}
		}
		disk.Inject(nil)
		if got := mustContents(t, l); len(got) != 3 || len(got[3]) != 40 {
			t.Fatalf("groups %v", got)
		}
		mustClose(t, l)
	})
}

func TestCancelledCallerLeavesTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := waltest.NewDisk()
		l, gate := gated(t, Options{}, disk)
		a := background(t.Context(), l, "a")
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		leader := background(ctx, l, "leader")
		synctest.Wait()
		follower := background(ctx, l, "follower")
		other := background(t.Context(), l, "other")
		synctest.Wait()
		cancel()
		synctest.Wait()
		if r := <-follower; !errors.Is(r.err, context.Canceled) {
			t.Fatalf("cancelled follower: %+v", r)
		}
		if !pending(leader) || !pending(other) {
			t.Fatal("others did not wait for the fsync")
		}
		gate <- struct{}{}
		gate <- struct{}{}
		for _, c := range []<-chan result{a, leader, other} {
			if r := <-c; r.err != nil {
				t.Fatal(r.err)
			}
		}
		disk.Inject(nil)
		if got := mustContents(t, l); len(got[3]) != 3 {
			t.Fatalf("group 3 is %v", got[3])
		}
		mustClose(t, l)
	})
}

func TestCloseWaitsForCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := waltest.NewDisk()
		l, gate := gated(t, Options{}, disk)
		a := background(t.Context(), l, "a")
		synctest.Wait()
		b, c := background(t.Context(), l, "b"), background(t.Context(), l, "c")
		synctest.Wait()
		closed := make(chan error, 1)
		go func() { closed <- l.Close() }()
		synctest.Wait()
		if len(closed) > 0 {
			t.Fatal("closed with calls in progress")
		}
		if _, err := l.Append(t.Context(), framed("late"), 1); !errors.Is(err, ErrClosed) {
			t.Fatalf("append while closing: %v", err)
		}
		gate <- struct{}{}
		gate <- struct{}{}
		for _, c := range []<-chan result{a, b, c} {
			if r := <-c; r.err != nil {
				t.Fatal(r.err)
			}
		}
		gate <- struct{}{} // the note in the meta file
		if err := <-closed; err != nil {
			t.Fatal(err)
		}
		disk.Inject(nil)
		again := mustOpen(t, onDisk(disk))
		if got := mustContents(t, again); len(got) != 3 {
			t.Fatalf("%d groups", len(got))
		}
		mustClose(t, again)
	})
}

func TestCallThatDoesNotFitWaitsForTheNextGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := waltest.NewDisk()
		l, gate := gated(t, Options{}, disk)
		a := background(t.Context(), l, "a")
		synctest.Wait()
		half := strings.Repeat("x", maxGroupBytes/2)
		var big []<-chan result
		for range 3 {
			big = append(big, background(t.Context(), l, half))
			synctest.Wait()
		}
		many := background(t.Context(), l, slices.Repeat([]string{""}, maxRecords)...)
		for range 5 {
			gate <- struct{}{}
		}
		<-a
		var got []LSN
		for _, c := range append(big, many) {
			r := <-c
			if r.err != nil {
				t.Fatal(r.err)
			}
			got = append(got, r.lsn)
		}
		if want := []LSN{3, 4, 5, 6}; !slices.Equal(got, want) {
			t.Fatalf("groups %v, want %v", got, want)
		}
		disk.Inject(nil)
		mustClose(t, l)
	})
}

func TestFullWhileCallsAreInProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := waltest.NewDisk()
		l, gate := gated(t, Options{LimitBytes: 30}, disk)
		a := background(t.Context(), l, "0123456789")
		synctest.Wait()
		b := background(t.Context(), l, "0123456789")
		synctest.Wait()
		if _, err := l.Append(t.Context(), framed("0123456789"), 1); !errors.Is(err, ErrFull) {
			t.Fatalf("third call: %v", err)
		}
		gate <- struct{}{}
		gate <- struct{}{}
		<-a
		<-b
		disk.Inject(nil)
		mustClose(t, l)
	})
}
