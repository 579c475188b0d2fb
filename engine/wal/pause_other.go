//go:build !linux

package wal

import "time"

// pauser waits.
type pauser struct{ d time.Duration }

func (p *pauser) start(d time.Duration) { p.d = d }

func (p *pauser) wait() { time.Sleep(p.d) }

func (*pauser) cut() {}

func (*pauser) close() error { return nil }
