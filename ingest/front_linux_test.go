package ingest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"mailwake/engine"
	"mailwake/engine/event"
	"mailwake/ingest/token"
)

// slowLog is an engine that makes nothing durable before it is told to.
type slowLog struct {
	journal
	posted chan engine.Waiter
}

func (s *slowLog) Post(_ []event.Interaction, w engine.Waiter) error {
	s.posted <- w
	return nil
}

// slow opens a world whose interactions wait; wait for Done of what comes out of
// the channel.
func slow(t *testing.T) (*world, chan engine.Waiter) {
	log := &slowLog{posted: make(chan engine.Waiter, 1<<16)}
	return open(t, func(o *PublicOptions) { o.Engine = log }), log.posted
}

func (w *world) connect() *net.TCPConn {
	w.t.Helper()
	nc, err := w.dial()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { nc.Close() })
	return nc.(*net.TCPConn)
}

// front makes w.dial lead to a front that the test can look into.
func (w *world) front() *front {
	w.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	fl, run, err := w.public.front(ln)
	if err != nil {
		w.t.Fatal(err)
	}
	var serving errgroup.Group
	serving.Go(run)
	s := newServer(w.public.handle, w.public.opts.MaxConns)
	serving.Go(func() error { return s.Serve(fl) })
	w.t.Cleanup(func() {
		if err := errors.Join(s.Shutdown(), fl.Close(), serving.Wait()); err != nil {
			w.t.Error(err)
		}
	})
	w.dial = func() (net.Conn, error) { return net.Dial("tcp", ln.Addr().String()) }
	return fl.(*front)
}

func (w *world) pixel(headers ...string) string {
	return "GET /o/" + w.token(token.KindOpen, w.claims()) + ".gif HTTP/1.1\r\nHost: t.example\r\n" + strings.Join(append(headers, "", ""), "\r\n")
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// silentFor fails if something arrives although nothing may. That it waits a while
// can hide a mistake but not make one up.
func silentFor(t *testing.T, c net.Conn, d time.Duration) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes, %v before the interaction was durable", n, err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
}

func answers(t *testing.T, r *bufio.Reader, n int) {
	t.Helper()
	for i := range n {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 || string(body) != string(gif) {
			t.Fatalf("answer %d: %d, %d bytes, %v", i, resp.StatusCode, len(body), err)
		}
	}
}

func TestAnswerWaitsForTheLog(t *testing.T) {
	w, posted := slow(t)
	c := w.connect()
	r := bufio.NewReader(c)
	for _, outcome := range []error{nil, errors.New("disk full"), nil} {
		send(t, c, w.pixel())
		interaction := <-posted
		silentFor(t, c, 20*time.Millisecond)
		interaction.Done(outcome)
		answers(t, r, 1)
	}
	if s := w.public.Stats(); s.Recorded != 2 || s.NotRecorded != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestPipelinedAnswersWaitForAllTheyAnswer(t *testing.T) {
	w, posted := slow(t)
	c := w.connect()
	send(t, c, strings.Repeat(w.pixel(), 3)) // answered with one write
	first, second, third := <-posted, <-posted, <-posted
	third.Done(nil)
	first.Done(nil)
	silentFor(t, c, 20*time.Millisecond)
	second.Done(nil)
	answers(t, bufio.NewReader(c), 3)
}

// A client that has no more requests still gets the answer to its last one.
func TestHalfClosedConnectionIsAnswered(t *testing.T) {
	w, posted := slow(t)
	c := w.connect()
	send(t, c, w.pixel())
	interaction := <-posted
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	silentFor(t, c, 20*time.Millisecond)
	interaction.Done(nil)
	r := bufio.NewReader(c)
	answers(t, r, 1)
	ends(t, r)
}

func ends(t *testing.T, r io.Reader) {
	t.Helper()
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("%d bytes, %v instead of the end of the connection", n, err)
	}
}

