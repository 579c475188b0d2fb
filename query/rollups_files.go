package query

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"mailwake/engine/rollup"
)

// filesOf opens the rollups of data files, and makes those that are not there,
// unless that would take long.
func (s *store) filesOf(ctx context.Context, paths []string) ([]*rollup.File, error) {
	r := &s.rollups
	files := make([]*rollup.File, len(paths))
	var missing []int
	var bytes int64
	for i, path := range paths {
		f, ok := r.open[path]
		if !ok {
			source, err := sourceOf(path)
			if err != nil {
				return nil, fmt.Errorf("rollup: %w", err)
			}
			f, err = rollup.Open(source.In(r.dir), source)
			if toBeMade(err) {
				missing = append(missing, i)
				bytes += source.Bytes
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("rollup: %w", err)
			}
			r.open[path] = f
		}
		files[i] = f
	}
	if bytes > r.most.makeBytes {
		return nil, errBehind
	}
	for _, i := range missing {
		f, err := r.openOrMake(ctx, s.duck, paths[i])
		if err != nil {
			return nil, fmt.Errorf("rollup: %w", err)
		}
		files[i], r.open[paths[i]] = f, f
	}
	return files, nil
}

func sourceOf(path string) (rollup.Source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return rollup.Source{}, err
	}
	return rollup.Source{Path: path, Bytes: info.Size()}, nil
}

// toBeMade says of an error of rollup.Open that the rollup must be made.
func toBeMade(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, rollup.ErrDamaged)
}

// openOrMake may be called without the turn. Somebody else who makes the same
// rollup already is waited for.
func (r *rollups) openOrMake(ctx context.Context, duck *sql.DB, path string) (*rollup.File, error) {
	source, err := sourceOf(path)
	if err != nil {
		return nil, err
	}
	f, err := rollup.Open(source.In(r.dir), source)
	if !toBeMade(err) {
		return f, err
	}
	_, err, _ = r.make.Do(path, func() (any, error) { return nil, makeRollup(ctx, duck, source, r.dir) })
	if err != nil {
		return nil, err
	}
	return rollup.Open(source.In(r.dir), source)
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
		live[filepath.Base(f.Source.Path)+rollup.Suffix] = true
	}
	var errs []error
	for path, f := range r.open {
		if !live[filepath.Base(path)+rollup.Suffix] {
			errs = append(errs, f.Close())
			delete(r.open, path)
		}
	}
	if r.coming == 0 {
		errs = append(errs, sweep(r.dir, func(name string) bool { return live[name] }))
		r.swept = true
	}
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
		if name := e.Name(); strings.HasPrefix(name, rollup.PartPrefix) || strings.HasSuffix(name, rollup.Suffix) && !wanted(name) {
			errs = append(errs, os.Remove(filepath.Join(dir, name)))
		}
	}
	return errors.Join(errs...)
}

// discard removes a rollup that cannot be read, so that it is made anew.
func (r *rollups) discard(bad *rollup.File) error {
	r.state = nil
	delete(r.open, bad.Source.Path)
	if err := os.Remove(bad.Source.In(r.dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
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
	*r = rollups{dir: r.dir, make: r.make, most: r.most, coming: r.coming, open: map[string]*rollup.File{}}
	return errors.Join(errs...)
}
