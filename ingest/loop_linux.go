package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// eventsAtOnce is how many connections a loop takes at a time.
	eventsAtOnce = 128
	// readsAtOnce is how often a loop reads of one connection before others get a turn.
	readsAtOnce = 4
	// watched is what a loop wants to hear of a connection, each time that it begins.
	watched = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET
)

// loop answers the plain requests of many connections from one goroutine: it switches
// to no other one per request, and reads only what is there. It waits in Go's poller,
// for the epoll instance that watches the connections.
type loop struct {
	front *front
	file  *os.File // the epoll instance
	raw   syscall.RawConn
	epoll int
	wait  func(fd uintptr) bool // (*loop).waitOnce, made once so that waiting allocates nothing

	events  [eventsAtOnce]unix.EpollEvent
	found   int // of the last wait
	failed  syscall.Errno
	batch   [eventsAtOnce]*conn
	buf     [maxHeader]byte
	plain   plain
	request request

	mu struct {
		sync.Mutex
		conns  []*conn // by slot
		free   []int32
		ending bool
	}
}

func newLoop(f *front) (*loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	err = unix.SetNonblock(fd, true) // Go's poller takes no other file
	l := &loop{front: f, file: os.NewFile(uintptr(fd), "epoll"), epoll: fd}
	l.wait = l.waitOnce
	if err == nil {
		l.raw, err = l.file.SyscallConn()
	}
	if err != nil {
		return nil, errors.Join(err, l.file.Close())
	}
	return l, nil
}

// waitOnce takes what connections have to tell. It is called by RawConn.Read, and again
// when there is something.
func (l *loop) waitOnce(fd uintptr) bool {
	l.found, l.failed = epollOnce(fd, l.events[:])
	return l.found > 0 || l.failed != 0
}

// run answers until end was called and no connection is left.
func (l *loop) run() error {
	defer l.file.Close()
	for !l.over() {
		if err := l.raw.Read(l.wait); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				continue // end has set it
			}
			return fmt.Errorf("wait for connections: %w", err)
		}
		if l.failed != 0 {
			return os.NewSyscallError("epoll_wait", l.failed)
		}
		l.mu.Lock()
		for i, e := range l.events[:l.found] {
			l.batch[i] = l.mu.conns[e.Fd]
		}
		l.mu.Unlock()
		for i, c := range l.batch[:l.found] {
			l.ready(c, l.events[i].Events)
		}
		clear(l.batch[:l.found])
	}
	return nil
}

// epollOnce takes events that are there.
func epollOnce(fd uintptr, events []unix.EpollEvent) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
	return int(n), errno
}

// over reports whether the loop has nothing more to do.
func (l *loop) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.ending && len(l.mu.free) == len(l.mu.conns)
}

// adopt takes a new connection, away from nc.
func (l *loop) adopt(nc *net.TCPConn) error {
	c := &conn{loop: l, peer: addrOf(nc.RemoteAddr())}
	c.mu.by = l.front.seconds.Load() + int64(readTimeout.Seconds())
	raw, err := nc.SyscallConn()
	if err == nil {
		var failed error
		err = raw.Control(func(fd uintptr) { c.fd, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
		err = errors.Join(err, failed)
	}
	_ = nc.Close()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.ending {
		return errors.Join(net.ErrClosed, unix.Close(c.fd))
	}
	if n := len(l.mu.free) - 1; n >= 0 {
		c.slot, l.mu.free = l.mu.free[n], l.mu.free[:n]
		l.mu.conns[c.slot] = c
	} else {
		c.slot = int32(len(l.mu.conns)) //nolint:gosec // as many as there are files
		l.mu.conns = append(l.mu.conns, c)
	}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, c.fd, &unix.EpollEvent{Events: watched, Fd: c.slot}); err != nil {
		l.forgetLocked(c)
		return errors.Join(os.NewSyscallError("epoll_ctl", err), unix.Close(c.fd))
	}
	return nil
}

// rearm makes the loop hear once more of what it has not taken.
func (l *loop) rearm(c *conn) {
	_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, c.fd, &unix.EpollEvent{Events: watched, Fd: c.slot}) // fails if it was just forgotten
}

// forget hears no more of c. Closing its file does not do that: a process that is just
// being started has it too, and what is told of it would be taken for the slot's next.
func (l *loop) forget(c *conn) {
	_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, c.fd, nil) // of an open file it cannot fail
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgetLocked(c)
}

func (l *loop) forgetLocked(c *conn) {
	l.mu.conns[c.slot] = nil
	l.mu.free = append(l.mu.free, c.slot)
}

// ready goes on with a connection that has something to tell.
func (l *loop) ready(c *conn, events uint32) {
	for range readsAtOnce {
		if !c.readable() {
			return // heard of again when it is
		}
		n, errno := readOnce(uintptr(c.fd), l.buf[:])
		switch {
		case errno == syscall.EAGAIN:
			return
		case errno != 0, n == 0 && c.finish():
			l.remove(c)
			return
		case n == 0:
			return
		}
		if !l.serve(c, l.buf[:n]) {
			return
		}
		if n < len(l.buf) && events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) == 0 {
			return // what comes from now on is told
		}
	}
	l.rearm(c)
}

// serve answers the requests in b and reports whether c stays with the loop.
func (l *loop) serve(c *conn, b []byte) bool {
	for len(b) > 0 {
		n := l.plain.parse(b)
		if n == 0 || !l.front.public.plainly(c, &l.plain, &l.request) {
			l.front.leaving.Add(1)
			l.forget(c)
			c.leave(bytes.Clone(b))
			return false
		}
		b = b[n:]
	}
	return true
}

// remove closes c.
func (l *loop) remove(c *conn) {
	l.forget(c)
	c.close()
	l.front.open.Add(-1)
}

// each calls f with every connection.
func (l *loop) each(f func(*conn)) {
	l.mu.Lock()
	all := slices.Clone(l.mu.conns)
	l.mu.Unlock()
	for _, c := range all {
		if c != nil {
			f(c)
		}
	}
}

// end makes run return when the connections have ended, which they are asked to.
func (l *loop) end() {
	l.mu.Lock()
	l.mu.ending = true
	l.mu.Unlock()
	l.each((*conn).end)
	if l.over() {
		_ = l.file.SetReadDeadline(time.Unix(1, 0)) // fails if run has seen it already
	}
}
