package lake

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"mailwake/engine/blob"
)

// partPrefix begins the names of copies that are not complete.
const partPrefix = ".part-"

// cache holds copies of remote blobs as files below dir, under their keys.
//
//	unchecked ──get: check──▶ ready ──get──▶ pinned ──release──▶ ready ──over the limit──▶ gone
//	    │ damaged                ▲
//	    └──────▶ absent ──get: fetch, check, rename
//
// A copy is used only after its size and checksum were found right by this
// process, or were worked out while it was made for this process, so nothing needs
// to be synced: what a crash spoils is fetched again.
type cache struct {
	dir   string
	limit int64 // bytes; files in use may exceed it

	mu struct {
		sync.Mutex
		entries map[string]*list.Element // key -> *entry
		recent  *list.List               // of *entry, last used first
		bytes   int64
	}
}

type entry struct {
	key   string
	size  int64         // on disk; 0 while absent
	pins  int           // gets that are not released
	ready bool          // checked by this process
	busy  chan struct{} // closed when the one who checks or fetches is done
}

// openCache takes over the copies that an earlier process left, oldest first to
// go, and removes incomplete ones.
func openCache(dir string, limit int64) (*cache, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	c := &cache{dir: dir, limit: limit}
	c.mu.entries, c.mu.recent = map[string]*list.Element{}, list.New()
	type found struct {
		entry
		modified time.Time
	}
	var copies []found
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || !d.Type().IsRegular():
			return err
		case strings.HasPrefix(d.Name(), partPrefix):
			return os.Remove(path)
		case !strings.HasSuffix(d.Name(), dataSuffix):
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		copies = append(copies, found{entry{key: filepath.ToSlash(rel), size: info.Size()}, info.ModTime()})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	slices.SortFunc(copies, func(a, b found) int { return cmp.Or(a.modified.Compare(b.modified), cmp.Compare(a.key, b.key)) })
	for _, f := range copies {
		c.mu.entries[f.key] = c.mu.recent.PushFront(&f.entry)
		c.mu.bytes += f.size
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.evictLocked(0)
	return c, nil
}

func (c *cache) path(key string) string { return filepath.Join(c.dir, filepath.FromSlash(key)) }

// get returns the path of a right copy of f, fetching it when needed, once for
// all who ask at the same time. The copy stays until release.
func (c *cache) get(ctx context.Context, s blob.Store, f File) (path string, release func(), err error) {
	if err := blob.CheckKey(f.Path); err != nil {
		return "", nil, err
	}
	for {
		e, mine, wait := c.acquire(f.Path)
		if wait != nil {
			select {
			case <-wait:
				continue // ready, or ours to fill if the other one failed
			case <-ctx.Done():
				return "", nil, ctx.Err()
			}
		}
		if mine {
			if err := c.fill(ctx, s, f, e); err != nil {
				return "", nil, fmt.Errorf("cache data file: %w", err)
			}
		}
		return c.path(f.Path), sync.OnceFunc(func() { c.release(e) }), nil
	}
}

// acquire pins the entry of key. It comes back ready, or it is the caller's to
// fill (mine); or somebody else is filling it, and wait says until when.
func (c *cache) acquire(key string) (e *entry, mine bool, wait <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.mu.entries[key]
	if !ok {
		el = c.mu.recent.PushFront(&entry{key: key})
		c.mu.entries[key] = el
	}
	e = el.Value.(*entry)
	if e.busy != nil {
		return nil, false, e.busy
	}
	c.mu.recent.MoveToFront(el)
	e.pins++
	if info, err := os.Stat(c.path(key)); err != nil || info.Size() != e.size {
		e.ready = false // somebody cleared the folder
	}
	if !e.ready {
		e.busy = make(chan struct{})
	}
	return e, !e.ready, nil
}

func (c *cache) release(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.pins--
	c.evictLocked(0)
}

// fill makes e ready or takes it out of the cache.
func (c *cache) fill(ctx context.Context, s blob.Store, f File, e *entry) error {
	err := c.checkCopy(f)
	if err != nil {
		c.mu.Lock()
		c.mu.bytes -= e.size
		e.size = 0
		c.evictLocked(f.Bytes)
		c.mu.Unlock()
		err = c.fetch(ctx, s, f)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	close(e.busy)
	e.busy = nil
	if err != nil {
		c.dropLocked(e)
		return err
	}
	c.mu.bytes += f.Bytes - e.size
	e.ready, e.size = true, f.Bytes
	return nil
}

// checkCopy reports whether the copy of f is there and right.
func (c *cache) checkCopy(f File) error {
	file, err := os.Open(c.path(f.Path)) //nolint:gosec // a checked key below the cache folder
	if err != nil {
		return err
	}
	return errors.Join(checkBytes(f, file, io.Discard), file.Close())
}

// fetch copies the blob of f to its place.
func (c *cache) fetch(ctx context.Context, s blob.Store, f File) error {
	body, err := s.Get(ctx, f.Path, 0, -1)
	if err != nil {
		return err
	}
	return errors.Join(c.write(f, body), body.Close())
}

// write stores r as the copy of f if it is what f says.
func (c *cache) write(f File, r io.Reader) (err error) {
	folder := filepath.Dir(c.path(f.Path))
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	part, err := os.CreateTemp(folder, partPrefix)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(part.Name()))
		}
	}()
	if err := errors.Join(checkBytes(f, r, part), part.Close()); err != nil {
		return err
	}
	return os.Rename(part.Name(), c.path(f.Path))
}

