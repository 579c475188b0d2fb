package query

import "runtime"

// politely runs f on a thread of its own that gives way to others, as do the
// threads that it starts: what recipients do comes before what is asked about
// them, and DuckDB's threads are as many as the cores. The thread ends with f,
// since it may not take its place back.
func politely(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		giveWay()
		done <- f()
	}()
	return <-done
}
