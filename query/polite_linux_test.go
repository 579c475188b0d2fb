package query

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// A thread that ended would take the workers with it that it started.
func TestPolitelyStaysOnItsThread(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	look := func() (tid, prio int) {
		prio, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
		if err != nil {
			t.Fatal(err)
		}
		return unix.Gettid(), prio
	}
	tid, before := look()
	if err := politely(func() error {
		inside, prio := look()
		if inside != tid {
			t.Error("it runs on another thread")
		}
		if mayRaisePriority() && prio >= before && before > 10 {
			t.Errorf("priority %d inside, %d outside", prio, before)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if after, prio := look(); after != tid || prio != before {
		t.Errorf("priority %d afterwards, %d before", prio, before)
	}
}
