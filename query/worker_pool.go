package query

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// workers are the processes that run analysts' statements. One process answers one
// statement at a time and keeps what it was fed for the next one.
//
//	take: a slot of the organisation, a slot of all ─▶ an idle worker or a new one
//	give: healthy ─▶ idle, for Options.Idle; anything else ─▶ killed
type workers struct {
	opts *Options
	feed feeder
	all  chan struct{} // one token per running statement

	mu struct {
		sync.Mutex
		closed  bool
		orgs    map[event.OrgID]chan struct{} // one token per running statement of the organisation
		idle    []*worker                     // given back last, last
		live    map[*worker]bool
		emptied map[event.OrgID]uint64 // Rules.Emptied of the last statement
	}
}

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
	w.mu.orgs = map[event.OrgID]chan struct{}{}
	w.mu.live, w.mu.emptied = map[*worker]bool{}, map[event.OrgID]uint64{}
	return w
}

// turnOf returns the slots of an organisation.
func (w *workers) turnOf(org event.OrgID) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	turn, ok := w.mu.orgs[org]
	if !ok {
		turn = make(chan struct{}, w.opts.Worker.perOrg())
		w.mu.orgs[org] = turn
	}
	return turn
}

// take returns a worker that is the caller's until give.
func (w *workers) take(ctx context.Context, key workerKey) (_ *worker, err error) {
	turn := w.turnOf(key.org)
	for _, slots := range []chan struct{}{turn, w.all} {
		select {
		case slots <- struct{}{}:
			defer func() {
				if err != nil {
					<-slots
				}
			}()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
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
	defer func() {
		<-w.all
		<-w.turnOf(p.key.org)
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

// retire ends a worker that was idle for long.
func (w *workers) retire(p *worker) {
	w.mu.Lock()
	for i, other := range w.mu.idle {
		if other == p {
			w.mu.idle = append(w.mu.idle[:i], w.mu.idle[i+1:]...)
			delete(w.mu.live, p)
			break
		}
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
