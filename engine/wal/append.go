package wal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft-wal/types"
)

// Append stores frames, which hold n records made by Frame, and returns the group
// they are in once that is durable. All records of one call are in one group, in
// order. frames may be reused after the call.
//
// ErrFull, ErrTooLarge and ErrClosed are returned at once. Any other error of the
// store fails all calls of the group, and none of their records is kept, with three
// exceptions where they may be kept: an fsync failed (see Err), ctx ended while
// another caller was writing the group, or the group was the first of a segment
// and the list of segments could not be written after it.
func (l *Log) Append(ctx context.Context, frames []byte, n int) (LSN, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	g, leads, err := l.join(frames, n, nil)
	if err != nil {
		return 0, err
	}
	if leads {
		l.lead(g)
	} else if err := g.wait(ctx); err != nil {
		l.leave(g)
		return 0, fmt.Errorf("wait for group: %w", err)
	}
	lsn, err := g.lsn, g.err
	l.leave(g)
	return lsn, err
}

// Waiter is told the outcome of a Post.
type Waiter interface {
	// Done is called once, with nil or the error that Append would have returned.
	// It runs where the group was written and holds up the others that are told
	// after it: it must be short and must not call the Log.
	Done(err error)
}

// Post is Append for a caller that does not wait, not even for the writing of a group
// that it is the first of: that is done by a goroutine which ends with it. w is told
// when the records are durable or have failed, perhaps before Post returns. Errors
// that Append returns at once are returned at once, and w is not told.
func (l *Log) Post(frames []byte, n int, w Waiter) error {
	g, leads, err := l.join(frames, n, w)
	if err == nil && leads {
		go func() {
			l.lead(g)
			l.leave(g)
		}()
	}
	return err
}

// join puts frames into the group that is being collected. When they do not fit,
// or there is none, the caller leads a new one; a group that others outgrew this
// way is written when its own leader has the turn. A caller with w does not wait.
func (l *Log) join(frames []byte, n int, w Waiter) (g *group, leads bool, err error) {
	if err := checkFrames(frames, n); err != nil {
		return nil, false, err
	}
	size := int64(len(frames))
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.mu.closed:
		return nil, false, ErrClosed
	case l.mu.err != nil:
		return nil, false, l.mu.err
	case size > l.opt.LimitBytes:
		return nil, false, fmt.Errorf("%w: %d bytes, the log may hold %d", ErrTooLarge, size, l.opt.LimitBytes)
	case l.mu.size+size > l.opt.LimitBytes:
		return nil, false, ErrFull
	}
	g = l.mu.open
	if g == nil || !g.fits(len(frames), n) {
		g, leads = l.takeLocked(), true
		l.mu.open = g
		l.mu.pending++
	} else if w == nil && g.done == nil {
		g.done = make(chan struct{})
	}
	g.add(frames, n)
	if g.calls == gatherEnough && g == l.mu.gathering {
		l.pauser.cut()
	}
	if w != nil {
		g.posts = append(g.posts, w)
	}
	if w == nil || leads {
		g.refs.Add(1)
	}
	l.mu.size += size
	return g, leads, nil
}

// lead writes g and tells its callers. It ends the group even if OnDurable
// panics: the other callers must not wait for ever.
func (l *Log) lead(g *group) {
	l.turn <- struct{}{}
	finished := false
	defer func() {
		if !finished {
			g.err = errors.New("log: OnDurable panicked")
			l.poison(g.err)
		}
		<-l.turn
		l.settle(g)
	}()
	l.gather(g)
	l.mu.Lock()
	l.mu.gathering = nil
	if l.mu.open == g {
		l.mu.open = nil
	}
	l.calls = g.calls
	last, err := l.mu.last, l.mu.err
	l.mu.Unlock()
	if err != nil {
		g.err = err
		finished = true
		return
	}
	lsn := max(last+1, l.opt.Next) // Next counts for an empty log only, see ErrBehind
	seal(g.buf, lsn, g.n, time.Now().UnixMicro())
	if err := l.persist(lsn, g.buf); err != nil {
		g.err = fmt.Errorf("append group %d: %w", lsn, err)
	} else {
		g.lsn = lsn
		l.publish(lsn, g)
	}
	finished = true
}

