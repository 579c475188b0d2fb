package retention

import "syscall"

// lowest is the priority of what wants no core that anybody else could use.
const lowest = 19

// lowerPriority lowers the priority of the calling thread, which Linux has one of
// for each; a thread may always do so.
func lowerPriority() {
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, syscall.Gettid(), lowest) // without it a merge is in the way, not wrong
}
