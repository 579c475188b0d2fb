package query

import (
	"runtime"

	"golang.org/x/sys/unix"
)

const (
	// politeNice is the priority of threads that give way.
	politeNice = 10
	// politeSlice is how long they run before another one may have the core. Linux lets
	// a thread of any priority finish its slice, 3 ms as a rule, before one that wakes
	// is looked at.
	politeSlice = 200_000 // ns
)

// politely runs f so that the threads it starts give way to others: what
// recipients do comes before what is asked about them, and DuckDB's threads are as
// many as the cores. Workers do the same, see fence_linux.c.
//
// The calling thread takes its place back afterwards, so without the right to do
// that nothing is changed. It must not end instead: a worker dies with the thread
// that started it.
func politely(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	prio, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	before := 20 - prio // as the system call has it
	if err != nil || before >= politeNice || !mayRaisePriority() || schedule(politeNice, politeSlice) != nil {
		return f()
	}
	defer func() { _ = schedule(before, 0) }() // permitted, see above
	return f()
}

// schedule sets priority and slice of the calling thread; 0 is the usual slice.
func schedule(nice int, slice uint64) error {
	return unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Nice: int32(nice), Runtime: slice}, 0) //nolint:gosec // it is from -20 to 19
}

func mayRaisePriority() bool {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	return unix.Capget(&head, &sets[0]) == nil && sets[0].Effective&(1<<unix.CAP_SYS_NICE) != 0
}
