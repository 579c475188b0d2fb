package ingest

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// front takes the connections of a listener, answers what is plain itself, and is the
// listener from which fasthttp gets the others.
//
//	accept ─▶ loop: read ─▶ plain? ─▶ hold, Post ─▶ … Done: answer sent
//	                          └ no ──▶ stray ─▶ fasthttp, as long as the connection lasts
type front struct {
	net.Listener
	public *Public
	loops  []*loop
	strays chan net.Conn
	closed chan struct{}
	once   sync.Once
	failed error // of Close

	next    int            // of loops; accept's
	open    atomic.Int64   // connections, fasthttp's included
	leaving sync.WaitGroup // those on their way to fasthttp
	seconds atomic.Int64   // since the start: what deadlines are measured in
}

// acceptPause is how long the front waits when it cannot accept, as it cannot while
// the process has too many files open.
const acceptPause = 100 * time.Millisecond

// tooMany is the answer to who connects when there are MaxConns.
const tooMany = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

// front returns the listener for fasthttp and what makes it work until it is closed
// and its connections have ended.
func (p *Public) front(ln net.Listener) (net.Listener, func() error, error) {
	f := &front{Listener: ln, public: p, strays: make(chan net.Conn), closed: make(chan struct{})}
	for range max(1, runtime.GOMAXPROCS(0)/2) { // the other half writes the log and sends
		l, err := newLoop(f)
		if err != nil {
			for _, l := range f.loops {
				err = errors.Join(err, l.file.Close())
			}
			return nil, nil, err
		}
		f.loops = append(f.loops, l)
	}
	return f, f.run, nil
}

// Accept returns the next connection that has something to say that is not plain.
func (f *front) Accept() (net.Conn, error) {
	select {
	case c := <-f.strays:
		return c, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

// Close stops accepting; connections end when what they have asked for is answered.
func (f *front) Close() error {
	f.once.Do(func() {
		close(f.closed)
		f.failed = f.Listener.Close()
		for _, l := range f.loops {
			l.end()
		}
	})
	return f.failed
}

func (f *front) run() error {
	var loops, g errgroup.Group
	for _, l := range f.loops {
		loops.Go(func() error {
			err := l.run()
			if err != nil { // nobody would answer its connections
				err = errors.Join(err, f.Close())
			}
			return err
		})
	}
	ended := make(chan struct{})
	g.Go(func() error { f.accept(); return nil })
	g.Go(func() error { f.expire(ended); return nil })
	err := loops.Wait()
	f.leaving.Wait()
	close(ended)
	return errors.Join(err, g.Wait())
}

func (f *front) accept() {
	for failing := false; ; {
		nc, err := f.Listener.Accept()
		switch {
		case err == nil:
			failing = false
			f.take(nc)
			continue
		case errors.Is(err, net.ErrClosed):
			return
		case !failing:
			f.public.opts.Logger.Error("connections cannot be accepted", "error", err)
		}
		failing = true
		select {
		case <-time.After(acceptPause):
		case <-f.closed:
			return
		}
	}
}

// take gives a connection to a loop.
func (f *front) take(nc net.Conn) {
	if f.open.Add(1) > int64(f.public.opts.MaxConns) {
		_, _ = io.WriteString(nc, tooMany) // fits the buffer of a new socket
		_ = nc.Close()
		f.open.Add(-1)
		return
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		f.leaving.Add(1)
		go f.pass(&stray{Conn: nc, front: f})
		return
	}
	f.next = (f.next + 1) % len(f.loops)
	if err := f.loops[f.next].adopt(tcp); err != nil {
		f.open.Add(-1)
		if !errors.Is(err, net.ErrClosed) {
			f.public.opts.Logger.Warn("a connection is lost", "error", err)
		}
	}
}

// expire ends connections whose clients do not go on, within a second of their deadline.
func (f *front) expire(ended <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			now := f.seconds.Add(1)
			for _, l := range f.loops {
				l.each(func(c *conn) { c.expire(now) })
			}
		case <-ended:
			return
		}
	}
}

// stray is a connection for fasthttp.
type stray struct {
	net.Conn
	front  *front
	rest   []byte // read already
	closed atomic.Bool
}

// stray makes c one that fasthttp serves, after what is pending is sent.
func (f *front) stray(c *conn) {
	file := os.NewFile(uintptr(c.fd), "connection")
	nc, err := net.FileConn(file)
	_ = file.Close() // nc has a descriptor of its own
	if err != nil {
		f.public.opts.Logger.Warn("a connection is lost", "error", err)
		f.open.Add(-1)
		f.leaving.Done()
		return
	}
	s := &stray{Conn: nc, front: f, rest: c.mu.rest}
	err = nc.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil {
		_, err = nc.Write(c.mu.pending)
	}
	if err != nil {
		_ = s.Close() // the client has gone
		f.leaving.Done()
		return
	}
	f.pass(s)
}

// pass hands s to Accept.
func (f *front) pass(s *stray) {
	defer f.leaving.Done()
	select {
	case f.strays <- s:
	case <-f.closed:
		_ = s.Close()
	}
}

// Read implements net.Conn.
func (s *stray) Read(b []byte) (int, error) {
	if len(s.rest) > 0 {
		n := copy(b, s.rest)
		s.rest = s.rest[n:]
		return n, nil
	}
	return s.Conn.Read(b)
}

// Close implements net.Conn.
func (s *stray) Close() error {
	if s.closed.Swap(true) {
		return net.ErrClosed
	}
	s.front.open.Add(-1)
	return s.Conn.Close()
}
