package engine

import (
	"context"
	"time"
)

const (
	// pieceOfWork is how long a flush works at least before it rests.
	pieceOfWork = time.Millisecond
	// restFor is how many times as long as it worked a flush rests.
	restFor = 3
	// longestRest bounds a rest after work that waited for the disk or a core.
	longestRest = 25 * time.Millisecond
)

// pacer lets a flush that nobody waits for give way: requests that come meanwhile find
// a core free for most of the time, while a flush in one go makes thousands of them
// late. The nil pacer never rests. It is of one goroutine.
type pacer struct {
	done    <-chan struct{} // no rest after it is closed
	hurries func() bool     // no rest while it is true
	since   time.Time       // of the work
	rested  time.Duration
}

// pacer returns one for a flush of t.
func (e *Engine) pacer(ctx context.Context, t *tail) *pacer {
	return &pacer{done: ctx.Done(), hurries: func() bool { return e.hurries(t) }, since: time.Now()}
}

// hurries says whether somebody waits for a flush of t, or events come faster than one
// works with rests: the next flush is due, or the log is half full.
func (e *Engine) hurries(t *tail) bool {
	if t.hurried.Load() > 0 || e.log.Size() > e.opts.LogLimit/2 {
		return true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return t.rows >= 2*e.opts.FlushRows || t.bytes >= 2*e.opts.FlushBytes
}

// rest is called between pieces of work.
func (p *pacer) rest() {
	if p == nil {
		return
	}
	worked := time.Since(p.since)
	if worked < pieceOfWork || p.hurries() {
		return
	}
	from := time.Now()
	timer := time.NewTimer(min(restFor*worked, longestRest))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.done:
	}
	p.since = time.Now()
	p.rested += p.since.Sub(from)
}

// takeRested returns how long was rested since it was asked last.
func (p *pacer) takeRested() time.Duration {
	if p == nil {
		return 0
	}
	rested := p.rested
	p.rested = 0
	return rested
}
