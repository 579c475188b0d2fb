package query

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/singleflight"

	"mailwake/engine/event"
	"mailwake/engine/rollup"
)

// store is one organisation: its instance, its hot segments, and how far both
// have followed the tail and the catalog. The holder of turn may touch the
// fields; queries read through a lease, without the turn.
type store struct {
	org  event.OrgID
	opts *Options
	turn chan struct{}

	duck     *sql.DB // nil until the first query and after a failure
	write    *sql.Conn
	segments []*segment // oldest first; only the last one grows
	serial   int        // names segments
	from     event.Position
	pulled   event.Position // tail rows before it are in a segment

	mark    catalogMark // how far the catalog is copied
	emptied uint64      // Rules.Emptied of the copy

	known *known        // nil where no rollups are kept
	asked *atomic.Int64 // when a KPI was asked for last, in Unix seconds
	runs  *atomic.Bool  // DB.Run does

	rollups rollups
	news    *news            // of rollups
	zones   map[string]*zone // by name

	reports   map[string]bool // data files: whether they may hold events that others reported
	denied    *listing
	granted   *listing
	consented bool // consent and optIn say what was taken last
	consent   uint64
	optIn     bool
}

// lease is what one query reads: a View and the segments that hold its tail. It
// keeps both from going away until release.
type lease struct {
	store    *store
	duck     *sql.DB
	view     View
	rules    Rules
	segments []*segment
	hot      []hotPart
	files    []string // of view, those without reported events first
	reports  int      // how many of files, at the end, may hold reported events
	denied   bool     // somebody refuses something
	catalog  catalogMark
	veil     *veil // of foreign statements
}

// hotPart is a segment as the lease found it.
type hotPart struct {
	table    string
	reported bool // it holds events that others reported
}

func newStore(org event.OrgID, o *Options, runs *atomic.Bool) *store {
	s := &store{org: org, opts: o, turn: make(chan struct{}, 1), rollups: rollups{dir: o.rollupDir(org), make: new(singleflight.Group), most: someTenths}, asked: new(atomic.Int64), runs: runs, news: new(news)}
	s.forget()
	return s
}

// lease takes a View and brings the instance up to it. Views are taken by turns,
// so that each one starts where the one before it started or later. allowed is
// asked whether the organisation's data may be read at all.
func (s *store) lease(ctx context.Context, allowed func(*Rules) error) (l *lease, err error) {
	return s.leaseFor(ctx, allowed, func(*lease) (bool, error) { return false, nil })
}

// leaseFor is lease for a query that may need no events: prepare, which has the
// turn, says whether it does not.
func (s *store) leaseFor(ctx context.Context, allowed func(*Rules) error, prepare func(*lease) (enough bool, err error)) (l *lease, err error) {
	if err := s.takeTurn(ctx); err != nil {
		return nil, err
	}
	defer s.endTurn()
	rules, err := s.opts.Rules(s.org)
	if err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	if err := allowed(&rules); err != nil {
		return nil, err
	}
	if s.duck != nil && s.emptied != rules.Emptied {
		if err := s.reset(); err != nil {
			return nil, err
		}
	}
	if s.duck == nil {
		if err := s.open(ctx); err != nil {
			return nil, err
		}
		s.emptied = rules.Emptied
	}
	view, err := s.opts.Source.View(ctx, s.org)
	if err != nil {
		return nil, fmt.Errorf("view: %w", err)
	}
	defer func() {
		if err != nil {
			view.Close()
		}
	}()
	if err := s.advance(view); err != nil {
		return nil, fmt.Errorf("follow tail: %w", err)
	}
	if err := s.copyCatalog(ctx); err != nil {
		return nil, fmt.Errorf("copy catalog: %w", err)
	}
	if err := s.takeConsent(ctx, rules.Consent); err != nil {
		return nil, fmt.Errorf("take consent: %w", err)
	}
	l = &lease{store: s, duck: s.duck, view: view, rules: rules, denied: s.denied.count > 0,
		catalog: s.mark}
	if enough, err := prepare(l); err != nil || enough {
		return l, err
	}
	if err := s.pull(ctx, view); err != nil {
		return nil, fmt.Errorf("copy tail: %w", err)
	}
	if l.files, l.reports, err = s.sortFiles(ctx, view.Files()); err != nil {
		return nil, fmt.Errorf("look at files: %w", err)
	}
	for _, g := range s.segments {
		if g.last >= s.from {
			g.readers.Add(1)
			l.segments = append(l.segments, g)
			l.hot = append(l.hot, hotPart{g.table, g.reported})
		}
	}
	return l, nil
}

func (s *store) takeTurn(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// endTurn drops what nobody needs any more and lets the next one in.
func (s *store) endTurn() {
	s.dropStale()
	<-s.turn
}

// release ends the lease. If another query has the turn it drops the segments
// that became free, or its own release does.
func (l *lease) release() {
	for _, g := range l.segments {
		g.readers.Add(-1)
	}
	l.view.Close()
	select {
	case l.store.turn <- struct{}{}:
		l.store.endTurn()
	default:
	}
}

func (s *store) open(ctx context.Context) (err error) {
	if s.duck, err = openInstance(ctx, s.opts, s.org); err != nil {
		return err
	}
	if s.write, err = s.duck.Conn(ctx); err != nil {
		return errors.Join(fmt.Errorf("connect writer: %w", err), s.reset())
	}
	return nil
}

// reset throws the instance away, so that the next query starts with a new one.
// Queries that still run on the old one end by themselves.
func (s *store) reset() error {
	errs := []error{s.rollups.close()}
	for _, g := range s.segments {
		errs = append(errs, g.seal())
	}
	if s.write != nil {
		errs = append(errs, s.write.Close())
	}
	if s.duck != nil {
		errs = append(errs, s.duck.Close())
	}
	*s = store{org: s.org, opts: s.opts, turn: s.turn, serial: s.serial, rollups: s.rollups, asked: s.asked, runs: s.runs, news: s.news}
	s.forget()
	return errors.Join(errs...)
}

// forget begins to remember anew what an instance holds.
func (s *store) forget() {
	s.reports, s.zones = map[string]bool{}, map[string]*zone{}
	s.denied, s.granted = newListing("consent_denied"), newListing("consent_granted")
	if s.rollups.open = map[string]*rollup.File{}; s.rollups.dir != "" {
		s.known = newKnown()
	}
}

// abandon resets the store if it still uses the instance bad, which DuckDB has
// declared unusable. Its own errors say nothing new.
func (s *store) abandon(bad *sql.DB) {
	s.turn <- struct{}{}
	defer s.endTurn()
	if s.duck == bad {
		_ = s.reset()
	}
}

// close frees the instance; no query may be running.
func (s *store) close() error {
	s.turn <- struct{}{}
	return s.reset()
}
