package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"mailwake/engine"
	"mailwake/engine/blob/blobtest"
	"mailwake/engine/event"
	"mailwake/engine/wal"
	"mailwake/engine/wal/waltest"
)

// running starts Run; stop ends it and waits.
func running(t *testing.T, e *engine.Engine) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

// bubble runs fn with fake time. The Parquet libraries keep compressors in pools
// of the process; those born in a bubble must not be used outside of it. A pool
// forgets what it holds at the second collection of garbage.
func bubble(t *testing.T, fn func(*testing.T)) {
	t.Helper()
	defer runtime.GC()
	defer runtime.GC()
	synctest.Test(t, fn)
}

// pass lets fake time go by until everybody has done what was due.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestRunFlushes(t *testing.T) {
	for _, tc := range []struct {
		name  string
		set   func(*engine.Options)
		rows  int // what stays in the tail
		more  int // what makes it due
		after time.Duration
	}{
		{"by rows", func(o *engine.Options) { o.FlushRows = 100 }, 99, 1, 0},
		{"by bytes", func(o *engine.Options) { o.FlushBytes = 4 << 10 }, 50, 200, 0},
		{"by age", func(o *engine.Options) { o.FlushAge = 30 * time.Second }, 3, 0, 30 * time.Second},
		{"by the default age", func(*engine.Options) {}, 3, 0, time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBench(t)
				tc.set(&b.opts)
				e := b.open()
				defer running(t, e)()
				mustAppend(t, e, opens(b.org, 1, tc.rows))
				pass(max(tc.after, 10*time.Second) - 3*time.Second)
				if s := e.Stats(); s.TailRows != int64(tc.rows) || s.Flushes != 0 {
					t.Fatalf("flushed before it was due: %+v", s)
				}
				if tc.more > 0 {
					mustAppend(t, e, opens(b.org, 1+tc.rows, tc.more))
					synctest.Wait() // at once, not with the next tick
				} else {
					pass(5 * time.Second)
				}
				if s := e.Stats(); s.TailRows != 0 || s.Flushes != 1 || s.LogBytes != 0 {
					t.Errorf("not flushed: %+v", s)
				}
				want(t, e, b.org, 1, tc.rows+tc.more)
			})
		})
	}
}

// A flush of Run gives way to requests, one that somebody waits for does not.
func TestRunRests(t *testing.T) {
	rest := slices.Index(engine.FlushSteps[:], "rest")
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		b.opts.FlushRows = 4
		e := b.open()
		b.store.Script(func(op blobtest.Op, _ string) blobtest.Fault {
			if op == blobtest.OpPut {
				time.Sleep(4 * time.Millisecond) // in a bubble nothing else takes time
			}
			return blobtest.Fault{}
		})
		twoMonths := func(first int) []event.Interaction { // a file each
			in := opens(b.org, first, 4)
			in[0].OccurredAt -= event.Micros(60 * 24 * time.Hour / time.Microsecond)
			return in
		}
		mustAppend(t, e, twoMonths(1))
		mustFlush(t, e, b.org)
		if s := e.Stats(); s.Flushes != 1 || s.FlushTime[rest] != 0 {
			t.Errorf("Flush rested: %+v", s)
		}
		defer running(t, e)()
		mustAppend(t, e, twoMonths(5))
		pass(10 * time.Second)
		if s := e.Stats(); s.Flushes != 2 || s.FlushTime[rest] != 12*time.Millisecond {
			t.Errorf("a rest of three times the 4 ms between two files is due: %+v", s)
		}
	})
}

func TestRunKeepsUpWithAStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		second := b.newOrg("second")
		b.opts.FlushRows, b.opts.FlushAge = 50, 5*time.Second
		e := b.open()
		defer running(t, e)()
		for i := range 60 {
			mustAppend(t, e, opens(b.org, 7*i+1, 7))
			if i%20 == 0 {
				mustAppend(t, e, opens(second, i/20+1, 1))
			}
			pass(time.Second)
			if s := e.Stats(); s.TailRows > 60 || s.TailAge > 7*time.Second {
				t.Fatalf("second %d: %+v", i, s)
			}
		}
		pass(10 * time.Second)
		if s := e.Stats(); s.TailRows != 0 || s.LogBytes != 0 || s.FlushFailures != 0 {
			t.Errorf("at the end: %+v", s)
		}
		want(t, e, b.org, 1, 420)
		want(t, e, second, 1, 3)
	})
}

// A store that is down for ten minutes: everything is taken and visible, the log
// says what is wrong, not every second, and the flush comes by itself.
func TestRunRecoversWhenTheStoreReturns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		var text bytes.Buffer
		b.opts.Logger = slog.New(slog.NewTextHandler(&text, nil))
		b.opts.FlushAge = 10 * time.Second
		e := b.open()
		defer running(t, e)()
		b.store.Script(func(op blobtest.Op, _ string) blobtest.Fault {
			if op == blobtest.OpPut {
				return blobtest.Fault{When: blobtest.Before}
			}
			return blobtest.Fault{}
		})
		for i := range 60 {
			mustAppend(t, e, opens(b.org, i+1, 1))
			want(t, e, b.org, 1, i+1)
			pass(10 * time.Second)
		}
		s := e.Stats()
		if s.TailRows != 60 || s.Flushes != 0 || s.FlushFailures < 10 || s.FlushFailures > 60 {
			t.Errorf("after ten minutes without a store: %+v", s)
		}
		if lines := int64(strings.Count(text.String(), "flush failed")); lines != s.FlushFailures {
			t.Errorf("%d lines say so, want %d", lines, s.FlushFailures)
		}
		if !strings.Contains(text.String(), "injected fault") || !strings.Contains(text.String(), "acme") {
			t.Errorf("no line names the cause and the organisation:\n%.300s", &text)
		}
		b.store.Script(nil)
		pass(31 * time.Second) // the longest pause
		if s := e.Stats(); s.TailRows != 0 || s.LogBytes != 0 {
			t.Errorf("after the store's return: %+v", s)
		}
		want(t, e, b.org, 1, 60)
	})
}

func TestRunRecoversFromAFullLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		b.opts.LogLimit = 16 << 10
		e := b.open()
		defer running(t, e)()
		b.store.Script(down)
		n := 0
		var err error
		for ; err == nil; n += 5 {
			err = e.Append(context.Background(), opens(b.org, n+1, 5))
		}
		n -= 5
		pass(2 * time.Minute)
		if errAgain := e.Append(context.Background(), opens(b.org, n+1, 5)); !errors.Is(err, wal.ErrFull) || !errors.Is(errAgain, wal.ErrFull) {
			t.Fatalf("appends to a full log: %v, %v", err, errAgain)
		}
		b.store.Script(nil)
		pass(31 * time.Second)
		mustAppend(t, e, opens(b.org, n+1, 5))
		want(t, e, b.org, 1, n+5)
	})
}

// A commit whose trim fails leaves a log that is full of what nobody needs, and
// no row that would cause another flush.
func TestRunRecoversFromATrimThatFailed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		b.opts.LogLimit = 16 << 10
		e := b.open()
		n := 0
		for e.Append(context.Background(), opens(b.org, n+1, 5)) == nil {
			n += 5
		}
		b.disk.Inject(func(waltest.Op) error { return syscall.ENOSPC })
		if err := e.Flush(context.Background(), b.org); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("flush with a full disk: %v", err)
		}
		b.disk.Inject(nil)
		if s := e.Stats(); s.TailRows != 0 || s.LogBytes == 0 {
			t.Fatalf("after the flush: %+v", s)
		}
		defer running(t, e)()
		pass(5 * time.Second)
		mustAppend(t, e, opens(b.org, n+1, 5))
		want(t, e, b.org, 1, n+5)
	})
}

// faultyOrg fails the store's operations on one organisation.
func faultyOrg(org string, f func() blobtest.Fault) func(blobtest.Op, string) blobtest.Fault {
	return func(_ blobtest.Op, key string) blobtest.Fault {
		if strings.Contains(key, "/"+org+"/") {
			return f()
		}
		return blobtest.Fault{}
	}
}

func TestOneOrganisationFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		b.opts.FlushAge = 5 * time.Second
		e := b.open()
		orgs := append(b.newOrgs(12), b.org)
		for _, org := range orgs {
			mustAppend(t, e, opens(org, 1, 3))
		}
		b.store.Script(faultyOrg("acme", func() blobtest.Fault { return blobtest.Fault{When: blobtest.Before} }))
		if err := e.FlushAll(context.Background()); !errors.Is(err, blobtest.ErrInjected) || !strings.Contains(err.Error(), "acme") {
			t.Errorf("flush of all: %v, want the error of acme", err)
		}
		if s := e.Stats(); s.TailRows != 3 || s.Flushes != 12 || s.FlushFailures != 1 {
			t.Errorf("after a flush of all: %+v", s)
		}
		defer running(t, e)()
		for _, org := range orgs {
			mustAppend(t, e, opens(org, 4, 3))
		}
		pass(10 * time.Second)
		if s := e.Stats(); s.TailRows != 6 || s.Flushes != 24 {
			t.Errorf("with Run: %+v", s)
		}
		b.store.Script(nil)
		pass(31 * time.Second)
		for _, org := range orgs {
			if c := want(t, e, org, 1, 6); len(c.tail) != 0 {
				t.Errorf("organisation %d: %+v", org, c)
			}
		}
		if s := e.Stats(); s.LogBytes != 0 {
			t.Errorf("at the end: %+v", s)
		}
	})
}

// A store that hangs for one organisation must not hold up the others, in later
// rounds either.
func TestOneOrganisationHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBench(t)
		b.opts.FlushAge = 5 * time.Second
		e := b.open()
		other := b.newOrg("other")
		hang := make(chan struct{})
		b.store.Script(faultyOrg("acme", func() blobtest.Fault {
			<-hang
			return blobtest.Fault{}
		}))
		stop := running(t, e)
		mustAppend(t, e, opens(b.org, 1, 3))
		pass(10 * time.Second) // is being flushed now
		for round := range 3 {
			mustAppend(t, e, opens(other, 1+round, 1))
			pass(10 * time.Second)
			if c := want(t, e, other, 1, 1+round); len(c.tail) != 0 {
				t.Errorf("round %d: the other organisation waits: %+v", round, c)
			}
		}
		close(hang)
		pass(10 * time.Second)
		want(t, e, b.org, 1, 3)
		stop()
	})
}

func (b *bench) newOrgs(n int) (orgs []event.OrgID) {
	for i := range n {
		orgs = append(orgs, b.newOrg(fmt.Sprintf("many-%d", i)))
	}
	return orgs
}

// Run ends in the middle of a flush without harm, and nothing of it stays
// behind: TestMain looks for goroutines.
func TestStartAndStop(t *testing.T) {
	b := newBench(t)
	b.opts.FlushRows = 1
	n := 0
	for i := range 15 {
		e, err := engine.Open(context.Background(), b.opts)
		if err != nil {
			t.Fatal(err)
		}
		stop := running(t, e)
		for range i % 4 {
			mustAppend(t, e, opens(b.org, n+1, 2))
			n += 2
		}
		stop()
		if i%3 == 0 {
			want(t, e, b.org, 1, n)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	want(t, b.open(), b.org, 1, n)
}

func TestRunEndsAtOnce(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := b.open().Run(ctx); err != nil {
		t.Errorf("run: %v", err)
	}
}
