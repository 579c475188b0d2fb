package wal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/hashicorp/raft-wal/types"
)

// files passes everything on to a VFS. It knows which files are open, because
// raft-wal forgets those of an Open that fails half-way; it tells errors of fsync
// from others; and it deletes later: raft-wal does so while nobody can append, which
// takes a tenth of a second for a segment, and only logs errors.
type files struct {
	vfs types.VFS

	mu struct {
		sync.Mutex
		open map[io.Closer]struct{}
		gone []goneFile
	}
}

// goneFile is a file that raft-wal has deleted and remove has not.
type goneFile struct{ dir, name string }

func newFiles(vfs types.VFS) *files {
	f := &files{vfs: vfs}
	f.mu.open = make(map[io.Closer]struct{})
	return f
}

func (f *files) ListDir(dir string) ([]string, error) { return f.vfs.ListDir(dir) }

func (f *files) Create(dir, name string, size uint64) (types.WritableFile, error) {
	return f.writer(f.vfs.Create(dir, name, size))
}

func (f *files) OpenWriter(dir, name string) (types.WritableFile, error) {
	return f.writer(f.vfs.OpenWriter(dir, name))
}

func (f *files) OpenReader(dir, name string) (types.ReadableFile, error) {
	r, err := f.vfs.OpenReader(dir, name)
	if err != nil {
		return nil, err
	}
	f.opened(r)
	return &readFile{r, f}, nil
}

func (f *files) Delete(dir, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.gone = append(f.mu.gone, goneFile{dir, name})
	return nil
}

// remove does what Delete was asked for. What fails is tried again the next time.
func (f *files) remove() error {
	f.mu.Lock()
	gone := f.mu.gone
	f.mu.gone = nil
	f.mu.Unlock()
	var failed error
	for _, g := range gone {
		if err := f.vfs.Delete(g.dir, g.name); err != nil && !errors.Is(err, os.ErrNotExist) {
			failed = errors.Join(failed, err)
			_ = f.Delete(g.dir, g.name)
		}
	}
	if failed != nil {
		return fmt.Errorf("segment file could not be deleted: %w", failed)
	}
	return nil
}

func (f *files) writer(w types.WritableFile, err error) (types.WritableFile, error) {
	if err != nil {
		return nil, err
	}
	f.opened(w)
	return &writeFile{w, f}, nil
}

func (f *files) opened(c io.Closer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.open[c] = struct{}{}
}

// close closes c unless that has been done.
func (f *files) close(c io.Closer) error {
	f.mu.Lock()
	_, open := f.mu.open[c]
	delete(f.mu.open, c)
	f.mu.Unlock()
	if !open {
		return nil
	}
	return c.Close()
}

// closeAll closes what is still open.
func (f *files) closeAll() error {
	f.mu.Lock()
	open := f.mu.open
	f.mu.open = make(map[io.Closer]struct{})
	f.mu.Unlock()
	var err error
	for c := range open {
		err = errors.Join(err, c.Close())
	}
	return err
}

type readFile struct {
	types.ReadableFile
	files *files
}

func (r *readFile) Close() error { return r.files.close(r.ReadableFile) }

type writeFile struct {
	types.WritableFile
	files *files
}

func (w *writeFile) Close() error { return w.files.close(w.WritableFile) }

func (w *writeFile) Sync() error {
	if err := w.WritableFile.Sync(); err != nil {
		return &syncError{err}
	}
	return nil
}
