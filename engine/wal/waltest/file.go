package waltest

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"syscall"
)

const (
	sector = 512
	word   = 8
)

// inode is a file: what its users see, and what is certain to survive.
type inode struct {
	now     []byte
	durable []byte
	pending []write // since the last Sync, in order
	linked  bool    // the entry in the folder is durable
}

type write struct {
	off  int64
	data []byte
}

func (f *inode) write(off int64, data []byte) {
	f.now = overwrite(f.now, off, data)
	f.pending = append(f.pending, write{off, slices.Clone(data)})
}

func (f *inode) sync() {
	for _, w := range f.pending {
		f.durable = overwrite(f.durable, w.off, w.data)
	}
	f.pending = nil
}

func overwrite(b []byte, off int64, data []byte) []byte {
	if end := int(off) + len(data); end > len(b) {
		b = append(b, make([]byte, end-len(b))...)
	}
	copy(b[off:], data)
	return b
}

// crash returns the file after a loss of power, nil when its entry is gone.
func (f *inode) crash(rng *rand.Rand) *inode {
	if !f.linked && rng.IntN(2) == 0 {
		return nil
	}
	b := slices.Clone(f.durable)
	switch rng.IntN(4) {
	case 0: // nothing of it
	case 1: // all of it
		for _, w := range f.pending {
			b = overwrite(b, w.off, w.data)
		}
	case 2: // a prefix
		keep := rng.IntN(len(f.pending) + 1)
		for i, w := range f.pending[:keep] {
			if i == keep-1 {
				w.data = w.data[:rng.IntN(len(w.data)+1)/word*word]
			}
			b = overwrite(b, w.off, w.data)
		}
	case 3: // any of its sectors
		for _, w := range f.pending {
			b = someSectors(rng, b, w)
		}
	}
	return &inode{now: b, durable: slices.Clone(b), linked: true}
}

func someSectors(rng *rand.Rand, b []byte, w write) []byte {
	for off, data := w.off, w.data; len(data) > 0; {
		n := min(sector-int(off%sector), len(data))
		if rng.IntN(2) == 0 {
			b = overwrite(b, off, data[:n])
		}
		off, data = off+int64(n), data[n:]
	}
	return b
}

// handle is an open file.
type handle struct {
	disk    *Disk
	file    *inode
	name    string
	creator bool
	closed  bool
}

func (h *handle) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: h.name, Err: err}
}

func (h *handle) ReadAt(p []byte, off int64) (int, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	switch {
	case h.closed:
		return 0, h.fail("read", fs.ErrClosed)
	case h.disk.mu.off:
		return 0, h.fail("read", ErrPowerOff)
	case off >= int64(len(h.file.now)):
		return 0, io.EOF
	}
	n := copy(p, h.file.now[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) WriteAt(p []byte, off int64) (int, error) {
	err := h.disk.begin(Op{Write, h.name, int64(len(p))})
	defer h.disk.mu.Unlock()
	if h.closed {
		return 0, h.fail("write", fs.ErrClosed)
	}
	if err != nil {
		if !h.disk.mu.off {
			h.file.write(off, p[:len(p)/2])
		}
		return 0, h.fail("write", err)
	}
	if h.disk.mu.off {
		h.file.write(off, p)
		return 0, h.fail("write", ErrPowerOff)
	}
	fits := len(p)
	if grows := off + int64(len(p)) - int64(len(h.file.now)); h.disk.mu.capacity > 0 && grows > 0 {
		if over := h.disk.usedLocked() + grows - h.disk.mu.capacity; over > 0 {
			fits = max(0, len(p)-int(over))
		}
	}
	h.file.write(off, p[:fits])
	if fits < len(p) {
		return fits, h.fail("write", syscall.ENOSPC)
	}
	return fits, nil
}

func (h *handle) Sync() error {
	err := h.disk.begin(Op{Sync, h.name, 0})
	defer h.disk.mu.Unlock()
	if h.closed {
		return h.fail("sync", fs.ErrClosed)
	}
	if err == nil && h.disk.mu.off {
		err = ErrPowerOff
	}
	if err != nil {
		if !h.disk.mu.off {
			h.file.pending = nil
		}
		return h.fail("sync", err)
	}
	h.disk.mu.syncs++
	h.file.sync()
	if h.creator {
		h.file.linked = true
	}
	return nil
}

func (h *handle) Close() error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if h.closed {
		return h.fail("close", fs.ErrClosed)
	}
	h.closed = true
	return nil
}
