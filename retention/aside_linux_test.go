package retention

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestAside: a merge runs on the thread of low priority while Run lasts, and where
// it was asked for before and afterwards.
func TestAside(t *testing.T) {
	s := newShop(t, nil)
	thread := func() (tid int) {
		s.keep.aside(func() { tid = syscall.Gettid() })
		return tid
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if thread() != syscall.Gettid() {
		t.Error("went aside without Run")
	}
	ctx, cancel := context.WithCancel(t.Context())
	wait := s.keep.runAside(ctx)
	first := thread()
	if first == syscall.Gettid() || thread() != first {
		t.Error("did not go aside, or to another thread each time")
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/stat", first))
	must(t, err)
	if fields := strings.Fields(string(text)[strings.LastIndexByte(string(text), ')'):]); fields[17] != strconv.Itoa(lowest) {
		t.Errorf("priority %s", fields[17])
	}
	cancel()
	wait()
	if thread() != syscall.Gettid() {
		t.Error("went aside after Run")
	}
}
