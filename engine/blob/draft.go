package blob

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// DraftFolder is the folder in which files are to be written that are then Put as
// an *os.File: a folder store moves those to their place instead of copying them.
// ok is false for stores that copy all the same.
func DraftFolder(s Store) (dir string, ok bool) {
	for {
		switch t := s.(type) {
		case *DirStore:
			return t.draftFolder(), true
		case interface{ Unwrap() Store }:
			s = t.Unwrap()
		default:
			return "", false
		}
	}
}

func (d *DirStore) draftFolder() string { return filepath.Join(d.path, tempFolder) }

// Draft is a file that is being written for a Put, or for one of this machine's own
// folders. Little of it waits to be written to disk at any time: a disk that gets a
// large file at once keeps those waiting who sync a small one.
type Draft struct {
	*os.File
	written, told int64
}

// draftStep is how much may wait. A disk of 100 MB/s takes some milliseconds for it.
const draftStep = 1 << 20

// NewDraft creates a file in dir whose name begins with prefix.
func NewDraft(dir, prefix string) (*Draft, error) {
	f, err := os.CreateTemp(dir, prefix)
	if err != nil {
		return nil, fmt.Errorf("create draft: %w", err)
	}
	return &Draft{File: f}, nil
}

// Write implements io.Writer.
func (d *Draft) Write(p []byte) (int, error) {
	n, err := d.File.Write(p)
	if d.written += int64(n); err == nil && d.written-d.told >= draftStep {
		writeOut(d.File, d.told, d.written)
		d.told = d.written
	}
	return n, err
}

// RemoveDrafts removes the files in dir whose names begin with prefix.
func RemoveDrafts(dir, prefix string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("remove drafts: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("remove drafts: %w", err)
		}
	}
	return nil
}
