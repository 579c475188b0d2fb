package wal

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"mailwake/engine/wal/waltest"
)

func TestContention(t *testing.T) {
	const callers, calls = 256, 40
	disk := waltest.NewDisk()
	o := onDisk(disk)
	o.SegmentBytes = 64 << 10
	var durable []LSN
	stored := map[string]LSN{}
	var acknowledged atomic.Int64
	o.OnDurable = func(lsn LSN, frames []byte) {
		durable = append(durable, lsn)
		for _, rec := range Frames(frames) {
			stored[string(rec)] = lsn
		}
		if int(acknowledged.Load()) > len(stored) {
			t.Error("a call returned before OnDurable")
		}
	}
	l := mustOpen(t, o)
	var wg sync.WaitGroup
	lsns := make([][calls]LSN, callers)
	for c := range callers {
		wg.Go(func() {
			for i := range calls {
				lsn, err := l.Append(t.Context(), framed(fmt.Sprintf("%d/%d", c, i)), 1)
				if err != nil {
					t.Error(err)
				}
				acknowledged.Add(1)
				lsns[c][i] = lsn
			}
		})
	}
	wg.Wait()
	for i, lsn := range durable {
		if lsn != LSN(i+1) {
			t.Fatalf("OnDurable %d got group %d", i, lsn)
		}
	}
	if l.Last() != LSN(len(durable)) || len(stored) != callers*calls {
		t.Fatalf("last %d, %d groups and %d records reported", l.Last(), len(durable), len(stored))
	}
	for c := range callers {
		if !slices.IsSorted(lsns[c][:]) {
			t.Fatalf("caller %d got groups %v", c, lsns[c])
		}
		for i := range calls {
			if stored[fmt.Sprintf("%d/%d", c, i)] != lsns[c][i] {
				t.Fatalf("record %d/%d is in another group than its call was told", c, i)
			}
		}
	}
	n := 0
	for _, records := range mustContents(t, l) {
		n += len(records)
	}
	if n != callers*calls {
		t.Fatalf("%d records read", n)
	}
}

func TestReadersWritersAndTruncate(t *testing.T) {
	o := onDisk(waltest.NewDisk())
	l := mustOpen(t, o)
	const total = 1500
	ctx, stop := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for ctx.Err() == nil {
				last := LSN(0)
				for rec, err := range l.Read(0) {
					if err != nil {
						t.Error(err)
						return
					}
					if rec.LSN <= last {
						t.Errorf("group %d after %d", rec.LSN, last)
					}
					last = rec.LSN
					for _, b := range Frames(rec.Frames) {
						if !strings.HasPrefix(string(b), "w") || len(b) != 51 {
							t.Errorf("record %q", b)
						}
					}
				}
			}
		})
	}
	for range 3 {
		writers.Go(func() {
			for range total / 3 {
				lsn, err := l.Append(ctx, framed("w"+strings.Repeat("x", 50)), 1)
				if err != nil {
					t.Error(err)
				}
				if lsn%20 == 0 {
					if err := l.Truncate(lsn - 10); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	writers.Wait()
	stop()
	readers.Wait()
	if l.First() < 100 {
		t.Errorf("first %d after truncations", l.First())
	}
}

func TestPanicInOnDurable(t *testing.T) {
	o := onDisk(waltest.NewDisk())
	o.OnDurable = func(lsn LSN, _ []byte) {
		if lsn == 2 {
			panic("oops")
		}
	}
	l := mustOpen(t, o)
	mustAppend(t, l, "a")
	func() {
		defer func() { _ = recover() }()
		_, _ = l.Append(t.Context(), framed("b"), 1)
	}()
	if _, err := l.Append(t.Context(), framed("c"), 1); err == nil || l.Err() == nil {
		t.Fatal("log goes on after a group that OnDurable has not seen")
	}
}
