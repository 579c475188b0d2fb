package retention

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

const (
	// tick is how often Run looks for tasks that are due.
	tick = 15 * time.Second
	// retryAfter is the pause of a task that failed, doubled up to maxRetry.
	retryAfter = time.Minute
	maxRetry   = time.Hour
	// replans bounds how often one run of a task plans anew: each merge of small
	// files makes another one possible, and conflicts ask for it.
	replans = 6
)

// Run does what is due, for as long as ctx lasts, whenever no other process leads,
// and cleans up after all of them in this process. It is to be called once.
// A task that fails is logged, counted and tried again later.
func (k *Keeper) Run(ctx context.Context) error {
	timer := time.NewTicker(tick)
	defer timer.Stop()
	for {
		release, err := k.lead(ctx)
		switch {
		case err == nil:
			k.round(ctx)
			if ctx.Err() != nil {
				release()
				return nil
			}
			release()
		case problem.Of(err).Code != codeElsewhere:
			k.opts.Logger.Error("maintenance cannot lead", "error", err)
		}
		if err := k.tidy(ctx); err != nil && ctx.Err() == nil {
			k.stats.failures.Add(1)
			k.opts.Logger.Error("something is kept longer than its data; it is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
	}
}

// Problem codes.
const (
	codeElsewhere = "maintenance_elsewhere"
	codeFailed    = "maintenance_failed"
)

// lead makes this process the only one that maintains, and this call the only one
// in it, until release.
func (k *Keeper) lead(ctx context.Context) (release func(), err error) {
	select {
	case k.busy <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	unlock, ok, err := k.opts.Lake.Lead(ctx)
	if err == nil && !ok {
		err = problem.New(409, codeElsewhere, "Another process maintains these tables now; ask that one, or wait until it has ended.")
	}
	k.mu.Lock()
	k.mu.leading = err == nil
	k.mu.Unlock()
	if err != nil {
		<-k.busy
		return nil, err
	}
	return func() { unlock(); <-k.busy }, nil
}

// round runs what is due of all organisations.
func (k *Keeper) round(ctx context.Context) {
	if err := k.purge(ctx); err != nil && ctx.Err() == nil {
		k.stats.failures.Add(1)
		k.opts.Logger.Error("purge failed; it is tried again", "error", err)
	}
	for org := range k.opts.Registry.Snapshot().Orgs() {
		s, err := k.subject(ctx, org)
		if err != nil {
			k.stats.failures.Add(1)
			k.opts.Logger.Error("maintenance failed", "org", org.ID, "error", err)
			continue
		}
		for _, t := range tasks {
			if ctx.Err() != nil {
				return
			}
			if k.due(s, t) {
				_ = k.do(ctx, s, t) // logged, counted, and tried again
			}
		}
	}
}

func (k *Keeper) due(s *subject, t task) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.opts.Now()
	r := s.runs[t.name]
	// A clock that was set back must not put a task off for longer than its period.
	return !s.paused && (!now.Before(r.next) || r.next.Sub(now) > t.every+maxRetry)
}

// do runs one task and notes how it went.
func (k *Keeper) do(ctx context.Context, s *subject, t task) error {
	k.mu.Lock()
	k.mu.running = &Running{Org: s.org.Name, Task: t.name, Since: k.opts.Now()}
	k.mu.Unlock()
	err := t.run(k, ctx, s)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.running = nil
	now := k.opts.Now()
	r := s.runs[t.name]
	r.at, r.err, r.pause, r.next = now, err, 0, now.Add(t.every)
	k.stats.runs.Add(1)
	if err != nil && ctx.Err() == nil {
		r.pause = min(max(2*s.runs[t.name].pause, retryAfter), maxRetry)
		r.next = now.Add(r.pause)
		k.stats.failures.Add(1)
		k.opts.Logger.Error("maintenance failed; it is tried again", "org", s.org.ID, "task", t.name, "retry_in", r.pause, "error", err)
	}
	s.runs[t.name] = r
	return err
}

// Sweep runs all tasks of one organisation now, due or not, paused or not.
// All are tried. Problems: org_not_found, maintenance_elsewhere, maintenance_failed.
func (k *Keeper) Sweep(ctx context.Context, org event.OrgID) error {
	o, err := k.org(org)
	if err != nil {
		return err
	}
	release, err := k.lead(ctx)
	if err != nil {
		return err
	}
	defer release()
	s, err := k.subject(ctx, o)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range tasks {
		if err := k.do(ctx, s, t); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", t.name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return problem.New(503, codeFailed, "A task of the maintenance failed; it is tried again by itself, and the server's log says why.").Because(err)
	}
	return nil
}
