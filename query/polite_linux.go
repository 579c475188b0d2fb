package query

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// politely runs f so that the threads it starts give way to others: what
// recipients do comes before what is asked about them, and DuckDB's threads are as
// many as the cores. Workers do the same, see fence_linux.c.
//
// The calling thread takes its place back afterwards, so without the right to do
// that nothing is changed. It must not end instead: a worker dies with the thread
// that started it.
func politely(f func() error) error {
	const nice = 10
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	prio, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	before := 20 - prio // as the system call has it
	if err != nil || before >= nice || !mayRaisePriority() || unix.Setpriority(unix.PRIO_PROCESS, 0, nice) != nil {
		return f()
	}
	defer func() { _ = unix.Setpriority(unix.PRIO_PROCESS, 0, before) }() // permitted, see above
	return f()
}

func mayRaisePriority() bool {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	return unix.Capget(&head, &sets[0]) == nil && sets[0].Effective&(1<<unix.CAP_SYS_NICE) != 0
}
