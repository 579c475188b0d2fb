package ingest

import (
	"net/netip"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxPending is how many bytes of answers wait on a connection before no more of its
// requests are read: only a client that does not wait for answers gets there.
const maxPending = 16 << 10

// conn is a connection of a loop. It sends an answer when the interactions that it
// answers for are durable. Nobody waits for that: whoever wrote the group of the log
// sends the answers of all its callers one after another.
//
//	hold ─▶ Done: sent at once, or, if the client does not take it, by the loop
//
// Only the loop closes it. Whoever else wants that shuts the socket down, which the
// loop hears of.
type conn struct {
	loop *loop
	slot int32
	fd   int
	peer netip.Addr

	mu struct {
		sync.Mutex
		held    int    // interactions whose outcome is not known
		pending []byte // answers that wait for them, or for the client
		by      int64  // when the client must have gone on, in seconds of the front
		stuck   bool   // the client does not take what is due
		paused  bool   // nothing is read before pending is sent
		ending  bool   // to be shut down once pending is sent
		shut    bool   // shut down: nothing more can be answered
		gone    bool   // closed, or leaving

		leaving bool   // fasthttp goes on once nothing is held
		rest    []byte // of what was read, for fasthttp
	}
}

// hold keeps answer, and what follows it, back until Done, if it can be sent at all.
func (c *conn) hold(answer []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.shut {
		return false
	}
	c.mu.held++
	c.mu.pending = append(c.mu.pending, answer...)
	return true
}

// say sends answer after those that are pending.
func (c *conn) say(answer []byte) {
	c.mu.Lock()
	c.mu.pending = append(c.mu.pending, answer...)
	c.sendLocked()
	c.mu.Unlock()
}

// Done implements engine.Waiter: the outcome of an interaction is known.
func (c *conn) Done(err error) {
	c.mu.Lock()
	c.mu.held--
	if c.mu.held == 0 && c.mu.leaving {
		go c.loop.front.stray(c)
	} else {
		c.sendLocked()
	}
	c.mu.Unlock()
	c.loop.front.public.settle(err)
}

// sendLocked sends what is due as far as that is possible without waiting.
func (c *conn) sendLocked() {
	if c.mu.held > 0 || c.mu.gone || len(c.mu.pending) == 0 {
		return
	}
	rest := c.mu.pending
	for len(rest) > 0 {
		n, errno := writeOnce(uintptr(c.fd), rest)
		if errno == syscall.EAGAIN {
			break
		}
		if errno != 0 {
			c.mu.ending = true
			n = len(rest)
		}
		rest = rest[n:]
	}
	c.mu.pending = c.mu.pending[:copy(c.mu.pending, rest)]
	if len(rest) > 0 {
		if !c.mu.stuck {
			c.mu.stuck, c.mu.by = true, c.loop.front.seconds.Load()+int64(writeTimeout.Seconds())
		}
		return
	}
	if cap(c.mu.pending) > maxPending {
		c.mu.pending = nil // what one client has let grow is not kept while it is idle
	}
	c.mu.stuck, c.mu.by = false, c.loop.front.seconds.Load()+int64(idleTimeout.Seconds())
	if c.mu.ending {
		c.shutdownLocked()
	} else if c.mu.paused {
		c.mu.paused = false
		c.loop.rearm(c)
	}
}

func (c *conn) shutdownLocked() {
	c.mu.shut = true
	_ = unix.Shutdown(c.fd, unix.SHUT_RDWR) // fails if the client was faster
}

// readable reports whether requests may be read.
func (c *conn) readable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sendLocked()
	c.mu.paused = c.mu.stuck || len(c.mu.pending) > maxPending
	return !c.mu.paused
}

// finish ends the connection once nothing is pending, and reports whether that is now.
func (c *conn) finish() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sendLocked()
	c.mu.ending = true
	return c.mu.held == 0 && len(c.mu.pending) == 0
}

// end shuts an idle connection down, and any other one once it is idle.
func (c *conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.ending = true
	if !c.mu.gone && c.mu.held == 0 && len(c.mu.pending) == 0 {
		c.shutdownLocked()
	}
}

// expire shuts the connection down if its client has not gone on in time.
func (c *conn) expire(now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mu.gone && c.mu.held == 0 && now > c.mu.by {
		c.shutdownLocked()
	}
}

// close closes the socket. Done may still come.
func (c *conn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.gone, c.mu.pending = true, nil
	_ = unix.Close(c.fd) // nothing of it is still to be written
}

// leave makes fasthttp go on with the connection, from rest.
func (c *conn) leave(rest []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.gone, c.mu.leaving, c.mu.rest = true, true, rest
	if c.mu.held == 0 {
		go c.loop.front.stray(c)
	}
}
