package wal

import (
	"testing"
	"time"
)

func TestPauseIsNotTooShort(t *testing.T) {
	var p pauser
	pause := func(d time.Duration) time.Duration {
		start := time.Now()
		p.start(d)
		p.wait()
		return time.Since(start)
	}
	for _, d := range []time.Duration{time.Microsecond, gatherTime, 3 * time.Millisecond} {
		if took := pause(d); took < d {
			t.Errorf("a pause of %v took %v", d, took)
		}
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
	if took := pause(gatherTime); took < gatherTime { // a timer that is gone is no reason to do without
		t.Errorf("without a timer a pause of %v took %v", gatherTime, took)
	}
	p.cut() // of nothing
}
