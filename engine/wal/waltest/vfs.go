package waltest

import (
	"io/fs"
	"path"
	"strings"
	"syscall"

	"github.com/hashicorp/raft-wal/types"
)

// begin counts op and takes the lock; the caller has to unlock also on an error.
func (d *Disk) begin(op Op) error {
	d.mu.Lock()
	inject := d.mu.inject
	if d.mu.off {
		return ErrPowerOff
	}
	if inject != nil {
		d.mu.Unlock()
		err := inject(op)
		d.mu.Lock()
		if err != nil {
			return err
		}
	}
	if d.mu.off {
		return ErrPowerOff
	}
	if d.mu.fuse > 0 {
		if d.mu.fuse--; d.mu.fuse == 0 {
			d.mu.off = true
		}
	}
	return nil
}

// ListDir implements types.VFS.
func (d *Disk) ListDir(dir string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.off {
		return nil, ErrPowerOff
	}
	var names []string
	for _, name := range d.namesLocked() {
		if rest, ok := strings.CutPrefix(name, path.Clean(dir)+"/"); ok {
			names = append(names, rest)
		}
	}
	return names, nil
}

// Create implements types.VFS. When space runs out, an empty file is left, as an
// operating system does.
func (d *Disk) Create(dir, name string, size uint64) (types.WritableFile, error) {
	name = path.Join(dir, name)
	err := d.begin(Op{Create, name, int64(size)})
	defer d.mu.Unlock()
	if err != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: err}
	}
	if d.mu.files[name] != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	f := &inode{}
	d.mu.files[name] = f
	if d.mu.off {
		return nil, &fs.PathError{Op: "create", Path: name, Err: ErrPowerOff}
	}
	if d.mu.capacity > 0 && d.usedLocked()+int64(size) > d.mu.capacity {
		return nil, &fs.PathError{Op: "fallocate", Path: name, Err: syscall.ENOSPC}
	}
	f.now, f.durable = make([]byte, size), make([]byte, size)
	return &handle{disk: d, file: f, name: name, creator: true}, nil
}

// Delete implements types.VFS; it is durable when it returns.
func (d *Disk) Delete(dir, name string) error {
	name = path.Join(dir, name)
	err := d.begin(Op{Delete, name, 0})
	defer d.mu.Unlock()
	switch {
	case err != nil:
	case d.mu.files[name] == nil:
		err = fs.ErrNotExist
	case d.mu.off:
		err = ErrPowerOff
	default:
		delete(d.mu.files, name)
		return nil
	}
	return &fs.PathError{Op: "remove", Path: name, Err: err}
}

// OpenReader implements types.VFS.
func (d *Disk) OpenReader(dir, name string) (types.ReadableFile, error) {
	return d.open(path.Join(dir, name))
}

// OpenWriter implements types.VFS.
func (d *Disk) OpenWriter(dir, name string) (types.WritableFile, error) {
	h, err := d.open(path.Join(dir, name))
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	h.file.sync()
	h.file.linked = true
	return h, nil
}

func (d *Disk) open(name string) (*handle, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.off {
		return nil, &fs.PathError{Op: "open", Path: name, Err: ErrPowerOff}
	}
	f := d.mu.files[name]
	if f == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &handle{disk: d, file: f, name: name}, nil
}
