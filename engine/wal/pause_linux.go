package wal

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pauser waits for parts of a millisecond. time.Sleep does not when nothing else is to
// be done: Go's scheduler then waits for whole milliseconds (500 us take 1.15 ms, here
// 0.57), and so long a busy log would stand still. For one goroutine at a time.
type pauser struct {
	fd    int
	timer *os.File // timerfd; nil before the first pause, or when it cannot be had
	tried bool
}

func (p *pauser) pause(d time.Duration) {
	if !p.tried {
		p.tried = true
		if fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err == nil {
			p.fd, p.timer = fd, os.NewFile(uintptr(fd), "timer") //nolint:gosec // a file number
		}
	}
	if p.timer != nil {
		var expirations [8]byte
		err := unix.TimerfdSettime(p.fd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(d.Nanoseconds())}, nil)
		if err == nil {
			_, err = p.timer.Read(expirations[:])
		}
		if err == nil {
			return
		}
	}
	time.Sleep(d)
}

func (p *pauser) close() error {
	if p.timer == nil {
		return nil
	}
	return p.timer.Close()
}
