package retention

import (
	"context"
	"runtime"
)

// aside does work on a thread that runs only when nothing else wants its core. At
// the same priority as the rest, a merge makes one in a hundred of the interactions
// that are being recorded wait for a time slice of the kernel, which is milliseconds.
//
// There is one such thread for as long as Run lasts, not one for each merge: a
// priority once lowered is not raised again without privileges, and the processes
// that a thread has started may be bound to end with it.
type aside struct {
	jobs  chan func()
	ended chan struct{}
}

// serve works until ctx ends; the thread ends with it.
func (a *aside) serve(ctx context.Context) {
	defer close(a.ended)
	runtime.LockOSThread()
	lowerPriority()
	for {
		select {
		case job := <-a.jobs:
			job()
		case <-ctx.Done():
			return
		}
	}
}

// runAside makes work go aside until the function returned is called, after the end
// of ctx.
func (k *Keeper) runAside(ctx context.Context) (wait func()) {
	a := &aside{make(chan func()), make(chan struct{})}
	k.setAside(a)
	go a.serve(ctx)
	return func() {
		k.setAside(nil)
		<-a.ended
	}
}

func (k *Keeper) setAside(a *aside) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.aside = a
}

// aside does work and waits for it: aside while Run lasts, otherwise at once.
func (k *Keeper) aside(work func()) {
	k.mu.Lock()
	a := k.mu.aside
	k.mu.Unlock()
	if a == nil {
		work()
		return
	}
	done := make(chan struct{})
	select {
	case a.jobs <- func() { defer close(done); work() }:
		<-done
	case <-a.ended:
		work()
	}
}
