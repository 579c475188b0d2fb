package wal

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"

	"mailwake/engine/wal/waltest"
)

// told is a Waiter that remembers.
type told chan error

func (w told) Done(err error) { w <- err }

func (w told) pending() bool { return len(w) == 0 }

// post is background for Post.
func post(t *testing.T, l *Log, record string) told {
	w := make(told, 2) // a second Done would be seen
	go func() {
		if err := l.Post(framed(record), 1, w); err != nil {
			t.Errorf("post %s: %v", record, err)
		}
	}()
	return w
}

func TestPostTellsAfterTheFsync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := waltest.NewDisk()
		l, gate := gated(t, Options{}, disk)
		leader := post(t, l, "leader")
		synctest.Wait()
		var rest []told
		for i := range 20 {
			w := make(told, 2)
			if i == 7 { // the second group is led by one that waits
				defer func(c <-chan result) {
					if r := <-c; r.lsn != 3 || r.err != nil {
						t.Errorf("append among posts: %+v", r)
					}
				}(background(t.Context(), l, "waits"))
				synctest.Wait()
			}
			rest = append(rest, w)
			go func() { _ = l.Post(framed(fmt.Sprint(i)), 1, w) }()
			synctest.Wait()
		}
		if !leader.pending() {
			t.Fatal("told before the fsync")
		}
		gate <- struct{}{}
		synctest.Wait()
		if leader.pending() || <-leader != nil {
			t.Fatal("not told after the fsync")
		}
		for _, w := range rest {
			if !w.pending() {
				t.Fatal("told after the fsync of another group")
			}
		}
		gate <- struct{}{}
		synctest.Wait()
		for i, w := range rest {
			if len(w) != 1 || <-w != nil {
				t.Fatalf("post %d was told %d times", i, len(w))
			}
		}
		disk.Inject(nil)
		if got := mustContents(t, l); len(got[3]) != 21 {
			t.Fatalf("groups %v", got)
		}
		mustClose(t, l)
	})
}

func TestPostDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := waltest.NewDisk()
		l, gate := gated(t, Options{}, disk)
		first := background(t.Context(), l, "first")
		synctest.Wait()
		second := background(t.Context(), l, "second") // leads the next group
		synctest.Wait()
		w := make(told, 2)
		if err := l.Post(framed("posted"), 1, w); err != nil { // would hang if it waited
			t.Fatal(err)
		}
		gate <- struct{}{}
		gate <- struct{}{}
		if <-first; (<-second).err != nil || <-w != nil {
			t.Fatal("the group failed")
		}
		disk.Inject(nil)
		mustClose(t, l)
	})
}

func TestPostFails(t *testing.T) {
	disk := waltest.NewDisk()
	l := mustOpen(t, onDisk(disk))
	mustAppend(t, l, "a")
	disk.Inject(func(op waltest.Op) error {
		if op.Kind == waltest.Write {
			return syscall.ENOSPC
		}
		return nil
	})
	w := make(told, 2)
	if err := l.Post(framed("b"), 1, w); err != nil {
		t.Fatal(err)
	}
	if err := <-w; !errors.Is(err, syscall.ENOSPC) || !w.pending() {
		t.Fatalf("told %v", err)
	}
	disk.Inject(nil)
	mustAppend(t, l, "c")
	mustClose(t, l)
	if err := l.Post(framed("d"), 1, w); !errors.Is(err, ErrClosed) || !w.pending() {
		t.Fatalf("post to a closed log: %v", err)
	}
	if err := l.Post([]byte{9}, 1, w); err == nil || !w.pending() {
		t.Fatal("broken frames were taken")
	}
}
