//go:build linux && (amd64 || arm64)

package bench

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"
)

const (
	// epollPwait2 waits with a nanosecond timeout (Linux 5.11); the syscall package
	// does not name it.
	epollPwait2 = 441
	// batch bounds the answers taken before due requests are sent, and the other way
	// round.
	batch = 32
)

// poller tells which connections can be read. The Go runtime's own poller would
// wake a goroutine for each of them.
type poller struct {
	fd     int
	events [batch]syscall.EpollEvent
	ready  [batch]int32
	coarse bool // no epollPwait2 here: whole milliseconds
}

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	return &poller{fd: fd}, nil
}

func (p *poller) close() error { return closeFD(p.fd) }

// connect opens a non-blocking connection that wait reports as number.
func (p *poller) connect(addr netip.AddrPort, number int32) (fd int, err error) {
	family := syscall.AF_INET
	var to syscall.Sockaddr = &syscall.SockaddrInet4{Port: int(addr.Port()), Addr: [4]byte(addr.Addr().AsSlice())}
	if addr.Addr().Is6() {
		family = syscall.AF_INET6
		to = &syscall.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
	}
	fd, err = syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeFD(fd))
		}
	}()
	if err := syscall.Connect(fd, to); err != nil {
		return 0, os.NewSyscallError("connect", err)
	}
	if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
		return 0, os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		return 0, os.NewSyscallError("fcntl", err)
	}
	event := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP, Fd: number}
	if err := syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_ADD, fd, &event); err != nil {
		return 0, os.NewSyscallError("epoll_ctl", err)
	}
	return fd, nil
}

// wait returns the numbers of connections to be read, none after timeout. They
// are valid until the next call.
func (p *poller) wait(timeout time.Duration) ([]int32, error) {
	n, err := p.poll(timeout)
	if err != nil {
		if errors.Is(err, syscall.EINTR) {
			return nil, nil
		}
		return nil, os.NewSyscallError("epoll_wait", err)
	}
	for i := range n {
		p.ready[i] = p.events[i].Fd
	}
	return p.ready[:n], nil
}

func (p *poller) poll(timeout time.Duration) (int, error) {
	if !p.coarse {
		ts := syscall.NsecToTimespec(int64(timeout))
		n, _, errno := syscall.Syscall6(epollPwait2, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), batch,
			uintptr(unsafe.Pointer(&ts)), 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.ENOSYS, syscall.EPERM: // an old kernel, or a sandbox that does not know it
			p.coarse = true
		default:
			return 0, errno
		}
	}
	ms := (timeout + time.Millisecond - 1) / time.Millisecond
	return syscall.EpollWait(p.fd, p.events[:], int(ms))
}

func closeFD(fd int) error { return os.NewSyscallError("close", syscall.Close(fd)) }

func writeFD(fd int, b []byte) (int, error) {
	for {
		n, err := syscall.Write(fd, b)
		switch {
		case err == nil:
			return n, nil
		case errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
			return 0, fmt.Errorf("%w (%w)", errClosed, err)
		case !errors.Is(err, syscall.EINTR):
			return 0, os.NewSyscallError("write", err)
		}
	}
}

// readFD returns -1 when there is nothing to read now and 0 at the end.
func readFD(fd int, b []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, b)
		switch {
		case err == nil:
			return n, nil
		case errors.Is(err, syscall.EAGAIN):
			return -1, nil
		case errors.Is(err, syscall.ECONNRESET):
			return 0, fmt.Errorf("%w (%w)", errClosed, err)
		case !errors.Is(err, syscall.EINTR):
			return 0, os.NewSyscallError("read", err)
		}
	}
}
