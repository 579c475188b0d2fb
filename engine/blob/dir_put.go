package blob

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
)

// Put implements Store. With ifAbsent the file system must know hard links.
func (d *DirStore) Put(ctx context.Context, key string, r io.ReadSeeker, ifAbsent bool) (err error) {
	defer func() { err = describe("put", key, err) }()
	if err := errors.Join(CheckKey(key), ctx.Err()); err != nil {
		return err
	}
	if f, ok := r.(*os.File); ok && filepath.Dir(f.Name()) == d.draftFolder() {
		return d.take(f, key, ifAbsent)
	}
	temp := path.Join(tempFolder, rand.Text())
	if err := d.writeTemp(ctx, temp, r); err != nil {
		return err
	}
	err = d.publish(temp, key, ifAbsent)
	// A rename took it away; otherwise removeAbandoned gets what stays behind,
	// which is no reason to call a finished Put failed.
	_ = d.root.Remove(temp)
	return err
}

// take makes a draft readable as key without copying it. With ifAbsent it stays
// where it is too, so that the Put can be tried again.
func (d *DirStore) take(f *os.File, key string, ifAbsent bool) error {
	if err := errors.Join(f.Chmod(0o640), f.Sync()); err != nil {
		return err
	}
	return d.publish(path.Join(tempFolder, filepath.Base(f.Name())), key, ifAbsent)
}

// writeTemp stores r durably under a name of its own, or not at all.
func (d *DirStore) writeTemp(ctx context.Context, temp string, r io.ReadSeeker) (err error) {
	size, err := rewind(r)
	if err != nil {
		return err
	}
	f, err := d.root.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			err = errors.Join(err, d.root.Remove(temp))
		}
	}()
	if err := copyBody(ctx, f, r, size); err != nil {
		return err
	}
	return f.Sync()
}

// publish makes the finished file temp readable as key. ErrExists, too, is
// durable: the folder is synced before it is returned.
func (d *DirStore) publish(temp, key string, ifAbsent bool) error {
	d.folders.RLock()
	defer d.folders.RUnlock()
	folder := path.Dir(key)
	if err := d.makeFolder(folder); err != nil {
		return err
	}
	var err error
	if ifAbsent {
		err = d.root.Link(temp, key)
	} else {
		err = d.root.Rename(temp, key)
	}
	switch {
	case err == nil:
		return d.sync(folder)
	case ifAbsent && errors.Is(err, fs.ErrExist):
		return errors.Join(ErrExists, d.sync(folder))
	default:
		return err
	}
}

// makeFolder creates folder and those above it and makes their entries
// durable. Whoever created a folder may have crashed before syncing it, so each
// folder is synced once per process even if it is there.
func (d *DirStore) makeFolder(folder string) error {
	if folder == "." {
		return nil
	}
	if _, ok := d.folders.synced.Load(folder); ok {
		return nil
	}
	parent := path.Dir(folder)
	if err := d.makeFolder(parent); err != nil {
		return err
	}
	if err := d.root.Mkdir(folder, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := d.sync(parent); err != nil {
		return err
	}
	d.folders.synced.Store(folder, struct{}{})
	return nil
}

func (d *DirStore) sync(folder string) error {
	f, err := d.root.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Delete implements Store. It also removes the folders that become empty, so
// that nothing is left of an organisation that is gone.
func (d *DirStore) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := CheckKey(key); err != nil {
			return err
		}
	}
	changed := map[string]struct{}{}
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("delete %d keys: %w", len(keys), err)
		}
		removed, err := d.remove(key)
		if err != nil {
			return describe("delete", key, err)
		}
		if removed {
			changed[path.Dir(key)] = struct{}{}
		}
	}
	for folder := range changed {
		if err := d.prune(folder); err != nil {
			return describe("delete in", folder, err)
		}
	}
	return nil
}

// remove deletes one object. A folder is not an object, whatever its name.
func (d *DirStore) remove(key string) (bool, error) {
	info, err := d.root.Lstat(key)
	if err == nil && info.IsDir() {
		return false, nil
	}
	if err == nil {
		err = d.root.Remove(key)
	}
	if errors.Is(notFound(err), ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// prune removes folder and those above it as long as they are empty, and makes
// durable what was removed from the first one that is not.
func (d *DirStore) prune(folder string) error {
	d.folders.Lock()
	defer d.folders.Unlock()
	for ; folder != "."; folder = path.Dir(folder) {
		err := d.root.Remove(folder)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, fs.ErrExist) {
				break
			}
			return err
		}
		d.folders.synced.Delete(folder)
	}
	return d.sync(folder)
}
