package ingest

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// holding is a listener whose connections can hold answers back.
type holding struct {
	net.Listener
	public *Public
}

// Accept implements net.Listener.
func (h holding) Accept() (net.Conn, error) {
	nc, err := h.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nc, nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return newConn(directly(nc, raw), raw, h.public), nil
}

// conn sends an answer when the interactions that it answers for are durable.
// Its goroutine does not wait for that: it goes on to read the next request, and
// whoever wrote the group of the log sends the answers of all its callers one
// after another. That spares a second switch of goroutines per request, which
// costs more than the log does.
//
//	hold ─▶ Write: pending ─▶ Done: sent at once, or, if the client does not take
//	                          it, by the connection's own goroutine
//
// Deadlines are kept exactly but armed seldom: one that is moved further away
// is looked at when the earlier one has come.
type conn struct {
	net.Conn
	raw    syscall.RawConn
	public *Public
	peer   netip.Addr
	push   func(fd uintptr) bool // (*conn).pushOnce, made once so that sending allocates nothing

	readBy, armed time.Time // of the connection's goroutine

	mu struct {
		sync.Mutex
		held    int       // interactions whose outcome is not known
		pending []byte    // answers that wait for them, or for the client
		stuck   bool      // pending is due, and the client does not take it
		waiting bool      // for the client, without the lock
		writeBy time.Time // when that wait ends
		err     error     // why nothing more can be sent
		pushed  int       // of the last push
	}
	settled sync.Cond // pending became empty or stuck, or sending failed
}

func newConn(nc net.Conn, raw syscall.RawConn, p *Public) *conn {
	c := &conn{Conn: nc, raw: raw, public: p, peer: addrOf(nc.RemoteAddr())}
	c.push = c.pushOnce
	c.settled.L = &c.mu
	return c
}

// addrOf returns the IP address of a TCP end, or none.
func addrOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	addr, _ := netip.AddrFromSlice(tcp.IP)
	return addr.Unmap()
}

// hold keeps the next answer back until Done.
func (c *conn) hold() {
	c.mu.Lock()
	c.mu.held++
	c.mu.Unlock()
}

// Done implements engine.Waiter: the outcome of an interaction is known.
func (c *conn) Done(err error) {
	c.mu.Lock()
	c.mu.held--
	stuck := false
	if c.mu.held == 0 && len(c.mu.pending) > 0 && !c.mu.stuck {
		c.sendLocked()
		c.settled.Broadcast()
		if stuck = c.mu.stuck; stuck {
			c.mu.writeBy = time.Now().Add(writeTimeout)
		}
	}
	c.mu.Unlock()
	if stuck { // wakes Read, which sends the rest
		_ = c.Conn.SetReadDeadline(time.Unix(1, 0)) // fails on a closed connection only
	}
	c.public.settle(err)
}

// sendLocked sends pending as far as that is possible without waiting.
func (c *conn) sendLocked() {
	c.mu.pushed = 0
	if err := c.raw.Write(c.push); err != nil && c.mu.err == nil {
		c.mu.err = err
	}
	rest := c.mu.pending[c.mu.pushed:]
	if c.mu.err != nil {
		rest = nil
	}
	c.mu.pending = c.mu.pending[:copy(c.mu.pending, rest)]
	c.mu.stuck = len(rest) > 0
}

// Write sends b, or keeps it until what it answers for is durable. Only one
// answer is kept: a client that sends more requests meanwhile waits.
func (c *conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.finishLocked(); err != nil {
		return 0, err
	}
	c.mu.pending = append(c.mu.pending, b...)
	if c.mu.held == 0 {
		c.sendLocked()
		if err := c.finishLocked(); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// finishLocked waits until nothing is pending. The lock is not held while the
// client is waited for: Done must never wait for one.
func (c *conn) finishLocked() error {
	for len(c.mu.pending) > 0 && c.mu.err == nil {
		if !c.mu.stuck || c.mu.waiting {
			c.settled.Wait()
			continue
		}
		rest, by := c.mu.pending, c.mu.writeBy
		c.mu.waiting = true
		c.mu.Unlock()
		err := c.Conn.SetWriteDeadline(by)
		if err == nil {
			_, err = c.Conn.Write(rest)
		}
		if err == nil {
			err = c.Conn.SetWriteDeadline(time.Time{})
		}
		c.mu.Lock()
		c.mu.pending, c.mu.stuck, c.mu.waiting, c.mu.err = rest[:0], false, false, err
		c.settled.Broadcast()
	}
	return c.mu.err
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	for {
		if err := c.unstick(); err != nil {
			return 0, err
		}
		n, err := c.Conn.Read(b)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if !c.readBy.IsZero() && !time.Now().Before(c.readBy) {
			return 0, err
		}
		if err := c.arm(); err != nil {
			return 0, err
		}
	}
}

// unstick sends what a client did not take at once.
func (c *conn) unstick() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mu.stuck {
		return nil
	}
	return c.finishLocked()
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.readBy = t
	if c.armed.IsZero() || t.Before(c.armed) {
		return c.arm()
	}
	return nil
}

func (c *conn) arm() error {
	c.armed = c.readBy
	return c.Conn.SetReadDeadline(c.readBy)
}

// SetWriteDeadline implements net.Conn: it bounds the wait for a client that
// does not take its answer, not the wait for the log.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	c.mu.writeBy = t
	c.mu.Unlock()
	return nil
}

// Close sends what is pending, then closes the connection.
func (c *conn) Close() error {
	c.mu.Lock()
	err := c.finishLocked()
	c.mu.Unlock()
	return errors.Join(err, c.Conn.Close())
}