// put keeps a copy of a blob that was just written. That it does not work out,
// for want of space say, is no reason to fail the write: get fetches it then,
// and reports what is wrong.
func (c *cache) put(f File, data io.ReadSeeker) {
	e, mine, wait := c.acquire(f.Path)
	if wait != nil {
		return // somebody fetches it already
	}
	defer c.release(e)
	if !mine {
		return
	}
	c.mu.Lock()
	c.evictLocked(f.Bytes)
	c.mu.Unlock()
	err := c.keep(f, data)
	c.mu.Lock()
	defer c.mu.Unlock()
	close(e.busy)
	e.busy = nil
	if err == nil {
		c.mu.bytes += f.Bytes - e.size
		e.ready, e.size = true, f.Bytes
	}
}

// keep makes data the copy of f: a file that was made for it is moved.
func (c *cache) keep(f File, data io.ReadSeeker) error {
	if made, ok := data.(*os.File); ok && filepath.Dir(made.Name()) == filepath.Clean(c.dir) {
		if err := os.MkdirAll(filepath.Dir(c.path(f.Path)), 0o750); err != nil {
			return err
		}
		return os.Rename(made.Name(), c.path(f.Path))
	}
	if _, err := data.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return c.write(f, data)
}

// evictLocked removes the copies used longest ago until need more bytes fit.
func (c *cache) evictLocked(need int64) {
	for el := c.mu.recent.Back(); el != nil && c.mu.bytes+need > c.limit; {
		e := el.Value.(*entry)
		el = el.Prev()
		if e.pins == 0 && e.busy == nil {
			c.dropLocked(e)
		}
	}
}

// dropLocked forgets e and removes its copy. A copy that cannot be removed is
// found again by the next openCache.
func (c *cache) dropLocked(e *entry) {
	c.mu.recent.Remove(c.mu.entries[e.key])
	delete(c.mu.entries, e.key)
	c.mu.bytes -= e.size
	_ = os.Remove(c.path(e.key))
}

// forget removes the copy of key unless somebody is using it; such a copy goes
// with the next openCache or when space is needed.
func (c *cache) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.mu.entries[key]; ok {
		if e := el.Value.(*entry); e.pins == 0 && e.busy == nil {
			c.dropLocked(e)
		}
	}
}
