package wal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/types"
)

// osFiles are the operating system's files. raft-wal's own version fsyncs the
// folder only through the handle that created a file: when the process ends
// before the first write, the entry of that file would never be made durable.
type osFiles struct {
	*fs.FS
	syncer *syncer
}

func newOSFiles() *osFiles { return &osFiles{fs.New(), new(syncer)} }

// Create implements types.VFS. The first Sync of the file is raft-wal's, which
// covers all that the file system knows of the file, and the folder.
func (o *osFiles) Create(dir, name string, size uint64) (types.WritableFile, error) {
	w, err := o.FS.Create(dir, name, size)
	if err != nil {
		return nil, err
	}
	created, ok := w.(*fs.File)
	if !ok {
		return nil, errors.Join(fmt.Errorf("create %s: file is a %T", name, w), w.Close())
	}
	return &osFile{File: &created.File, syncer: o.syncer, first: created.Sync}, nil
}

// OpenWriter implements types.VFS.
func (o *osFiles) OpenWriter(dir, name string) (types.WritableFile, error) {
	w, err := o.FS.OpenWriter(dir, name)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(w.Sync(), syncDir(dir)); err != nil {
		return nil, errors.Join(&syncError{err}, w.Close())
	}
	f, ok := w.(*os.File)
	if !ok {
		return nil, errors.Join(fmt.Errorf("open %s: file is a %T", name, w), w.Close())
	}
	return &osFile{File: f, syncer: o.syncer}, nil
}

// Deleted files shrink by shrinkStep every shrinkPause before they go: a file system
// with the option discard tells the disk of freed space when it next makes something
// durable, and 64 MiB at once made an fdatasync wait for 9 to 24 ms, these for less
// than 3.
const (
	shrinkStep  = 4 << 20
	shrinkPause = 5 * time.Millisecond
)

// Delete implements types.VFS.
func (o *osFiles) Delete(dir, name string) error {
	if f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0); err == nil {
		shrink(f)
		_ = f.Close()
	}
	return o.FS.Delete(dir, name)
}

// shrink frees all of f but its first step. It only helps, so it ends at an error.
func shrink(f *os.File) {
	info, err := f.Stat()
	if err != nil {
		return
	}
	for size := info.Size() - shrinkStep; size > 0; size -= shrinkStep {
		if f.Truncate(size) != nil || f.Sync() != nil {
			return
		}
		time.Sleep(shrinkPause)
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open log folder: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

func (o *osFiles) close() error { return o.syncer.close() }

// osFile is a file that one caller at a time writes and syncs.
type osFile struct {
	*os.File
	syncer *syncer
	first  func() error // the next Sync, once
	zeroed int64        // where the zeros that WriteAt has written end
}

// zeroAhead is how many bytes of a file are filled with zeros at a time, before they
// are written: ext4 notes in its journal where preallocated space is written for the
// first time, which makes an fdatasync of 4 KiB take 186 instead of 104 µs. Zeros are
// what is there anyway.
const zeroAhead = 1 << 20

var zeros [zeroAhead]byte

// WriteAt implements types.WritableFile. Nothing that matters follows what is written.
func (f *osFile) WriteAt(b []byte, at int64) (int, error) {
	if end := at + int64(len(b)); end > f.zeroed {
		info, err := f.Stat()
		if err != nil {
			return 0, err
		}
		f.zeroed = min((end/zeroAhead+1)*zeroAhead, info.Size())
		if f.zeroed > end {
			if _, err := f.File.WriteAt(zeros[:f.zeroed-end], end); err != nil {
				return 0, err
			}
		}
	}
	return f.File.WriteAt(b, at)
}

// Sync implements types.WritableFile. Times of the file are not made durable, all
// that is needed to read it is.
func (f *osFile) Sync() error {
	if first := f.first; first != nil {
		f.first = nil
		return f.syncer.times.of(first)
	}
	return f.syncer.sync(f.File)
}