// Requests that fasthttp answers come after those that the front has taken before.
func TestFasthttpGoesOnAfterTheFront(t *testing.T) {
	w, posted := slow(t)
	c := w.connect()
	whole := w.pixel() + "GET /c/x HTTP/1.1\r\nHost: t.example\r\nExpect: nothing\r\n\r\n" + w.pixel()
	send(t, c, whole[:len(whole)-10]) // a request that is not whole is fasthttp's too
	interaction := <-posted
	silentFor(t, c, 20*time.Millisecond)
	interaction.Done(nil)
	r := bufio.NewReader(c)
	answers(t, r, 1)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 404 {
		t.Fatalf("%v, %v", resp, err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	send(t, c, whole[len(whole)-10:])
	answers(t, r, 1)
	if s := w.public.Stats(); s.Recorded != 2 {
		t.Errorf("stats %+v", s)
	}
}

// only returns the one connection of a front, once it is there.
func (f *front) only() (found *conn) {
	for found == nil {
		for _, l := range f.loops {
			l.each(func(c *conn) { found = c })
		}
		runtime.Gosched()
	}
	return found
}

// A client that does not take its answers holds up neither who writes the log, nor
// the memory; it gets them all once it does, and is read again.
func TestClientThatTakesNoAnswers(t *testing.T) {
	w, posted := slow(t)
	f := w.front()
	client := w.connect()
	for _, size := range []int{maxPending + 1, 32 << 20} { // the latter is more than the buffers of both ends take
		large := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)
		c := f.only()
		c.hold(large)
		send(t, client, w.pixel())
		for paused := false; !paused; {
			c.mu.Lock()
			paused = c.mu.paused
			c.mu.Unlock()
			runtime.Gosched()
		}
		c.Done(nil)
		got := make([]byte, len(large))
		if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, large) {
			t.Fatalf("received something else: %v", err)
		}
		(<-posted).Done(nil)
		answers(t, bufio.NewReader(client), 1)
	}
}

// A connection whose client has gone is forgotten, whatever is still held for it.
func TestClientGoesBeforeItsAnswer(t *testing.T) {
	w, posted := slow(t)
	f := w.front()
	c := w.connect()
	send(t, c, w.pixel())
	interaction := <-posted
	if err := errors.Join(c.SetLinger(0), c.Close()); err != nil { // resets
		t.Fatal(err)
	}
	for f.open.Load() > 0 {
		runtime.Gosched()
	}
	interaction.Done(nil)
	if s := w.public.Stats(); s.Recorded != 1 {
		t.Errorf("stats %+v", s)
	}
	again := w.connect() // may get the same descriptor
	send(t, again, w.pixel())
	(<-posted).Done(nil)
	answers(t, bufio.NewReader(again), 1)
}

func TestDeadlines(t *testing.T) {
	w, posted := slow(t)
	f := w.front()
	c := w.connect()
	r := bufio.NewReader(c)
	only := f.only()
	after := func(limit time.Duration) int64 { // is when the connection must go on
		for ; ; runtime.Gosched() {
			only.mu.Lock()
			by := only.mu.by
			only.mu.Unlock()
			if by >= int64(limit.Seconds()) {
				return by
			}
		}
	}
	only.expire(after(readTimeout))
	send(t, c, w.pixel())
	interaction := <-posted
	only.expire(1 << 40) // the log may take its time
	interaction.Done(nil)
	answers(t, r, 1)
	by := after(idleTimeout)
	only.expire(by)
	silentFor(t, c, 20*time.Millisecond)
	only.expire(by + 1)
	ends(t, r)
}

func TestTooManyConnections(t *testing.T) {
	w := open(t, func(o *PublicOptions) { o.MaxConns = 2 })
	w.front()
	ask := func() (int, net.Conn) {
		c := w.connect()
		send(t, c, w.pixel())
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return 0, c // reset, since what was sent is not read
		}
		return resp.StatusCode, c
	}
	status, first := ask()
	if status != 200 {
		t.Fatalf("first: %d", status)
	}
	if resp, _ := w.ask("GET", "/c/x"); resp.StatusCode != 404 { // fasthttp's count too, as long as they last
		t.Fatalf("second: %d", resp.StatusCode)
	}
	for status = 0; status != 404; { // until the end of the one before is known
		stay := w.connect()
		send(t, stay, "GET /c/x HTTP/1.1\r\nHost: t.example\r\nExpect: nothing\r\n\r\n")
		if resp, err := http.ReadResponse(bufio.NewReader(stay), nil); err == nil {
			status = resp.StatusCode
		}
	}
	if status, _ := ask(); status == 200 {
		t.Error("a third connection is served")
	}
	first.Close()
	for status = 0; status != 200; {
		status, _ = ask()
	}
}

func TestShutdownSendsWhatIsHeld(t *testing.T) {
	log := &slowLog{posted: make(chan engine.Waiter, 1)}
	w := open(t, func(o *PublicOptions) { o.Engine = log })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- w.public.Serve(ctx, ln) }()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	send(t, c, w.pixel())
	interaction := <-log.posted
	idle, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	stop()
	silentFor(t, c, 20*time.Millisecond)
	interaction.Done(nil)
	r := bufio.NewReader(c)
	answers(t, r, 1)
	ends(t, r)
	ends(t, idle)
	if err := <-served; err != nil {
		t.Error(err)
	}
}
