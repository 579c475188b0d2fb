//go:build !linux

package wal

import "time"

// pauser waits.
type pauser struct{}

func (*pauser) pause(d time.Duration) { time.Sleep(d) }

func (*pauser) close() error { return nil }
