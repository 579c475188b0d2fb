package wal

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mailwake/engine/wal/waltest"
)

var errDisk = errors.New("disk is unwell")

// failNth fails the n-th call of kind on a file whose name contains part, and all
// later ones if always.
func failNth(kind waltest.Kind, part string, n int, always bool, err error) func(waltest.Op) error {
	var mu sync.Mutex
	return func(op waltest.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if op.Kind != kind || !strings.Contains(op.Name, part) {
			return nil
		}
		if n--; n == 0 || always && n < 0 {
			return err
		}
		return nil
	}
}

func TestFailedWriteLeavesNothing(t *testing.T) {
	disk := waltest.NewDisk()
	l := mustOpen(t, onDisk(disk))
	mustAppend(t, l, "a", "b")
	size := l.Size()
	disk.Inject(failNth(waltest.Write, ".wal", 1, false, errDisk))
	_, err := l.Append(t.Context(), framed(payload(1, 1000)), 1)
	if !errors.Is(err, errDisk) {
		t.Fatalf("append: %v", err)
	}
	if l.Err() != nil || l.Last() != 2 || l.Size() != size {
		t.Fatalf("err %v, last %d, size %d", l.Err(), l.Last(), l.Size())
	}
	if got := mustContents(t, l); len(got) != 2 {
		t.Fatalf("groups %v", got)
	}
	if lsn := mustAppend(t, l, "c"); lsn != 3 {
		t.Fatalf("next lsn %d", lsn)
	}
	for range 2 {
		if got := mustContents(t, l); len(got) != 3 || got[3][0] != "c" {
			t.Fatalf("groups %v", got)
		}
		mustClose(t, l)
		l = mustOpen(t, onDisk(disk))
	}
}

func TestFailedSyncStopsTheLog(t *testing.T) {
	disk := waltest.NewDisk()
	l := mustOpen(t, onDisk(disk))
	mustAppend(t, l, "a")
	// All callers of the group must learn of it, also those that come before the
	// leader has the turn.
	release := make(chan struct{})
	disk.Inject(func(op waltest.Op) error {
		if op.Kind != waltest.Sync {
			return nil
		}
		<-release
		return errDisk
	})
	var calls []<-chan result
	for range 50 {
		calls = append(calls, background(t.Context(), l, "b"))
	}
	close(release)
	for _, c := range calls {
		if r := <-c; !errors.Is(r.err, errDisk) || r.lsn != 0 {
			t.Fatalf("call got %+v", r)
		}
	}
	disk.Inject(nil)
	if _, err := l.Append(t.Context(), framed("c"), 1); !errors.Is(err, errDisk) || !errors.Is(l.Err(), errDisk) {
		t.Fatalf("append after failed fsync: %v, Err %v", err, l.Err())
	}
	if got := mustContents(t, l); len(got) != 1 {
		t.Fatalf("groups %v", got)
	}
	mustClose(t, l)
	l = mustOpen(t, onDisk(disk))
	if l.Err() != nil || l.Last() < 1 || l.Last() > 2 {
		t.Fatalf("after reopen: err %v, last %d", l.Err(), l.Last())
	}
	mustAppend(t, l, "d")
}

// TestFailedSyncIsSettled reads a group back whose fsync failed: after that it must
// stay, although the kernel thinks that it has nothing left to write.
func TestFailedSyncIsSettled(t *testing.T) {
	for seed := range uint64(20) {
		disk := waltest.NewDisk()
		l := mustOpen(t, onDisk(disk))
		mustAppend(t, l, "a")
		disk.Inject(failNth(waltest.Sync, ".wal", 1, false, errDisk))
		if _, err := l.Append(t.Context(), framed("b"), 1); !errors.Is(err, errDisk) {
			t.Fatal(err)
		}
		mustClose(t, l)
		l = mustOpen(t, onDisk(disk))
		seen := mustContents(t, l)
		disk = disk.Crash(rand.New(rand.NewPCG(seed, 0)))
		_ = l.Close()
		if got := mustContents(t, mustOpen(t, onDisk(disk))); len(seen) != 2 || len(got) != 2 {
			t.Fatalf("groups %v became %v", seen, got)
		}
	}
}

