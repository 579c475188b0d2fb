package wal

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// threads counts the threads of this process that serve a syncer.
func threads(t *testing.T) (n int) {
	names, err := filepath.Glob("/proc/self/task/*/comm")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if text, err := os.ReadFile(name); err == nil && strings.TrimSpace(string(text)) == "fdatasync" {
			n++
		}
	}
	return n
}

func TestSyncer(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer writer.Close()
	var s syncer
	var wg sync.WaitGroup
	for range 8 {
		f, err := os.Create(filepath.Join(t.TempDir(), "f"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		wg.Go(func() {
			for range 20 {
				if err := s.sync(f); err != nil {
					t.Error(err)
				}
				if err := s.sync(writer); !errors.Is(err, syscall.EINVAL) { // each gets its own answer
					t.Errorf("fdatasync of a pipe: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if err := s.sync(writer); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("after close: %v", err)
	}
}

func TestLogEndsItsThread(t *testing.T) {
	for range 5 {
		l := mustOpen(t, Options{Dir: t.TempDir()})
		mustAppend(t, l, "a")
		mustAppend(t, l, "b")
		mustClose(t, l)
	}
	for threads(t) > 0 { // the last ones may be about to end
		runtime.Gosched()
	}
}

// Space is given back in steps, and the file goes all the same.
func TestDeleteShrinks(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "segment"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 2*shrinkStep + 5
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	shrink(f)
	if info, err := f.Stat(); err != nil || info.Size() != size%shrinkStep {
		t.Errorf("%v, %v", info, err)
	}
	if err := newOSFiles().Delete(dir, "segment"); err != nil {
		t.Error(err)
	}
	if err := newOSFiles().Delete(dir, "segment"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of a file that is gone: %v", err)
	}
}
