// Package blob keeps immutable objects under slash-separated keys: in a folder
// (Dir), in Azure Blob Storage (Azure) or in memory (Mem). Everything that
// mailwake writes besides its log and its registry goes through a Store.
//
// Retry, Limit and Meter wrap any Store and are stacked where the program is
// wired:
//
//	blob.Retry(blob.Meter(blob.Limit(store, 16)), blob.RetryPolicy{})
//	      │          │          └ at most 16 operations at once
//	      │          └ every try is counted
//	      └ one logical operation, several tries
//
// Invariant: a key is readable with all its bytes or not at all, and once Put
// has returned nil the bytes survive a crash of process and machine (Mem
// excepted).
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Store keeps objects under keys. All methods may be called concurrently. All
// of them stop soon after ctx is done and then return its error. CheckKey says
// which keys exist; any other one is refused with ErrKey.
//
// A key must not be a folder of another one ("a" and "a/b"): Dir cannot hold
// both, so nothing may rely on it.
type Store interface {
	// Put stores all of r, from its first byte, and makes key readable only
	// when every byte is durable. A failing r leaves no trace of key. With
	// ifAbsent a key that is there is left alone and the error is ErrExists,
	// also when several callers race; without it the content is replaced.
	// After any other error key may or may not have been written: IsTransient
	// says whether trying again is worth it, Retry does so. Put is the only
	// user of r until it returns, and does not close it.
	Put(ctx context.Context, key string, r io.ReadSeeker, ifAbsent bool) error

	// Get returns the bytes [off, off+n) of key, fewer at its end and none
	// beyond it; n < 0 means all from off. ErrNotFound. ctx also governs the
	// reading; the caller closes the body.
	Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)

	// Stat describes key. ErrNotFound.
	Stat(ctx context.Context, key string) (Info, error)

	// List yields the objects whose key begins with prefix (any text, "" for
	// all) in ascending byte order of the key. An error ends it. Objects that
	// come or go meanwhile may be seen or not.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]

	// Delete removes keys; one that is missing is no error. After an error
	// some of them may be gone, and calling it again is right.
	Delete(ctx context.Context, keys ...string) error

	// URL is the location of key as other engines name it, unescaped as
	// Iceberg writes locations: file:///…, mem://name/… or
	// abfs://container@account.dfs.core.windows.net/…. URL("") is what the
	// locations of all keys begin with.
	URL(key string) string
}

// Info describes one object. Size is in bytes; Modified is the store's clock.
type Info struct {
	Key      string
	Size     int64
	Modified time.Time
}

var (
	// ErrNotFound says that no object has this key.
	ErrNotFound = errors.New("blob not found")
	// ErrExists says that Put with ifAbsent found an object under its key.
	ErrExists = errors.New("blob already exists")
	// ErrKey says that a key breaks the rules of CheckKey.
	ErrKey = errors.New("invalid blob key")
)

// maxKeyBytes leaves room for a prefix within the 1,024 characters of an Azure
// blob name; maxSegmentBytes is the longest file name of common file systems.
const (
	maxKeyBytes     = 900
	maxSegmentBytes = 255
)

// tempFolder is where Dir keeps objects that are not finished. No key may lie
// in it, in any store, so that data can move from one kind to another.
const tempFolder = ".tmp"

// CheckKey returns an error wrapping ErrKey unless key can be used in every
// store: 1 to 900 bytes of UTF-8 without control characters and backslashes,
// in segments of 1 to 255 bytes between single slashes, none ending in a dot
// (which also rules out "." and ".."), the first one not ".tmp".
func CheckKey(key string) error {
	switch {
	case key == "" || len(key) > maxKeyBytes:
		return fmt.Errorf("%w: %d bytes, want 1 to %d", ErrKey, len(key), maxKeyBytes)
	case !utf8.ValidString(key):
		return fmt.Errorf("%w %q: not UTF-8", ErrKey, key)
	case strings.ContainsFunc(key, func(r rune) bool { return r == '\\' || unicode.IsControl(r) }):
		return fmt.Errorf("%w %q: control character or backslash", ErrKey, key)
	}
	first := true
	for s := range strings.SplitSeq(key, "/") {
		switch {
		case s == "" || len(s) > maxSegmentBytes:
			return fmt.Errorf("%w %q: segment of %d bytes, want 1 to %d", ErrKey, key, len(s), maxSegmentBytes)
		case strings.HasSuffix(s, "."):
			return fmt.Errorf("%w %q: segment %q ends in a dot", ErrKey, key, s)
		case first && s == tempFolder:
			return fmt.Errorf("%w %q: folder %s is reserved", ErrKey, key, tempFolder)
		}
		first = false
	}
	return nil
}

// Transient marks err as one that may pass by itself; nil stays nil.
func Transient(err error) error {
	if err == nil {
		return nil
	}
	return &transientError{err}
}

// IsTransient reports whether err may pass by itself: network failures, tries
// that took too long, throttling and server errors. The end of the caller's
// context is not transient.
func IsTransient(err error) bool {
	var t *transientError
	return errors.As(err, &t)
}

type transientError struct{ err error }

func (e *transientError) Error() string { return e.err.Error() }
func (e *transientError) Unwrap() error { return e.err }

// LocalPath returns the file that holds key, and whether s, below any
// wrappers, is a folder on this machine. The file need not exist.
func LocalPath(s Store, key string) (string, bool) {
	for {
		switch t := s.(type) {
		case *DirStore:
			return t.LocalPath(key), true
		case interface{ Unwrap() Store }:
			s = t.Unwrap()
		default:
			return "", false
		}
	}
}

// rewind returns the length of r and leaves it at its first byte.
func rewind(r io.ReadSeeker) (int64, error) {
	size, err := r.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("find the size of the body: %w", err)
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return 0, fmt.Errorf("rewind the body: %w", err)
	}
	return size, nil
}

// copyBody writes all of r to w and fails unless that is size bytes, or when
// ctx ends first.
func copyBody(ctx context.Context, w io.Writer, r io.Reader, size int64) error {
	n, err := io.Copy(w, &ctxReader{ctx, r})
	if err != nil {
		return err
	}
	if n != size {
		return fmt.Errorf("body has %d bytes, promised %d: %w", n, size, io.ErrUnexpectedEOF)
	}
	return nil
}

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// checkRange refuses a range that begins before the first byte.
func checkRange(off int64) error {
	if off < 0 {
		return fmt.Errorf("negative offset %d", off)
	}
	return nil
}
