package query

import (
	"context"
	"errors"
	"slices"
	"time"

	"mailwake/engine/problem"
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
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		db.readyAll(ctx)
	}
}

func (db *DB) readyAll(ctx context.Context) {
	for _, s := range db.askedSince(db.opts.Clock().Add(-readyFor)) {
		if err := db.ready(ctx, s); err != nil && ctx.Err() == nil {
			db.opts.OnRollupError(s.org, err)
		}
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

// ready brings the rollups of s up to now. Making them takes long and is done
// without the turn; nothing goes away meanwhile, since the lease pins the files.
func (db *DB) ready(ctx context.Context, s *store) error {
	var missing []string
	err := s.briefly(ctx, func(l *lease) error {
		missing = slices.DeleteFunc(slices.Clone(l.view.Files()), func(path string) bool { return s.rollups.open[path] != nil })
		return nil
	}, func(l *lease) error {
		for _, path := range missing {
			f, err := s.rollups.openOrMake(ctx, l.duck, path)
			if err != nil {
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = s.briefly(ctx, func(l *lease) error { return s.follow(ctx, l.view, &l.rules) }, func(*lease) error { return nil })
	}
	if problem.Of(err).Code == "feature_disabled" || errors.Is(err, errNoRollup) {
		return nil
	}
	return err
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
