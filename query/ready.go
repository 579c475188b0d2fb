package query

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"mailwake/engine/problem"
	"mailwake/engine/rollup"
)

const (
	// readyEvery is the pause between looks for new data files. They come once a
	// minute from each node under load.
	readyEvery = time.Second
	// readyFor is how long an organisation is kept ready after its last KPI.
	readyFor = time.Hour
)

// Run makes rollups of new data files as they come and takes them in, until ctx
// ends, so that KPIs seldom have to. It is to have returned before Close.
func (db *DB) Run(ctx context.Context) error {
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	db.runs.Store(true)
	defer db.runs.Store(false)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-db.nudge:
		}
		db.readyAll(ctx)
	}
}

func (db *DB) readyAll(ctx context.Context) {
	for _, s := range db.askedSince(db.opts.Clock().Add(-readyFor)) {
		if err := db.ready(ctx, s); err != nil && ctx.Err() == nil {
			db.opts.OnRollupError(s.org, err)
		}
		s.news.tell()
	}
}

// news tells those who wait that rollups may be there.
type news struct {
	mu   sync.Mutex
	come chan struct{}
}

// next returns what is closed at the next tell.
func (n *news) next() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.come == nil {
		n.come = make(chan struct{})
	}
	return n.come
}

func (n *news) tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.come != nil {
		close(n.come)
		n.come = nil
	}
}

func (db *DB) askedSince(t time.Time) (stores []*store) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, s := range db.mu.stores {
		if s.rollups.dir != "" && s.asked.Load() >= t.Unix() {
			stores = append(stores, s)
		}
	}
	return stores
}

// ready brings the rollups of s up to now. What takes long, making them and loading
// a new state, is done without the turn; nothing goes away meanwhile, since the
// lease pins the files.
func (db *DB) ready(ctx context.Context, s *store) error {
	var b rollup.Basis
	var missing []string
	var paths rollups // of s, whose fields are not to be touched without the turn
	load := false
	err := s.briefly(ctx, func(l *lease) error {
		paths.dir, paths.make = s.rollups.dir, s.rollups.make
		load = s.rollups.state == nil
		missing = slices.DeleteFunc(slices.Clone(l.view.Files()), func(path string) bool { return !load && s.rollups.open[path] != nil })
		b = s.basis(l.view, &l.rules)
		return nil
	}, func(l *lease) error { return s.prepare(ctx, l, &paths, b, missing, load) })
	if err == nil {
		err = s.briefly(ctx, func(l *lease) error { return s.rolled(ctx, l.view, &l.rules, func(*rollup.State) error { return nil }) }, func(*lease) error { return nil })
	}
	if problem.Of(err).Code == "feature_disabled" || errors.Is(err, errNoRollup) {
		return nil
	}
	return err
}

// prepare makes the missing rollups, and with load a state of them.
func (s *store) prepare(ctx context.Context, l *lease, paths *rollups, b rollup.Basis, missing []string, load bool) (err error) {
	open := map[string]*rollup.File{}
	defer func() {
		for _, f := range open {
			err = errors.Join(err, f.Close())
		}
	}()
	for _, path := range missing {
		f, err := paths.openOrMake(ctx, l.duck, path)
		if err != nil {
			return err
		}
		open[path] = f
		b.Files = append(b.Files, f)
	}
	if !load {
		return nil
	}
	state := rollup.NewState()
	if _, err := state.Refresh(b); err != nil {
		if bad := (*rollup.FileError)(nil); errors.As(err, &bad) { // it is made anew next time
			err = errors.Join(err, os.Remove(bad.File.Source.In(paths.dir)))
		}
		return err
	}
	if err := s.takeTurn(ctx); err != nil {
		return err
	}
	defer s.endTurn()
	if r := &s.rollups; r.state == nil && s.duck == l.duck {
		open, r.open = r.open, open
		r.state, r.to = state, b.Tail
	}
	return nil
}

// briefly takes a lease, runs first with the turn and then without it.
func (s *store) briefly(ctx context.Context, first, then func(*lease) error) error {
	l, err := s.leaseFor(ctx, (*Rules).readable, func(l *lease) (bool, error) { return true, first(l) })
	if err != nil {
		return err
	}
	defer l.release()
	return then(l)
}
