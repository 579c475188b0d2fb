package wal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
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
	var timed uint64
	for _, n := range s.times.read().Counts {
		timed += n
	}
	if timed != 8*20*2 {
		t.Errorf("%d fdatasyncs were timed, of 320", timed)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if err := s.sync(writer); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("after close: %v", err)
	}
}

// Each fdatasync counts once, by how long it took.
func TestSyncTimes(t *testing.T) {
	var times syncTimes
	for _, d := range []time.Duration{0, 100 * time.Microsecond, 101 * time.Microsecond, time.Second, time.Second + 1} {
		times.add(d)
	}
	got := times.read()
	last := len(SyncBounds)
	if got.Counts[0] != 2 || got.Counts[1] != 1 || got.Counts[last-1] != 1 || got.Counts[last] != 1 || got.Sum != 2*time.Second+201*time.Microsecond+1 {
		t.Errorf("%+v", got)
	}
	if !slices.IsSorted(SyncBounds[:]) {
		t.Error("bounds are out of order")
	}
	l := mustOpen(t, Options{Dir: t.TempDir()})
	mustAppend(t, l, "a") // makes the segment's file durable as well
	count := func() (n uint64, sum time.Duration) {
		got := l.SyncTimes()
		for _, c := range got.Counts {
			n += c
		}
		return n, got.Sum
	}
	before, sum := count()
	begin := time.Now()
	for range 10 {
		mustAppend(t, l, "a")
	}
	all := time.Since(begin)
	n, took := count()
	n, took = n-before, took-sum
	mustClose(t, l)
	if n != 10 || took <= 0 || took > all {
		t.Errorf("%d fdatasyncs for 10 groups, %v of %v", n, took, all)
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

// Zeros go ahead of what is written, over none of it and not beyond the file.
func TestZeroAhead(t *testing.T) {
	dir := t.TempDir()
	files := newOSFiles()
	w, err := files.Create(dir, "segment", 2*zeroAhead+10)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var want []byte
	for i := 0; len(want) < 2*zeroAhead; i++ {
		part := bytes.Repeat([]byte{byte(i) | 1}, 100_003)
		if _, err := w.WriteAt(part, int64(len(want))); err != nil {
			t.Fatal(err)
		}
		want = append(want, part...)
		got, err := os.ReadFile(filepath.Join(dir, "segment"))
		if err != nil {
			t.Fatal(err)
		}
		if end := max(2*zeroAhead+10, len(want)); !bytes.Equal(got, append(slices.Clone(want), make([]byte, end-len(want))...)) {
			t.Fatalf("after %d bytes the file differs, of %d bytes", len(want), len(got))
		}
	}
	if zeroed := w.(*osFile).zeroed; zeroed < 2*zeroAhead {
		t.Errorf("zeros up to %d only", zeroed)
	}
}
