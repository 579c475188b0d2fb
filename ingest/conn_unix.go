//go:build unix

package ingest

import (
	"io"
	"net"
	"os"
	"syscall"
)

// pushOnce writes pending without waiting; it is called by RawConn.Write.
func (c *conn) pushOnce(fd uintptr) bool {
	switch n, errno := writeOnce(fd, c.mu.pending); errno {
	case 0:
		c.mu.pushed = n
	case syscall.EAGAIN:
	default:
		c.mu.err = os.NewSyscallError("write", errno)
	}
	return true
}

// direct is a connection that reads with readOnce.
type direct struct {
	net.Conn
	raw  syscall.RawConn
	pull func(fd uintptr) bool // (*direct).pullOnce, made once so that reading allocates nothing

	buf   []byte // of the Read under way, and what became of it
	n     int
	errno syscall.Errno
}

func directly(nc net.Conn, raw syscall.RawConn) net.Conn {
	d := &direct{Conn: nc, raw: raw}
	d.pull = d.pullOnce
	return d
}

// pullOnce is called by RawConn.Read, and again when there is something to read.
func (d *direct) pullOnce(fd uintptr) bool {
	d.n, d.errno = readOnce(fd, d.buf)
	return d.errno != syscall.EAGAIN
}

// Read implements net.Conn, for one goroutine at a time.
func (d *direct) Read(b []byte) (int, error) {
	d.buf = b
	err := d.raw.Read(d.pull)
	d.buf = nil
	switch {
	case err != nil:
		return 0, err
	case d.errno != 0:
		return 0, os.NewSyscallError("read", d.errno)
	case d.n == 0 && len(b) > 0:
		return 0, io.EOF
	}
	return d.n, nil
}
