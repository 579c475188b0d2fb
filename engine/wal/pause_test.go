package wal

import (
	"testing"
	"time"
)

func TestPauseIsNotTooShort(t *testing.T) {
	var p pauser
	for _, d := range []time.Duration{time.Microsecond, gatherTime, 3 * time.Millisecond} {
		start := time.Now()
		if p.pause(d); time.Since(start) < d {
			t.Errorf("a pause of %v took %v", d, time.Since(start))
		}
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
	start := time.Now() // a timer that is gone is no reason to do without
	if p.pause(gatherTime); time.Since(start) < gatherTime {
		t.Errorf("without a timer a pause of %v took %v", gatherTime, time.Since(start))
	}
}
