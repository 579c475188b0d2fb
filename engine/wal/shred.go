package wal

import (
	"errors"
	"fmt"
)

// ErrNeeded means that Shred found groups that are not truncated.
var ErrNeeded = errors.New("log holds groups that are still needed")

// Shred removes the bytes of all groups from disk, which Truncate leaves in the
// segment that is being written. It stops the log, calls drain, which must bring
// everything the log holds to safety and Truncate it, and drops all segments. The
// log goes on with the next number; appends wait until Shred is done. With an
// error from drain, or ErrNeeded when it has left a group, the log is as before.
func (l *Log) Shred(drain func() error) error {
	files, err := l.shred(drain)
	if err != nil {
		return err
	}
	return files.remove()
}

// shred is Shred but for the files, which are to be removed from what it returns.
func (l *Log) shred(drain func() error) (*files, error) {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	if err := drain(); err != nil {
		return nil, err
	}
	// raft-wal may be about to seal the newest segment in the background and would
	// seal the one that takes its place instead; a new store has nothing pending.
	if err := l.reopen(); err != nil {
		return nil, err
	}
	l.state.Lock()
	defer l.state.Unlock()
	store := l.state.store
	first, last, err := l.shreddable()
	if err != nil || first == 0 {
		return store.files, err
	}
	if err = store.truncate(first, last); err != nil {
		// The list of segments may be written and the new segment not be there.
		l.broken = true
		err = fmt.Errorf("shred log up to group %d: %w", last, err)
	}
	if segments := l.meta.current().State.Segments; len(segments) > 0 && LSN(segments[0].BaseIndex) > last {
		l.empty(last)
	}
	return store.files, err
}

// shreddable returns the groups there are, first 0 for none, if all are truncated.
func (l *Log) shreddable() (first, last LSN, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		return 0, 0, ErrClosed
	}
	for _, size := range l.mu.sizes {
		if size > 0 {
			return 0, 0, ErrNeeded
		}
	}
	return l.mu.first, l.mu.last, l.mu.err
}

// empty notes that no group is left; the caller has the turn.
func (l *Log) empty(last LSN) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opt.Next = last + 1
	l.mu.first, l.mu.last, l.mu.sizes = 0, 0, nil
}
