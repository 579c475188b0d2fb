package query

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/engine/rollup"
)

// Forget drops everything that this process and its workers hold of the
// organisation in memory or in spill files, and the rollups of data files that are
// not in its table any more, or all if nobody may read it. Queries that are running
// end by themselves, in their time, and what they hold goes with them; the next one
// copies anew what it needs.
func (db *DB) Forget(ctx context.Context, org event.OrgID) error {
	if db.work != nil {
		db.work.forget(org)
	}
	s, err := db.store(org)
	if err != nil {
		return err
	}
	if err := s.takeTurn(ctx); err != nil {
		return err
	}
	defer s.endTurn()
	return errors.Join(s.reset(), s.forgetRollups(ctx))
}

// Tidy removes the rollups of data files, by name, that are not in the organisation's
// table any more. KPIs do so by themselves: it is for those that nobody asks.
func (db *DB) Tidy(ctx context.Context, org event.OrgID, inTable func(file string) bool) error {
	s, err := db.store(org)
	if err != nil {
		return err
	}
	if err := s.takeTurn(ctx); err != nil {
		return err
	}
	defer s.endTurn()
	if s.rollups.coming > 0 {
		return nil // it is done when they have come
	}
	wanted := func(name string) bool { return inTable(strings.TrimSuffix(name, rollup.Suffix)) }
	for path := range s.rollups.open {
		if !wanted(filepath.Base(path)) { // what is open stays on disk
			if err := s.rollups.close(); err != nil {
				return err
			}
			break
		}
	}
	return sweep(s.rollups.dir, wanted)
}

func (s *store) forgetRollups(ctx context.Context) error {
	live := map[string]bool{}
	if s.rollups.dir == "" {
		return nil
	}
	// Of an organisation that is no more, nobody may read anything either.
	if rules, err := s.opts.Rules(s.org); err == nil && rules.readable() == nil {
		view, err := s.opts.Source.View(ctx, s.org)
		if err != nil {
			return fmt.Errorf("view: %w", err)
		}
		for _, path := range view.Files() {
			live[filepath.Base(path)+rollup.Suffix] = true
		}
		view.Close()
	}
	if err := sweep(s.rollups.dir, func(name string) bool { return live[name] }); err != nil || len(live) > 0 {
		return err
	}
	if err := os.Remove(s.rollups.dir); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// forget ends the organisation's idle workers, and those that are answering once
// they are given back.
func (w *workers) forget(org event.OrgID) {
	w.mu.Lock()
	idle := w.forgetLocked(org)
	w.mu.Unlock()
	for _, p := range idle {
		p.kill("what it holds was removed")
	}
}

// forgetBefore ends those that were fed before the catalog was emptied.
func (w *workers) forgetBefore(org event.OrgID, emptied uint64) {
	var idle []*worker
	w.mu.Lock()
	if was, ok := w.mu.emptied[org]; ok && was != emptied {
		idle = w.forgetLocked(org)
	}
	w.mu.emptied[org] = emptied
	w.mu.Unlock()
	for _, p := range idle {
		p.kill("what it holds was removed")
	}
}

func (w *workers) forgetLocked(org event.OrgID) (idle []*worker) {
	kept := w.mu.idle[:0]
	for _, p := range w.mu.idle {
		if p.key.org == org && p.idleUntil.Stop() {
			idle = append(idle, p)
		} else {
			kept = append(kept, p)
		}
	}
	w.mu.idle = kept
	for p := range w.mu.live {
		if p.key.org == org {
			delete(w.mu.live, p)
		}
	}
	return idle
}

// Told reports whether a data file has anything of one of the recipients, as its
// rollup says; known is false if there is none that can be read.
func (db *DB) Told(org event.OrgID, f lake.File, recipients []event.RecipientID) (holds, known bool) {
	dir := db.opts.rollupDir(org)
	if dir == "" {
		return false, false
	}
	holds, err := rollup.Has(dir, rollup.Source{Path: f.Path, Bytes: f.Bytes}, recipients)
	return holds, err == nil
}

// SearchRollups looks through every rollup that is kept of the organisation, in use
// or not, for recipients who are wanted, and returns the files that have some. One
// that cannot be read is returned as well; one that is being written is of a data
// file in use, and Forget removes what an earlier process left half-written.
func (db *DB) SearchRollups(org event.OrgID, wanted func(event.RecipientID) bool) (searched int, holding []string, err error) {
	dir := db.opts.rollupDir(org)
	if dir == "" {
		return 0, nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, nil, fmt.Errorf("search rollups: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), rollup.PartPrefix) {
			continue
		}
		found, err := rollup.Holds(filepath.Join(dir, e.Name()), wanted)
		if errors.Is(err, os.ErrNotExist) {
			continue // went away meanwhile
		}
		searched++
		if found || err != nil {
			holding = append(holding, e.Name())
		}
	}
	return searched, holding, nil
}
