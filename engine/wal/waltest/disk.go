// Package waltest has a disk in memory that loses power, for tests of the log and
// of what stands on it.
//
// A Disk is a types.VFS for wal.Options. What was written but not fsynced may be
// lost, in part or whole, when Crash takes the disk to its next life:
//
//	disk := waltest.NewDisk()
//	log, err := wal.Open(wal.Options{Dir: "wal", VFS: disk})
//	…
//	disk = disk.Crash(rng) // calls on the old disk fail from now on
//
// It writes like a real disk: 512-byte sectors are written whole or not at all,
// or, harsher, a write is cut off at any multiple of 8 bytes. The entry of a new
// file is durable after the first Sync of the handle that created it, or once it
// is opened for writing again, as the log's own files are.
package waltest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
)

// ErrPowerOff is returned by all calls on a disk that has lost power.
var ErrPowerOff = errors.New("waltest: power is off")

// Kind says what a call does.
type Kind uint8

// The kinds of calls that PowerOff counts and Inject sees.
const (
	KindInvalid Kind = iota
	Create
	Write
	Sync
	Delete
)

// Op is one call that changes the disk. Size is the bytes of a Create or Write.
type Op struct {
	Kind Kind
	Name string
	Size int64
}

// Disk is a file system without folders: a file is named by its path. All methods
// may be called concurrently.
type Disk struct {
	mu struct {
		sync.Mutex
		files    map[string]*inode
		capacity int64 // 0 is unlimited
		inject   func(Op) error
		off      bool
		fuse     int // calls until power goes off, 0 never
		syncs    int
	}
}

// NewDisk returns an empty disk.
func NewDisk() *Disk {
	d := new(Disk)
	d.mu.files = make(map[string]*inode)
	return d
}

// SetCapacity limits the sum of all file sizes; a Create or Write beyond it stores
// what fits and returns ENOSPC. 0 lifts the limit. SetCapacity(d.Used()) makes the
// disk full.
func (d *Disk) SetCapacity(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.capacity = bytes
}

// Used returns the sum of all file sizes.
func (d *Disk) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.usedLocked()
}

func (d *Disk) usedLocked() (n int64) {
	for _, f := range d.mu.files {
		n += int64(len(f.now))
	}
	return n
}

// Inject has fn asked before every call that changes the disk; its error is
// returned instead. A Write that fails this way has stored half of its bytes. A
// Sync has stored nothing, and as with real kernels the next one succeeds without
// making up for it: what was written before can still be read, but not after a
// Crash, unless it is written again. fn may block, and is called without any lock. nil ends it.
func (d *Disk) Inject(fn func(Op) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.inject = fn
}

// PowerOff turns the disk off in the middle of the n-th call from now, counting
// only calls that change it; n = 0 does so at once.
func (d *Disk) PowerOff(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n <= 0 {
		d.mu.off = true
	}
	d.mu.fuse = n
}

// Syncs counts the calls of Sync that succeeded.
func (d *Disk) Syncs() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.syncs
}

// Crash turns the disk off and returns what is on it afterwards: everything that
// was fsynced, and of the rest what rng decides. Capacity and Inject are not taken
// over.
func (d *Disk) Crash(rng *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.off = true
	after := NewDisk()
	for _, name := range d.namesLocked() {
		if f := d.mu.files[name].crash(rng); f != nil {
			after.mu.files[name] = f
		}
	}
	return after
}

// Clone returns a copy of the disk as its users see it, everything fsynced.
func (d *Disk) Clone() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := NewDisk()
	for name, f := range d.mu.files {
		c.mu.files[name] = &inode{now: slices.Clone(f.now), durable: slices.Clone(f.now), linked: true}
	}
	return c
}

// Names lists the paths of all files.
func (d *Disk) Names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.namesLocked()
}

func (d *Disk) namesLocked() []string {
	names := make([]string, 0, len(d.mu.files))
	for name := range d.mu.files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Bytes returns a copy of a file's content, nil if there is none of that name.
func (d *Disk) Bytes(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.mu.files[name]; f != nil {
		return slices.Clone(f.now)
	}
	return nil
}

// SetBytes replaces a file's content, durably; nil removes the file. It is how a
// test damages one.
func (d *Disk) SetBytes(name string, b []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if b == nil {
		delete(d.mu.files, name)
		return
	}
	d.mu.files[name] = &inode{now: slices.Clone(b), durable: slices.Clone(b), linked: true}
}

// String names the disk's files and their sizes, for failure messages.
func (d *Disk) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var b strings.Builder
	for _, name := range d.namesLocked() {
		f := d.mu.files[name]
		fmt.Fprintf(&b, "%s %d bytes, %d unsynced writes, linked %v\n", name, len(f.now), len(f.pending), f.linked)
	}
	return b.String()
}
