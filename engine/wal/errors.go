package wal

import (
	"errors"
	"fmt"
)

var (
	// ErrClosed is returned by every call after Close.
	ErrClosed = errors.New("log is closed")
	// ErrFull means that the log holds Options.LimitBytes which are not truncated
	// yet. Nothing was stored. Append works again after Truncate.
	ErrFull = errors.New("log is full")
	// ErrTooLarge means that one call's records can never fit into a group.
	ErrTooLarge = errors.New("records exceed the size of a group")
	// ErrBehind means that the log ends before Options.Next-1: it is older than
	// the storage it feeds, for example restored from a copy.
	ErrBehind = errors.New("log is older than the storage")
)

// CorruptError says that bytes which were once acknowledged are damaged or gone.
type CorruptError struct {
	// Segment is the path of the damaged file.
	Segment string
	// Offset is the position in bytes of the first structure that is wrong: a
	// frame, or 0 when the file as a whole is missing or unreadable.
	Offset int64
	// LSN is the group that cannot be read, 0 when no single group is meant.
	LSN LSN
	// Reason says what was expected there.
	Reason string
	// Err is the cause reported by the file system, if any.
	Err error
}

func (e *CorruptError) Error() string {
	s := fmt.Sprintf("log is corrupt: %s at offset %d", e.Segment, e.Offset)
	if e.LSN > 0 {
		s += fmt.Sprintf(", group %d", e.LSN)
	}
	s += ": " + e.Reason
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *CorruptError) Unwrap() error { return e.Err }

// syncError marks an error of fsync, after which nobody knows what is on disk.
type syncError struct{ err error }

func (e *syncError) Error() string { return "fsync: " + e.err.Error() }
func (e *syncError) Unwrap() error { return e.err }
