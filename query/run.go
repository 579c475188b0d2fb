package query

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"mailwake/engine/event"
)

// question is a SELECT ready to be wrapped and run.
type question struct {
	text    string
	foreign bool   // not ours: its mistakes are the caller's
	typed   string // what a foreign one was before the gate
	places  places // from text to typed
	args    []any
	limit   int
	reads   []string       // published tables it may name
	seen    []string       // tags of answers that the caller has
	given   map[string]any // parameters of a KPI by name
	rolled  *rolledKPI     // how it is answered from rollups; nil: not at all
	last    *projection    // of rolled
	waits   bool           // for rollups that are on their way
}

// run answers q, for which KPIs may wait until rollups that Run makes are there:
// to read events meanwhile would keep it from making them.
func (db *DB) run(ctx context.Context, org event.OrgID, q question) (*Result, error) {
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, db.opts.Timeout)
	defer cancel()
	s, err := db.store(org)
	if err != nil {
		return nil, err
	}
	patience, stop := context.WithTimeout(ctx, db.opts.Timeout/2)
	defer stop()
	q.waits = true
	for {
		made := s.news.next()
		res, err := db.once(outer, ctx, s, q)
		if !errors.Is(err, errBehind) {
			return res, err
		}
		q.waits = db.await(patience, made)
	}
}

// await waits for news of rollups; false if they do not come.
func (db *DB) await(ctx context.Context, made <-chan struct{}) bool {
	if !db.runs.Load() {
		return false
	}
	select {
	case db.nudge <- struct{}{}:
	default:
	}
	select {
	case <-made:
		return true
	case <-db.done:
	case <-ctx.Done():
	}
	return false
}

// once is run without waiting for rollups.
func (db *DB) once(outer, ctx context.Context, s *store, q question) (res *Result, err error) {
	var prefix string
	var files []string
	defer func() {
		if err != nil && !errors.Is(err, errBehind) {
			err = explain(outer, ctx, err, q, len(prefix), files)
		}
	}()
	select {
	case db.admit <- struct{}{}:
		defer func() { <-db.admit }()
	case <-db.done:
		return nil, errClosed()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var tag string
	l, err := s.leaseFor(ctx, (*Rules).readable, func(l *lease) (enough bool, err error) {
		if tag = l.tag(&q); slices.Contains(q.seen, tag) {
			res = &Result{unchanged: true}
		} else {
			res, err = s.roll(ctx, l, &q)
		}
		return res != nil, err
	})
	if err != nil {
		return nil, err
	}
	defer l.release()
	defer func() {
		if err == nil {
			res.Snapshot, res.Tag = l.view.SnapshotID(), tag
		}
	}()
	if res != nil {
		return res, nil
	}
	files = l.view.Files()
	if prefix, err = l.base().with(q.reads); err != nil {
		return nil, err
	}
	prefix += "SELECT * FROM (\n"
	text := prefix + q.text + "\n) LIMIT " + strconv.Itoa(q.limit+1)
	if res, err = db.take(ctx, l, text, q); err != nil {
		if isFatal(err) {
			s.abandon(l.duck)
		}
		return nil, err
	}
	return res, nil
}

// take runs text, which is q with all around it, and takes the result.
func (db *DB) take(ctx context.Context, l *lease, text string, q question) (*Result, error) {
	conn, err := l.duck.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	defer func() {
		// The pool keeps the connection or has dropped it; nothing is lost either way.
		_ = conn.Close()
	}()
	if !q.foreign && len(q.args) == 0 {
		return collectDirect(ctx, conn, text, q, db.opts.MaxBytes)
	}
	return collect(ctx, conn, text, q, db.opts.MaxBytes)
}
