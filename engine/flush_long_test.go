//go:build !race

package engine_test

import (
	"context"
	"runtime"
	"testing"
)

// A tail of more rows than one flush takes is cut between groups of the log:
// each commit's mark covers whole groups, and no row is lost at the cut. What the
// large flush held is collected at once; the small one is not worth it.
func TestFlushOfLongTail(t *testing.T) {
	const calls, rows = 17, 63_000 // 2^20 is in the middle of the last call
	b := newBench(t)
	b.opts.Log.SegmentBytes = 0 // the default
	e := b.open()
	for i := range calls {
		mustAppend(t, e, opens(b.org, i*rows+1, rows))
	}
	mustAppend(t, e, opens(b.org, calls*rows+1, 7))
	collected := collections()
	mustFlush(t, e, b.org)
	if n := collections() - collected; n != 1 {
		t.Errorf("%d collections, want 1", n)
	}
	if s := e.Stats(); s.Flushes != 2 || s.Flushed != calls*rows+7 || s.TailRows != 0 || s.LogBytes != 0 {
		t.Fatalf("after the flush: %+v", s)
	}
	v, err := e.View(context.Background(), b.org)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if n := v.Snapshot().Rows(); n != calls*rows+7 || len(v.Files()) != 2 {
		t.Errorf("%d rows in %d files", n, len(v.Files()))
	}
	for range v.Rows(0) {
		t.Fatal("the tail is not empty")
	}
}

// collections are those that somebody asked for.
func collections() uint32 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.NumForcedGC
}