// TestDiskFull fills the disk, once where a group must grow a file and once where
// the next segment cannot be created.
func TestDiskFull(t *testing.T) {
	for _, name := range []string{"segment", "group"} {
		t.Run(name, func(t *testing.T) {
			disk := waltest.NewDisk()
			o := onDisk(disk)
			l := mustOpen(t, o)
			want := map[LSN]string{}
			add := func(i int) error {
				n := 200
				if name == "group" {
					n = 6 << 10 // larger than what a segment preallocates
				}
				lsn, err := l.Append(t.Context(), framed(payload(i, n)), 1)
				if err == nil {
					want[lsn] = payload(i, n)
				}
				return err
			}
			for i := range 40 {
				if err := add(i); err != nil {
					t.Fatal(err)
				}
			}
			disk.SetCapacity(disk.Used() + 100)
			failures := 0
			for i := range 60 {
				if err := add(100 + i); err != nil {
					if failures++; !errors.Is(err, syscall.ENOSPC) {
						t.Fatalf("append on a full disk: %v", err)
					}
				}
			}
			if failures < 20 || l.Err() != nil {
				t.Fatalf("%d failures, Err %v", failures, l.Err())
			}
			same := func() {
				t.Helper()
				got := mustContents(t, l)
				for lsn := l.First(); lsn <= l.Last(); lsn++ {
					if len(got[lsn]) != 1 || got[lsn][0] != want[lsn] {
						t.Fatalf("group %d is damaged", lsn)
					}
				}
			}
			same()
			// Truncate works on the full disk and is enough to go on.
			if err := l.Truncate(l.Last() - 3); err != nil {
				t.Fatal(err)
			}
			same()
			if err := add(200); err != nil {
				t.Fatalf("append after truncate: %v", err)
			}
			disk.SetCapacity(disk.Used())
			for i := 0; add(300+i) == nil; i++ {
				if i > 100 {
					t.Fatal("disk does not fill up")
				}
			}
			disk.SetCapacity(0)
			if err := add(400); err != nil {
				t.Fatalf("append after space came back: %v", err)
			}
			same()
			last := l.Last()
			mustClose(t, l)
			l = mustOpen(t, o)
			if l.Last() != last {
				t.Fatalf("last %d after reopen, want %d", l.Last(), last)
			}
			same()
		})
	}
}

// TestEveryCallFails lets each call that a short history makes to the disk fail
// once: nothing acknowledged is lost, nothing failed appears, and unless it was
// an fsync the log goes on by itself.
func TestEveryCallFails(t *testing.T) {
	for _, kind := range []waltest.Kind{waltest.Create, waltest.Write, waltest.Sync, waltest.Delete} {
		for n := 1; ; n++ {
			disk := waltest.NewDisk()
			o := onDisk(disk)
			l := mustOpen(t, o)
			fired := false
			fail := failNth(kind, "", n, false, errDisk)
			disk.Inject(func(op waltest.Op) error {
				err := fail(op)
				fired = fired || err != nil
				return err
			})
			acked := map[LSN]string{}
			unknown := ""
			for i := range 60 {
				record := payload(i, 300)
				if lsn, err := l.Append(t.Context(), framed(record), 1); err == nil {
					acked[lsn] = record
				} else if l.Err() != nil {
					if kind != waltest.Sync {
						t.Fatalf("%d %d: stopped by %v", kind, n, err)
					}
					if unknown == "" {
						unknown = record
					}
					_ = l.Close()
					l = mustOpen(t, o)
				}
				if i%7 == 6 && l.Last() > 20 {
					_ = l.Truncate(l.Last() - 20)
				}
			}
			_ = l.Close()
			disk.Inject(nil)
			l = mustOpen(t, o)
			got := mustContents(t, l)
			for lsn := l.First(); lsn <= l.Last(); lsn++ {
				if len(got[lsn]) != 1 || got[lsn][0] != acked[lsn] && (acked[lsn] != "" || got[lsn][0] != unknown) {
					t.Fatalf("%d %d: group %d is %.20q, acknowledged %.20q", kind, n, lsn, got[lsn], acked[lsn])
				}
				delete(acked, lsn)
			}
			for lsn := range acked {
				if lsn > l.Last() {
					t.Fatalf("%d %d: group %d is lost", kind, n, lsn)
				}
			}
			if len(got) < 15 || l.Last() < 58 {
				t.Fatalf("%d %d: %d groups up to %d", kind, n, len(got), l.Last())
			}
			mustClose(t, l)
			if !fired {
				break
			}
		}
	}
}

// Segments are deleted while others append and read, and what could not be deleted is tried again.
func TestAppendsDuringDeletion(t *testing.T) {
	disk := waltest.NewDisk()
	l := mustOpen(t, onDisk(disk))
	for i := range 60 {
		mustAppend(t, l, payload(i, 300))
	}
	before := len(disk.Names())
	deletions := 0
	disk.Inject(func(op waltest.Op) error {
		if op.Kind != waltest.Delete {
			return nil
		}
		deletions++
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		appended := make(chan error, 1)
		go func() {
			_, err := l.Append(ctx, framed("meanwhile"), 1)
			for _, failed := range l.Read(1 << 40) {
				err = errors.Join(err, failed)
			}
			appended <- err
		}()
		select {
		case err := <-appended:
			if err != nil {
				t.Error(err)
			}
		case <-ctx.Done():
			t.Error("an append or a reader waits for a deletion")
		}
		return errDisk
	})
	if err := l.Truncate(50); !errors.Is(err, errDisk) || deletions == 0 {
		t.Fatalf("%d deletions, %v", deletions, err)
	}
	if n := len(disk.Names()); n < before {
		t.Fatalf("%d of %d files are left though none could be deleted", n, before)
	}
	disk.Inject(nil)
	if err := l.Truncate(51); err != nil {
		t.Fatal(err)
	}
	if n := len(disk.Names()); n > before-deletions+1 { // an append may have begun a segment
		t.Errorf("%d of %d files are left after %d deletions", n, before, deletions)
	}
	mustClose(t, l)
}
