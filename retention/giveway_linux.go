package retention

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// giveWay makes this process run only where nobody else wants a core. A low
// priority would not do: Linux lets a thread of any priority finish its slice of
// some milliseconds before one that wakes gets the core, but not an idle one.
//
// Threads inherit it from those that start them, so there are no new ones to be
// told once all that are found have been.
func giveWay() {
	told := map[string]bool{}
	for found := true; found; {
		found = false
		threads, _ := os.ReadDir("/proc/self/task")
		for _, t := range threads {
			if told[t.Name()] {
				continue
			}
			told[t.Name()], found = true, true
			if id, err := strconv.Atoi(t.Name()); err == nil {
				// Without it a merge is in the way, not wrong.
				_ = unix.SchedSetAttr(id, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0)
			}
		}
	}
}
