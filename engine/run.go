package engine

import (
	"context"
	"time"

	"mailwake/engine/event"
)

const (
	// checkEvery is how often Run looks for tails that are due by age.
	checkEvery = time.Second
	// maxBackoff bounds the pause after a flush that failed.
	maxBackoff = 30 * time.Second
)

// Run flushes tails as they become due by rows, bytes or age, until ctx ends. A
// flush that fails is logged, counted and tried again later, with growing
// pauses; the events stay durable in the log meanwhile. An organisation whose
// storage hangs does not hold up the others.
func (e *Engine) Run(ctx context.Context) error {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	r := runner{Engine: e, flying: map[event.OrgID]bool{}, pauses: map[event.OrgID]pause{}, done: make(chan outcome)}
	for {
		select {
		case <-ctx.Done():
			for n := len(r.flying); n > 0; n-- {
				<-r.done
			}
			return nil
		case o := <-r.done:
			r.landed(ctx, o)
		case <-e.due:
		case <-tick.C:
			// A trim that failed behind a commit is made up for: no later flush may
			// come when the log is full of what the tables already hold.
			if err := e.trim(); err != nil {
				e.opts.Logger.Error("trimming the log failed", "error", err)
			}
		}
		r.launch(ctx)
	}
}

// runner is the state of Run.
type runner struct {
	*Engine
	flying map[event.OrgID]bool // flushes under way, at most flushers
	pauses map[event.OrgID]pause
	done   chan outcome
}

// outcome is how a flush went.
type outcome struct {
	org event.OrgID
	err error
}

// launch starts the flushes that are due.
func (r *runner) launch(ctx context.Context) {
	now := time.Now()
	due := r.pick(func(t *tail) bool {
		return !r.flying[t.org] && now.After(r.pauses[t.org].until) && (t.full(&r.opts) || t.age() >= r.opts.FlushAge)
	})
	for _, org := range due {
		if len(r.flying) == flushers {
			return // the next to land makes room
		}
		r.flying[org] = true
		go func() { r.done <- outcome{org, r.flushGently(ctx, org)} }()
	}
}

// landed notes a result.
func (r *runner) landed(ctx context.Context, o outcome) {
	delete(r.flying, o.org)
	if o.err == nil || ctx.Err() != nil {
		delete(r.pauses, o.org)
		return
	}
	p := r.pauses[o.org].grown()
	r.pauses[o.org] = p
	r.opts.Logger.Error("flush failed; its events stay in the log", "org", o.org, "retry_in", p.length, "error", o.err)
}

// pause is the back-off of one organisation after failures.
type pause struct {
	until  time.Time
	length time.Duration
}

func (p pause) grown() pause {
	length := min(max(2*p.length, checkEvery), maxBackoff)
	return pause{until: time.Now().Add(length), length: length}
}
