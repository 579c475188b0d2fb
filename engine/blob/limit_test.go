package blob_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
)

// gated is a store whose operations, reads of bodies included, take a second.
type gated struct {
	blob.Store
	atWork, most atomic.Int64
}

func (g *gated) work() {
	now := g.atWork.Add(1)
	for most := g.most.Load(); now > most && !g.most.CompareAndSwap(most, now); most = g.most.Load() {
	}
	<-time.After(time.Second)
	g.atWork.Add(-1)
}

func (g *gated) Put(ctx context.Context, key string, r io.ReadSeeker, ifAbsent bool) error {
	g.work()
	return g.Store.Put(ctx, key, r, ifAbsent)
}

func (g *gated) Stat(ctx context.Context, key string) (blob.Info, error) {
	g.work()
	return g.Store.Stat(ctx, key)
}

func (g *gated) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	g.work()
	body, err := g.Store.Get(ctx, key, off, n)
	return gatedBody{body, g}, err
}

type gatedBody struct {
	io.ReadCloser
	g *gated
}

func (b gatedBody) Read(p []byte) (int, error) {
	b.g.work()
	return b.ReadCloser.Read(p)
}

func (g *gated) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		for info, err := range g.Store.List(ctx, prefix) {
			g.work()
			if !yield(info, err) {
				return
			}
		}
	}
}

func (g *gated) Delete(ctx context.Context, keys ...string) error {
	g.work()
	return g.Store.Delete(ctx, keys...)
}

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gated{Store: blob.Mem("m")}
		blobtest.Put(t, g.Store, "k", []byte("x"))
		s := blob.Limit(g, 3)
		start := time.Now()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { _ = s.Put(t.Context(), "p", strings.NewReader("x"), false) })
			wg.Go(func() { _, _ = s.Stat(t.Context(), "k") })
			wg.Go(func() { _ = s.Delete(t.Context(), "d") })
			wg.Go(func() { blobtest.Get(t, s, "k") }) // 1 open and 2 reads
			wg.Go(func() { blobtest.Keys(t, s, "k") })
		}
		wg.Wait()
		if g.most.Load() != 3 {
			t.Errorf("%d at work at once", g.most.Load())
		}
		// 4 * (1+1+1+3+1) seconds of work for 3.
		if got := time.Since(start); got < 10*time.Second || got > 11*time.Second {
			t.Errorf("took %v", got)
		}
	})
}

func TestLimitWaitsForContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gated{Store: blob.Mem("m")}
		s := blob.Limit(g, 1)
		var wg sync.WaitGroup
		wg.Go(func() { _ = s.Delete(t.Context(), "k") })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := s.Stat(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		for _, err := range s.List(ctx, "") {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v", err)
			}
		}
		wg.Wait()
	})
}

// TestLimitCannotBlockItself holds more bodies than there are slots.
func TestLimitCannotBlockItself(t *testing.T) {
	s := blob.Limit(blob.Mem("m"), 1)
	blobtest.Put(t, s, "k", []byte("x"))
	var bodies []io.ReadCloser
	for range 5 {
		body, err := s.Get(t.Context(), "k", 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	for _, b := range bodies {
		if data, err := io.ReadAll(b); err != nil || string(data) != "x" {
			t.Errorf("%q, %v", data, err)
		}
	}
}
