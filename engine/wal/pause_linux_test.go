package wal

import (
	"runtime"
	"testing"
	"time"
)

// A group that has enough callers is written, however long others might still come.
func TestGatherEnds(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir()})
	l.calls, l.gatherTime = gatherFrom, time.Hour
	done := make(told, gatherEnough)
	for i := range gatherEnough {
		for i == gatherEnough-1 && !gathers(l) { // the first one's goroutine has the others wait
			runtime.Gosched()
		}
		if err := l.Post(framed("x"), 1, done); err != nil {
			t.Fatal(err)
		}
	}
	limit := time.After(10 * time.Second)
	for range gatherEnough {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-limit:
			l.pauser.cut() // for Close
			t.Fatal("the group waits for more callers")
		}
	}
	if l.Last() != 1 {
		t.Errorf("%d groups", l.Last())
	}
	mustClose(t, l)
}

func gathers(l *Log) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.gathering != nil
}
