package wal

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/raft-wal/types"
)

// LSN is the number of a group: from 1, without gaps, never reused. 0 is none.
type LSN uint64

const (
	defaultLimit = 1 << 30

	// defaultSegment is the preallocated size of a segment file. Space is freed a
	// segment at a time and every new segment costs three extra fsyncs, so it
	// should be a few seconds of full load.
	defaultSegment = 64 << 20
)

// Options configure Open. Only Dir is required.
type Options struct {
	// Dir holds the log's files; it is created when missing. One process at a
	// time may have it open, which the caller ensures.
	Dir string
	// LimitBytes is how many bytes of frames may be held before Append returns
	// ErrFull. Default 1 GiB. It must hold at least one group of the largest call.
	LimitBytes int64
	// Next is the smallest LSN the first group of an empty log may get, and one
	// more than the last group that the storage behind the log already has.
	// Default 1.
	Next LSN
	// OnDurable, when set, gets every group in LSN order, after its fsync and
	// before any Append of it returns. frames are valid during the call only. It
	// runs on a caller of Append and holds up all others: it must be short and
	// must not call Append or Close.
	OnDurable func(lsn LSN, frames []byte)
	// SegmentBytes is the size of a segment file, at most 1 GiB. Default 64 MiB.
	SegmentBytes int
	// VFS replaces the operating system's files, for tests that lose power.
	VFS types.VFS
}

func (o *Options) complete() error {
	if o.LimitBytes == 0 {
		o.LimitBytes = defaultLimit
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegment
	}
	o.Next = max(o.Next, 1)
	if o.Dir == "" || o.LimitBytes < 0 || o.SegmentBytes < 0 || o.SegmentBytes > 1<<30 {
		return fmt.Errorf("log options: dir %q, limit %d bytes, segments of %d bytes", o.Dir, o.LimitBytes, o.SegmentBytes)
	}
	if o.VFS != nil {
		return nil
	}
	if err := os.MkdirAll(o.Dir, 0o750); err != nil {
		return fmt.Errorf("create log folder: %w", err)
	}
	o.VFS = newOSFiles()
	return nil
}

// Log is a durable log of groups of records. All methods may be called
// concurrently.
//
// Locks are taken in this order: turn, state, mu.
type Log struct {
	opt  Options
	meta *meta

	// turn holds one token for the leader that writes; a channel hands it on in
	// the order of arrival.
	turn chan struct{}
	// broken is set, under turn, when raft-wal's writer has seen an error and has
	// to be opened anew before the next write.
	broken bool
	// calls is, under turn, how many callers the last group had; pauser waits for
	// more of them, for gatherTime.
	calls      int
	pauser     pauser
	gatherTime time.Duration

	// state excludes readers while segments are removed or the store is replaced:
	// raft-wal may close a file under a reader that is just about to take it.
	state struct {
		sync.RWMutex
		store *store
	}

	mu struct {
		sync.Mutex
		open      *group // collects callers until its leader has the turn
		gathering *group // whose leader waits for more callers
		free      []*group
		pending   int           // groups between their first caller and their result
		idle      chan struct{} // closed when pending drops to 0 after Close
		closed    bool
		err       error // why the log accepts no more, for good

		first, last LSN
		sizes       []uint32 // frame bytes of groups first..last, 0 once truncated
		size        int64    // sum of sizes, plus what waits to be written
	}
}

// Open recovers the log in o.Dir, or creates it, and checks every group in it.
// Damage to acknowledged data is reported as *CorruptError, a log that ends before o.Next-1 as ErrBehind.
func Open(o Options) (_ *Log, err error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	l := &Log{opt: o, turn: make(chan struct{}, 1), gatherTime: gatherTime}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.closeVFS())
		}
	}()
	meta, err := openMeta(o.VFS, o.Dir)
	if err != nil {
		return nil, err
	}
	l.meta = meta
	s, found, err := openStore(&l.opt, meta, nil)
	if err != nil {
		return nil, errors.Join(err, meta.Close())
	}
	l.state.store = s
	l.mu.first, l.mu.last, l.mu.sizes = found.first, found.last, found.sizes
	for _, n := range found.sizes {
		l.mu.size += int64(n)
	}
	if l.mu.last > 0 && l.mu.last+1 < o.Next {
		err := fmt.Errorf("open log in %s: %w: it ends at group %d, the storage has groups up to %d", o.Dir, ErrBehind, l.mu.last, o.Next-1)
		return nil, errors.Join(err, s.close(), meta.Close())
	}
	return l, nil
}

// First returns the oldest group that can be read, 0 when the log is empty.
func (l *Log) First() LSN {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.first
}

// Last returns the newest durable group, 0 when the log is empty.
func (l *Log) Last() LSN {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.last
}

// Size returns the bytes of frames that count against Options.LimitBytes: those
// of all groups that are not truncated, and of calls in progress. The last group,
// which Truncate keeps for its number, counts until it is truncated, and again
// after Open.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.size
}

// Err returns why the log accepts no more records although it is open, or nil.
// It is set when an fsync failed: whether the group of that call is on disk is
// then unknown until the log is closed and opened again. An error that leaves no
// such doubt, like a full disk, fails its callers only.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.err
}

// Close waits for the calls in progress, notes in the meta files how far the log
// was acknowledged, and closes all files. Further calls return ErrClosed; a second
// Close does nothing.
func (l *Log) Close() error {
	l.mu.Lock()
	again := l.mu.closed
	l.mu.closed = true
	if !again && l.mu.pending > 0 {
		l.mu.idle = make(chan struct{})
	}
	idle, last := l.mu.idle, l.mu.last
	l.mu.Unlock()
	if idle != nil {
		<-idle
	}
	if again {
		return nil
	}
	l.state.Lock()
	defer l.state.Unlock()
	if idle != nil {
		last = l.Last()
	}
	err := l.state.store.close()
	if last > 0 {
		err = errors.Join(err, l.meta.acknowledge(last))
	}
	if err = errors.Join(err, l.meta.Close(), l.pauser.close(), l.closeVFS()); err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	return nil
}

// closeVFS ends what the operating system's files need besides the files.
func (l *Log) closeVFS() error {
	if own, ok := l.opt.VFS.(*osFiles); ok {
		return own.close()
	}
	return nil
}
