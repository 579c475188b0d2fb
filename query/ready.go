package query

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/rollup"
)

const (
	// readyEvery is the pause between looks for new data files. They come once a
	// minute from each node under load.
	readyEvery = time.Second
	// readyFor is how long an organisation is kept ready after its last KPI.
	readyFor = time.Hour
	// countEvery is the pause between looks at what was appended, so that a query has
	// no more than that to count: a millisecond's work at 20,000 events/s.
	countEvery = 50 * time.Millisecond
	// countFor is how long that is done after a KPI.
	countFor = time.Minute
	// countRest is how many times as long as they took it rests between looks.
	countRest = 9
)

// Run makes rollups of new data files as they come and takes them in, counts what is
// appended, and sends it to idle SQL workers, until ctx ends, so that queries seldom have
// to. It is to have returned before Close.
func (db *DB) Run(ctx context.Context) error {
	db.runs.Store(true)
	defer db.runs.Store(false)
	var loops sync.WaitGroup
	defer loops.Wait()
	loops.Go(func() { keepUp(ctx, db.countTails) })
	if db.work != nil {
		loops.Go(func() { keepUp(ctx, func(ctx context.Context) { db.work.feedAhead(ctx, time.Now()) }) })
	}
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
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

// countTails counts the tails of those who were asked about lately.
func (db *DB) countTails(ctx context.Context) {
	for _, s := range db.askedSince(db.opts.Clock().Add(-countFor)) {
		_ = s.count(ctx) // the next query finds it again, and says so
	}
}

// keepUp does what follows the tail again and again, with pauses in which others get on.
func keepUp(ctx context.Context, follow func(context.Context)) {
	pause := time.NewTimer(countEvery)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		from := time.Now()
		follow(ctx)
		pause.Reset(max(countEvery, countRest*time.Since(from)))
	}
}

func (db *DB) readyAll(ctx context.Context) {
	for _, s := range db.askedSince(db.opts.Clock().Add(-readyFor)) {
		if err := s.ready(ctx); err != nil && ctx.Err() == nil {
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

// ready brings the rollups of s up to now.
func (s *store) ready(ctx context.Context) error {
	err := s.begin(ctx)
	for more := err == nil; more; {
		more, err = s.absorb(ctx)
	}
	if problem.Of(err).Code == "feature_disabled" || errors.Is(err, errNoRollup) {
		return nil
	}
	return err
}

// begin lets the state stand on all files. What takes long, making rollups and loading
// a new state, is done without the turn; nothing goes away meanwhile, since the
// lease pins the files.
func (s *store) begin(ctx context.Context) error {
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
	if err != nil {
		return err
	}
	for err = errMoreTail; errors.Is(err, errMoreTail) && ctx.Err() == nil; {
		err = s.briefly(ctx, func(l *lease) error {
			return s.rolled(ctx, l.view, &l.rules, wanted{flushed: takeBegin, tail: s.rollups.most.tail}, func(*rollup.State) error { return nil })
		}, func(*lease) error { return nil })
	}
	return err
}

// count counts what was appended, if there is nothing else to do for that.
func (s *store) count(ctx context.Context) error {
	return s.briefly(ctx, func(l *lease) error {
		if !s.rollups.follows(l.view, s.basis(l.view, &l.rules)) {
			return nil
		}
		return s.rolled(ctx, l.view, &l.rules, wanted{flushed: takeNone, tail: s.rollups.most.tail}, func(*rollup.State) error { return nil })
	}, func(*lease) error { return nil })
}

// absorb takes in some of what is in files now and was in the tail. Queries that wait
// for the turn come first, and find everything counted.
func (s *store) absorb(ctx context.Context) (more bool, err error) {
	if err := s.takeTurn(ctx); err != nil {
		return false, err
	}
	defer s.endTurn()
	r := &s.rollups
	if r.state == nil {
		return false, nil
	}
	if more, err = r.state.Absorb(r.most.absorb); err == nil {
		return more, nil
	}
	if bad := (*rollup.FileError)(nil); errors.As(err, &bad) { // it is made anew next time
		return false, r.discard(bad.File)
	}
	r.state = nil
	return false, err
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
	if len(b.Files) > 0 {
		expect(state, l.view)
	}
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
		r.state, r.to, r.ahead, r.holds = state, b.Tail, map[event.EmailID]event.Position{}, l.view.Content()
	}
	return nil
}

// expect tells state of the pairs that the tail has, of as many as it would keep.
func expect(state *rollup.State, view View) {
	from, to := view.Tail()
	for pos, in := range view.Rows(from) {
		if pos >= to || state.Expect(in.Email, in.Recipient) > maxHotPairs {
			return
		}
	}
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
