package query

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// workers are the processes that run analysts' statements. One process answers one
// statement at a time and keeps what it was fed for the next one.
//
//	take: slots of the organisation, a slot of all ─▶ an idle worker or a new one
//	give: healthy ─▶ idle, for Options.Idle; anything else ─▶ killed
type workers struct {
	opts *Options
	feed feeder
	all  chan struct{} // one token per running statement

	mu struct {
		sync.Mutex
		closed  bool
		orgs    map[event.OrgID]slots
		idle    []*worker // given back last, last
		live    map[*worker]bool
		emptied map[event.OrgID]uint64 // Rules.Emptied of the last statement
	}
}

// slots of an organisation.
type slots struct {
	all   chan struct{} // one token per running statement
	young chan struct{} // one token per statement that has not run for long
}

// youth is how long a statement keeps the next one waiting. Those that are short gain
// nothing by running beside each other: the cores they would share are those that
// recipients need as well, and each process is fed what the other was. One that is long
// is overtaken.
const youth = 200 * time.Millisecond

// workerKey is whose rows a worker holds, and which of them.
type workerKey struct {
	org     event.OrgID
	persons bool
}

func newWorkers(opts *Options, feed feeder) *workers {
	if left, err := filepath.Glob(filepath.Join(opts.TempDir, "worker-*")); err == nil {
		for _, dir := range left { // of a process that was killed
			_ = os.RemoveAll(dir)
		}
	}
	w := &workers{opts: opts, feed: feed, all: make(chan struct{}, opts.Worker.Running)}
	w.mu.orgs = map[event.OrgID]slots{}
	w.mu.live, w.mu.emptied = map[*worker]bool{}, map[event.OrgID]uint64{}
	return w
}

func (w *workers) slotsOf(org event.OrgID) slots {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.mu.orgs[org]
	if !ok {
		n := w.opts.Worker.perOrg()
		s = slots{make(chan struct{}, n), make(chan struct{}, max(1, n/2))}
		w.mu.orgs[org] = s
	}
	return s
}

// take returns a worker that is the caller's until give.
func (w *workers) take(ctx context.Context, key workerKey) (p *worker, err error) {
	org := w.slotsOf(key.org)
	for _, slot := range []chan struct{}{org.all, org.young, w.all} {
		select {
		case slot <- struct{}{}:
			defer func() {
				if err != nil {
					<-slot
				}
			}()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if p, err = w.find(ctx, key); err != nil {
		return nil, err
	}
	grow := sync.OnceFunc(func() { <-org.young })
	timer := time.AfterFunc(youth, grow)
	p.grow = func() {
		timer.Stop()
		grow()
	}
	return p, nil
}

// find returns an idle worker for key or a new one.
func (w *workers) find(ctx context.Context, key workerKey) (*worker, error) {
	p, victim, err := w.idle(key)
	if err != nil {
		return nil, err
	}
	if victim != nil {
		victim.kill("room for another")
	}
	if p != nil {
		return p, nil
	}
	return w.start(ctx, key)
}

// idle returns an idle worker for key if there is one; if there is none and no
// room for another, the one that was idle longest, to be killed.
func (w *workers) idle(key workerKey) (found, victim *worker, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.closed {
		return nil, nil, errClosed()
	}
	for i := len(w.mu.idle) - 1; i >= 0; i-- {
		if p := w.mu.idle[i]; p.key == key && p.idleUntil.Stop() {
			w.mu.idle = append(w.mu.idle[:i], w.mu.idle[i+1:]...)
			return p, nil, nil
		}
	}
	if len(w.mu.live) >= w.opts.Worker.Processes && len(w.mu.idle) > 0 {
		victim = w.mu.idle[0]
		victim.idleUntil.Stop()
		w.mu.idle = w.mu.idle[1:]
		delete(w.mu.live, victim)
	}
	return nil, victim, nil
}

func (w *workers) start(ctx context.Context, key workerKey) (*worker, error) {
	dir, err := os.MkdirTemp(w.opts.TempDir, "worker-")
	if err != nil {
		return nil, fmt.Errorf("make folder of worker: %w", err)
	}
	p, err := startWorker(ctx, w.opts, key, dir)
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.closed {
		p.kill("shutting down")
		return nil, errClosed()
	}
	w.mu.live[p] = true
	return p, nil
}

// give takes a worker back. One that is in doubt is killed.
func (w *workers) give(p *worker, healthy bool) {
	grow := p.grow // p may be another caller's before this one returns
	defer func() {
		<-w.all
		<-w.slotsOf(p.key.org).all
		grow()
	}()
	w.mu.Lock()
	if !healthy || w.mu.closed || !w.mu.live[p] {
		delete(w.mu.live, p)
		w.mu.Unlock()
		p.kill("not needed any more")
		return
	}
	p.idleUntil = time.AfterFunc(w.opts.Worker.Idle, func() { w.retire(p) })
	w.mu.idle = append(w.mu.idle, p)
	w.mu.Unlock()
}

// feedAhead brings the idle workers that answer next up to now, so that their statements
// find little to take.
func (w *workers) feedAhead(ctx context.Context, now time.Time) {
	w.mu.Lock()
	next := map[workerKey]*worker{}
	for _, p := range w.mu.idle {
		if p.key.persons {
			next[p.key] = p
		}
	}
	w.mu.Unlock()
	for _, p := range next {
		idle := func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return slices.Contains(w.mu.idle, p)
		}
		if err := w.feed.ahead(ctx, p, now, idle); err != nil {
			w.retire(p)
		}
	}
}

// retire ends a worker that was idle for long, or cannot be fed.
func (w *workers) retire(p *worker) {
	w.mu.Lock()
	if i := slices.Index(w.mu.idle, p); i >= 0 {
		w.mu.idle = slices.Delete(w.mu.idle, i, i+1)
		delete(w.mu.live, p)
	}
	w.mu.Unlock()
	p.kill("idle")
}

// close refuses new statements and kills all workers, those that answer included.
func (w *workers) close() {
	w.mu.Lock()
	w.mu.closed = true
	live := w.mu.live
	w.mu.live = map[*worker]bool{}
	for _, p := range w.mu.idle {
		p.idleUntil.Stop()
	}
	w.mu.idle = nil
	w.mu.Unlock()
	for p := range live {
		p.kill("shutting down")
	}
}

// errWorkerGone is told when the process of a statement ended under it.
func errWorkerGone(cause error) error {
	return problem.New(503, "sql_worker_ended", "The process that ran this statement ended before it was done, most likely at its memory limit; ask for less, or try again.").Because(cause)
}
