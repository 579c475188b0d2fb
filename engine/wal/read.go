package wal

import (
	"fmt"
	"iter"
	"time"

	"github.com/hashicorp/raft"
)

// Record is one group as it was stored.
type Record struct {
	LSN LSN
	// Written is when the group was sealed, by this machine's clock.
	Written time.Time
	// Frames holds the group's records (see Frames). It is valid until the loop
	// asks for the next Record.
	Frames []byte
}

// Read yields the groups from LSN from on, in order, up to the last one that is
// durable when the loop gets there. Groups that are truncated before the loop
// reaches them are left out. After an error it stops; damage is a *CorruptError.
// Appends, truncations and other readers may go on meanwhile.
func (l *Log) Read(from LSN) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		var entry raft.Log // its Data is reused from group to group
		for next := from; ; next++ {
			rec, err := l.fetch(&next, &entry)
			if err != nil {
				yield(Record{}, fmt.Errorf("read group %d: %w", next, err))
				return
			}
			if rec.LSN == 0 || !yield(rec, nil) {
				return
			}
		}
	}
}

// fetch reads group *next, or the oldest one after it when that is truncated. It
// returns a zero Record at the end of the log.
func (l *Log) fetch(next *LSN, entry *raft.Log) (Record, error) {
	l.state.RLock()
	defer l.state.RUnlock()
	l.mu.Lock()
	first, last, closed := l.mu.first, l.mu.last, l.mu.closed
	l.mu.Unlock()
	if closed {
		return Record{}, ErrClosed
	}
	*next = max(*next, first)
	if last == 0 || *next > last {
		return Record{}, nil
	}
	h, frames, err := l.state.store.read(*next, entry)
	if err != nil {
		return Record{}, err
	}
	return Record{LSN: *next, Written: time.UnixMicro(h.written), Frames: frames}, nil
}

// Truncate drops all groups up to and including upTo, durably. The last group is
// never dropped, so that its number is known after a restart, but no longer counts
// in Size. Disk space is freed as whole segments become empty. On an error nothing
// has been dropped, or only files that are no longer used are left behind, which
// the next Open removes.
func (l *Log) Truncate(upTo LSN) error {
	files, err := l.truncate(upTo)
	if err != nil {
		return err
	}
	return files.remove() // takes its time, and holds nobody up
}

// truncate is Truncate but for the files that are no longer used: they are to be
// removed from what it returns.
func (l *Log) truncate(upTo LSN) (*files, error) {
	l.state.Lock()
	defer l.state.Unlock()
	l.mu.Lock()
	first, last, closed := l.mu.first, l.mu.last, l.mu.closed
	l.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	upTo = min(upTo, last)
	if drop := min(upTo, last-min(last, 1)); first > 0 && drop >= first {
		if err := l.state.store.truncate(first, drop); err != nil {
			return nil, fmt.Errorf("truncate log up to group %d: %w", drop, err)
		}
		first = drop + 1
	}
	l.forget(first, upTo)
	return l.state.store.files, nil
}

// forget takes the groups up to upTo out of the books; those from first on stay
// readable.
func (l *Log) forget(first, upTo LSN) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.mu.sizes {
		if l.mu.first+LSN(i) > upTo {
			break
		}
		l.mu.size -= int64(l.mu.sizes[i])
		l.mu.sizes[i] = 0
	}
	gone := int(first - l.mu.first)
	l.mu.first = first
	l.mu.sizes = l.mu.sizes[gone:]
}
