package wal

import (
	"context"
	"sync/atomic"
)

// keepBuffer is the largest buffer kept for reuse: 256 callers with rows of some
// hundred bytes need a tenth of it, and a rare bulk group must not pin megabytes.
const keepBuffer = 1 << 20

// maxFree is how many idle groups are kept: one is being written and one is being
// filled, the others are still looked at by callers that have not woken up yet.
const maxFree = 8

// group collects the records of the calls that will share one fsync. buf, n,
// calls, posts and done are guarded by Log.mu until the leader seals the group;
// lsn and err are written by the leader before done is closed.
type group struct {
	buf   []byte // header space, then frames
	n     int
	calls int           // Append and Post, the leader's included
	posts []Waiter      // who is told instead of waiting
	done  chan struct{} // nil while nobody but the leader waits
	refs  atomic.Int32  // callers that still look at the group
	lsn   LSN
	err   error
}

// fits reports whether size bytes in n records may join.
func (g *group) fits(size, n int) bool {
	return g.n+n <= maxRecords && len(g.buf)-headerLen+size <= maxGroupBytes
}

func (g *group) add(frames []byte, n int) {
	g.buf = append(g.buf, frames...)
	g.n += n
	g.calls++
}

// wait returns when the group has its result, or with ctx's error.
func (g *group) wait(ctx context.Context) error {
	if ctx.Done() == nil { // a plain receive costs half of a select
		<-g.done
		return nil
	}
	select {
	case <-g.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *group) size() int64 { return int64(len(g.buf) - headerLen) }

// reset makes g empty; the buffer is kept unless it has become unusually large.
func (g *group) reset() {
	if cap(g.buf) > keepBuffer || cap(g.buf) < headerLen {
		g.buf = make([]byte, headerLen, 16<<10)
	}
	g.buf = g.buf[:headerLen]
	clear(g.posts)
	g.posts = g.posts[:0]
	g.n, g.calls, g.done, g.lsn, g.err = 0, 0, nil, 0, nil
}

// takeLocked returns an empty group.
func (l *Log) takeLocked() *group {
	if last := len(l.mu.free) - 1; last >= 0 {
		g := l.mu.free[last]
		l.mu.free = l.mu.free[:last]
		return g
	}
	g := new(group)
	g.reset()
	return g
}

// leave is called once by everybody counted in g.refs, with the result already
// copied out.
func (l *Log) leave(g *group) {
	if g.refs.Add(-1) > 0 {
		return
	}
	g.reset()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.mu.free) < maxFree {
		l.mu.free = append(l.mu.free, g)
	}
}
