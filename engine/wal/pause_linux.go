package wal

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pauser waits for parts of a millisecond. time.Sleep does not when nothing else is to
// be done: Go's scheduler then waits for whole milliseconds (500 us take 1.15 ms, here
// 0.57), and so long a busy log would stand still. One goroutine at a time starts and
// waits; any may cut the pause short after it has started.
type pauser struct {
	d     time.Duration
	fd    int
	timer *os.File // timerfd; nil before the first pause, or when it cannot be had
	tried bool
}

// start begins a pause of d, which wait ends.
func (p *pauser) start(d time.Duration) {
	p.d = d
	if !p.tried {
		p.tried = true
		if fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err == nil {
			p.fd, p.timer = fd, os.NewFile(uintptr(fd), "timer") //nolint:gosec // a file number
		}
	}
	if p.timer != nil && p.set(d) != nil {
		_ = p.close()
	}
}

func (p *pauser) set(d time.Duration) error {
	return unix.TimerfdSettime(p.fd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(d.Nanoseconds())}, nil)
}

func (p *pauser) wait() {
	if p.timer != nil {
		var expirations [8]byte
		if _, err := p.timer.Read(expirations[:]); err == nil {
			return
		}
	}
	time.Sleep(p.d)
}

// cut ends the pause that was started last, if it can.
func (p *pauser) cut() {
	if p.timer != nil {
		_ = p.set(1)
	}
}

func (p *pauser) close() error {
	timer := p.timer
	p.timer = nil
	if timer == nil {
		return nil
	}
	return timer.Close()
}