// A busy log waits for more callers before it writes a group, for gatherTime at most:
// on a disk that syncs within that time, groups would otherwise stay small, and the
// cost of an fsync and of waking the callers is per group (some 0.1 ms of CPU). It
// is busy when the last group had gatherFrom callers; a lone caller never waits. With
// gatherEnough a group has enough: to wait on would cost callers more than it saves.
const (
	gatherTime   = 350 * time.Microsecond
	gatherFrom   = 4
	gatherEnough = 40
)

// gather lets others join g. The caller has the turn.
func (l *Log) gather(g *group) {
	l.mu.Lock()
	waits := l.calls >= gatherFrom && g.calls < gatherEnough
	if waits {
		l.mu.gathering = g
		l.pauser.start(l.gatherTime)
	}
	l.mu.Unlock()
	if waits {
		l.pauser.wait()
	}
}

// publish makes a durable group visible to readers, then to OnDurable.
func (l *Log) publish(lsn LSN, g *group) {
	l.mu.Lock()
	l.mu.last = lsn
	if l.mu.first == 0 {
		l.mu.first = lsn
	}
	l.mu.sizes = append(l.mu.sizes, uint32(g.size()))
	l.mu.Unlock()
	if l.opt.OnDurable != nil {
		l.opt.OnDurable(lsn, g.buf[headerLen:])
	}
}

// settle gives back what a failed group had reserved and wakes its callers.
func (l *Log) settle(g *group) {
	l.mu.Lock()
	if g.lsn == 0 {
		l.mu.size -= g.size()
	}
	l.mu.pending--
	if l.mu.pending == 0 && l.mu.idle != nil {
		close(l.mu.idle)
	}
	done := g.done
	l.mu.Unlock()
	if done != nil {
		close(done)
	}
	for _, w := range g.posts {
		w.Done(g.err)
	}
}

// persist stores one sealed group. raft-wal's writer does not survive an error,
// so after one the store is opened anew, from what is on disk, before the next
// write. The caller has the turn.
func (l *Log) persist(lsn LSN, entry []byte) error {
	if l.broken {
		if err := l.reopen(); err != nil {
			if _, ambiguous := errors.AsType[*syncError](err); ambiguous {
				l.poison(err)
			}
			return err
		}
	}
	err := l.state.store.append(lsn, entry)
	if errors.Is(err, types.ErrSealed) {
		// The segment before was full and raft-wal could not start the next one. It
		// tells only now; nothing of this group was written.
		if err = l.reopen(); err == nil {
			err = l.state.store.append(lsn, entry)
		}
	}
	if err == nil {
		l.meta.note(lsn)
		return nil
	}
	l.broken = true
	if _, ambiguous := errors.AsType[*syncError](err); ambiguous {
		l.poison(err)
	}
	return err
}

func (l *Log) poison(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.err == nil {
		l.mu.err = fmt.Errorf("log stopped: %w", err)
	}
}

// reopen replaces the store by one that ends exactly at the last acknowledged
// group: what a failed write left behind is blanked. The old one stays in place
// until the new one is open, so that Read works and Truncate can free space even
// if a full disk prevents that. The caller has the turn.
func (l *Log) reopen() error {
	l.broken = true
	l.state.Lock()
	defer l.state.Unlock()
	last := l.Last()
	s, found, err := openStore(&l.opt, l.meta, &last)
	if err != nil {
		return fmt.Errorf("reopen log: %w", err)
	}
	if found.last != last {
		return errors.Join(fmt.Errorf("reopen log: it ends at group %d instead of %d", found.last, last), s.close())
	}
	if err := l.state.store.close(); err != nil {
		return errors.Join(fmt.Errorf("reopen log: %w", err), s.close())
	}
	l.state.store = s
	l.broken = false
	return nil
}
