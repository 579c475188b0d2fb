//go:build unix

package ingest

import (
	"errors"
	"os"
	"syscall"
)

// pushOnce writes pending without waiting; it is called by RawConn.Write.
func (c *conn) pushOnce(fd uintptr) bool {
	for {
		n, err := syscall.Write(int(fd), c.mu.pending)
		switch {
		case err == nil:
			c.mu.pushed = n
		case errors.Is(err, syscall.EINTR):
			continue
		case !errors.Is(err, syscall.EAGAIN):
			c.mu.err = os.NewSyscallError("write", err)
		}
		return true
	}
}
