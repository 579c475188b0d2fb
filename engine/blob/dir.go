package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// abandonedAfter is the age, since its last write, at which an unfinished
// object belongs to no Put any more. A living Put writes every few
// milliseconds.
const abandonedAfter = time.Hour

// DirStore keeps each object as the file of the same path below one folder.
// The folder is the store's own: other processes may read it, not write it.
// Symbolic links that lead out of it are refused.
//
// An object is written to .tmp, synced, then renamed (or, with ifAbsent,
// linked) to its place, and the folder synced. A crash leaves at most a file
// in .tmp, which List does not show and Dir removes when it is old.
type DirStore struct {
	path string
	root *os.Root
	// folders guards the existence of folders: held for reading while an object
	// moves into one, for writing while empty ones are removed.
	folders struct {
		sync.RWMutex
		synced sync.Map // folder -> struct{}: its entry, and those above, are durable
	}
}

// Dir opens the folder root, creating it when it is missing.
func Dir(root string) (*DirStore, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open blob folder: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(abs, tempFolder), 0o750); err != nil {
		return nil, fmt.Errorf("open blob folder: %w", err)
	}
	r, err := os.OpenRoot(abs)
	if err != nil {
		return nil, fmt.Errorf("open blob folder: %w", err)
	}
	d := &DirStore{path: abs, root: r}
	if err := errors.Join(syncPath(filepath.Dir(abs)), d.removeAbandoned(time.Now())); err != nil {
		return nil, errors.Join(fmt.Errorf("open blob folder: %w", err), r.Close())
	}
	return d, nil
}

func syncPath(dir string) error {
	f, err := os.Open(dir) //nolint:gosec // the operator's own storage folder
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// removeAbandoned deletes what crashed Puts left behind.
func (d *DirStore) removeAbandoned(now time.Time) error {
	entries, err := d.readDir(tempFolder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && now.Sub(info.ModTime()) > abandonedAfter {
			err = d.root.Remove(path.Join(tempFolder, e.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// LocalPath is the file that holds key, for engines that read files
// themselves, and "" for a key that CheckKey refuses, since that could lead out
// of the folder.
func (d *DirStore) LocalPath(key string) string {
	if CheckKey(key) != nil {
		return ""
	}
	return filepath.Join(d.path, filepath.FromSlash(key))
}

// URL implements Store.
func (d *DirStore) URL(key string) string {
	return "file://" + filepath.ToSlash(d.path) + "/" + key
}

// Get implements Store.
func (d *DirStore) Get(ctx context.Context, key string, off, n int64) (_ io.ReadCloser, err error) {
	defer func() { err = describe("get", key, err) }()
	if err := errors.Join(CheckKey(key), checkRange(off), ctx.Err()); err != nil {
		return nil, err
	}
	f, err := d.root.Open(key)
	if err != nil {
		return nil, notFound(err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = ErrNotFound
	}
	if err == nil {
		_, err = f.Seek(off, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	var r io.Reader = f
	if n >= 0 {
		r = io.LimitReader(f, n)
	}
	return &fileRange{ctxReader{ctx, r}, f}, nil
}

type fileRange struct {
	ctxReader
	io.Closer
}

// Stat implements Store.
func (d *DirStore) Stat(ctx context.Context, key string) (_ Info, err error) {
	defer func() { err = describe("stat", key, err) }()
	if err := errors.Join(CheckKey(key), ctx.Err()); err != nil {
		return Info{}, err
	}
	info, err := d.root.Stat(key)
	if err != nil {
		return Info{}, notFound(err)
	}
	if !info.Mode().IsRegular() {
		return Info{}, ErrNotFound
	}
	return Info{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil
}

// List implements Store. It holds the entries of one folder per level.
func (d *DirStore) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		folder := "."
		if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
			folder = prefix[:i]
			if CheckKey(folder) != nil {
				return // no key begins like this
			}
		}
		_, err := d.walk(ctx, folder, prefix, func(i Info) bool { return yield(i, nil) })
		if err != nil {
			yield(Info{}, fmt.Errorf("list %q: %w", prefix, err))
		}
	}
}

// walk yields the objects below folder and reports whether to go on. A folder
// is sorted as if its name ended in a slash, which is where its keys belong:
// "a.b" comes before "a/b" although "a" comes before "a.b".
func (d *DirStore) walk(ctx context.Context, folder, prefix string, yield func(Info) bool) (bool, error) {
	entries, err := d.readDir(folder)
	if err != nil {
		return false, err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(sortName(a), sortName(b)) })
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		key := path.Join(folder, e.Name())
		goOn := true
		switch {
		case key == tempFolder || !strings.HasPrefix(key, prefix) && !strings.HasPrefix(prefix, key+"/"):
		case e.IsDir():
			goOn, err = d.walk(ctx, key, prefix, yield)
		case e.Type().IsRegular() && CheckKey(key) == nil:
			info, errInfo := e.Info()
			if errInfo == nil {
				goOn = yield(Info{Key: key, Size: info.Size(), Modified: info.ModTime()})
			} else if !errors.Is(errInfo, fs.ErrNotExist) {
				err = errInfo
			}
		}
		if err != nil || !goOn {
			return false, err
		}
	}
	return true, nil
}

func sortName(e fs.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}

// readDir returns the entries of folder; a missing folder has none.
func (d *DirStore) readDir(folder string) ([]fs.DirEntry, error) {
	f, err := d.root.Open(folder)
	if err != nil {
		if errors.Is(notFound(err), ErrNotFound) {
			return nil, nil
		}
		return nil, err
	}
	entries, err := f.ReadDir(-1)
	if errors.Is(err, syscall.ENOTDIR) {
		err = nil
	}
	return entries, errors.Join(err, f.Close())
}

// notFound turns the errors of a path that leads nowhere into ErrNotFound. A
// key below another key is such a path.
func notFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return ErrNotFound
	}
	return err
}

// describe adds the act and the key to err.
func describe(act, key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", act, key, err)
}
