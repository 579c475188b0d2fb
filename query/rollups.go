package query

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/singleflight"

	"mailwake/engine/event"
	"mailwake/query/rollup"
)

// rollups are what a store keeps so that KPIs need not read events: a rollup per
// data file, on disk, and the state over them and the tail, in memory. The holder
// of the store's turn may use them.
//
//	dir/<data file>.rollup   made when a View first has the data file, removed when none has
type rollups struct {
	dir   string              // "" keeps none
	make  *singleflight.Group // rollups on their way; anybody may use it
	open  map[string]*rollup.File
	state *rollup.State  // nil: to be made anew
	to    event.Position // tail rows before it are in state
	swept bool           // nothing is left of earlier processes
}

const (
	rollupSuffix = ".rollup"
	// maxHotPairs bounds the memory of a tail that does not get into files, at 600
	// bytes each. Beyond, KPIs read events.
	maxHotPairs = 500_000
	// rollupTries is how often damage is mended within one query.
	rollupTries = 3
)

// errNoRollup says that KPIs must read events for now.
var errNoRollup = errors.New("no rollup")

// rolled runs ask on the state, brought up to view. Rollups that are missing or
// found damaged are made anew. errNoRollup, or what kept them from being used.
func (s *store) rolled(ctx context.Context, view View, rules *Rules, ask func(*rollup.State) error) error {
	for try := 1; ; try++ {
		err := s.follow(ctx, view, rules)
		if err == nil {
			err = ask(s.rollups.state)
		}
		var bad *rollup.FileError
		if !errors.As(err, &bad) || try == rollupTries || ctx.Err() != nil {
			return err
		}
		if err := s.rollups.discard(bad.File); err != nil {
			return err
		}
	}
}

// follow brings the state up to view.
func (s *store) follow(ctx context.Context, view View, rules *Rules) (err error) {
	r := &s.rollups
	if r.dir == "" {
		return errNoRollup
	}
	if r.state == nil {
		r.state = rollup.NewState()
	}
	b := rollup.Basis{Consent: rollup.Consent{OptIn: rules.Consent.OptIn, Marks: s.denied.marks}, Oldest: rules.oldest(event.At(s.opts.Clock()))}
	if b.Consent.OptIn {
		b.Consent.Marks = s.granted.marks
	}
	if b.Files, err = s.filesOf(ctx, view.Files()); err != nil {
		return err
	}
	defer func() {
		if err != nil && !errors.Is(err, errNoRollup) {
			r.state = nil
		}
	}()
	b.Tail, _ = view.Tail()
	kept, err := r.state.Refresh(b, func(f *rollup.File, emails []event.EmailID, oldest event.Micros, each func(*rollup.Event) error) error {
		return s.readCut(ctx, f, emails, oldest, each)
	})
	if err != nil {
		return err
	}
	if !kept {
		r.to = b.Tail
	}
	if err := r.closeOthers(b.Files); err != nil {
		return err
	}
	return r.addTail(view)
}

// addTail counts the tail's new rows.
func (r *rollups) addTail(view View) error {
	_, to := view.Tail()
	if r.to >= to {
		return nil
	}
	for pos, in := range view.Rows(r.to) {
		if pos >= to {
			break
		}
		if r.state.HotPairs() > maxHotPairs {
			return fmt.Errorf("%w: the tail is too long", errNoRollup)
		}
		err := r.state.Add(&rollup.Event{Email: in.Email, Recipient: in.Recipient, ID: in.ID, At: in.OccurredAt,
			Received: in.ReceivedAt, Kind: in.Kind, Actor: in.Actor})
		if err != nil {
			return err
		}
		r.to = pos + 1
	}
	r.to = to
	return nil
}

// filesOf opens the rollups of data files, and makes those that are not there.
func (s *store) filesOf(ctx context.Context, paths []string) ([]*rollup.File, error) {
	r := &s.rollups
	files := make([]*rollup.File, len(paths))
	for i, path := range paths {
		f, ok := r.open[path]
		if !ok {
			var err error
			if f, err = r.openOrMake(ctx, s.duck, path); err != nil {
				return nil, fmt.Errorf("rollup: %w", err)
			}
			r.open[path] = f
		}
		files[i] = f
	}
	return files, nil
}

func (r *rollups) path(data string) string {
	return filepath.Join(r.dir, filepath.Base(data)+rollupSuffix)
}

// openOrMake may be called without the turn. Somebody else who makes the same
// rollup already is waited for.
func (r *rollups) openOrMake(ctx context.Context, duck *sql.DB, path string) (*rollup.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	source := rollup.Source{Path: path, Bytes: info.Size()}
	f, err := rollup.Open(r.path(path), source)
	if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, rollup.ErrDamaged) {
		return f, err
	}
	_, err, _ = r.make.Do(path, func() (any, error) { return nil, makeRollup(ctx, duck, source, r.path(path)) })
	if err != nil {
		return nil, err
	}
	return rollup.Open(r.path(path), source)
}

// closeOthers closes and removes rollups of data files that are in no View any
// more, among them those that an earlier process left. Only a change of files can
// make any.
func (r *rollups) closeOthers(files []*rollup.File) error {
	if len(r.open) == len(files) && r.swept {
		return nil
	}
	live := map[string]bool{}
	for _, f := range files {
		live[filepath.Base(f.Source.Path)+rollupSuffix] = true
	}
	var errs []error
	for path, f := range r.open {
		if !live[filepath.Base(path)+rollupSuffix] {
			errs = append(errs, f.Close())
			delete(r.open, path)
		}
	}
	errs = append(errs, sweep(r.dir, func(name string) bool { return live[name] }))
	r.swept = true
	return errors.Join(errs...)
}

// sweep removes rollups, whole or not, that are not wanted.
func sweep(dir string, wanted func(name string) bool) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep rollups: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if name := e.Name(); strings.HasPrefix(name, rollup.PartPrefix) || strings.HasSuffix(name, rollupSuffix) && !wanted(name) {
			errs = append(errs, os.Remove(filepath.Join(dir, name)))
		}
	}
	return errors.Join(errs...)
}

// discard removes a rollup that cannot be read, so that it is made anew.
func (r *rollups) discard(bad *rollup.File) error {
	r.state = nil
	delete(r.open, bad.Source.Path)
	if err := os.Remove(r.path(bad.Source.Path)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return errors.Join(err, bad.Close())
	}
	return bad.Close()
}

// close lets go of everything that is held in memory.
func (r *rollups) close() error {
	var errs []error
	for _, f := range r.open {
		errs = append(errs, f.Close())
	}
	*r = rollups{dir: r.dir, make: r.make, open: map[string]*rollup.File{}}
	return errors.Join(errs...)
}
