package ingest

import (
	"bufio"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// While a worker is being started, its process has for a moment what files this one
// has. So closing a socket does not end what epoll tells of it.
func TestClosedSocketIsHeardOfNoMore(t *testing.T) {
	w := open(t, nil)
	f := w.front()
	client := w.connect()
	inherited, err := unix.Dup(f.only().fd)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(inherited)
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for f.open.Load() > 0 {
		runtime.Gosched()
	}
	if err := errors.Join(client.SetLinger(0), client.Close()); err != nil { // resets
		t.Fatal(err)
	}
	again := w.connect()
	send(t, again, w.pixel())
	answers(t, bufio.NewReader(again), 1)
}

// What is read of a connection that was just shut down is not recorded: it cannot be
// answered, and its client may ask again.
func TestNothingIsRecordedAfterShutdown(t *testing.T) {
	w, posted := slow(t)
	f := w.front()
	client := w.connect()
	c := f.only()
	c.end() // while the loop has a request of it in its hands
	var q plain
	var r request
	text := []byte(w.pixel())
	if q.parse(text) == 0 || !w.public.plainly(c, &q, &r) {
		t.Fatal("not taken")
	}
	if len(posted) > 0 {
		(<-posted).Done(nil)
		t.Error("recorded and never answered")
	}
	ends(t, client)
}

// A client that goes while nothing of it is read is forgotten when the log is done.
func TestPausedClientGoes(t *testing.T) {
	w, posted := slow(t)
	f := w.front()
	client := w.connect()
	c := f.only()
	c.hold(make([]byte, maxPending+1))
	send(t, client, w.pixel())
	for paused := false; !paused; runtime.Gosched() {
		c.mu.Lock()
		paused = c.mu.paused
		c.mu.Unlock()
	}
	if err := errors.Join(client.SetLinger(0), client.Close()); err != nil {
		t.Fatal(err)
	}
	c.Done(nil)
	for f.open.Load() > 0 {
		select {
		case i := <-posted:
			i.Done(nil)
		default:
			runtime.Gosched()
		}
	}
}

// What a client has let grow is not kept for it.
func TestLargeAnswersAreNotKept(t *testing.T) {
	w, posted := slow(t)
	f := w.front()
	client := w.connect()
	c := f.only()
	c.hold(make([]byte, 8*maxPending))
	c.Done(nil)
	if _, err := io.CopyN(io.Discard, client, 8*maxPending); err != nil {
		t.Fatal(err)
	}
	send(t, client, w.pixel())
	(<-posted).Done(nil)
	answers(t, bufio.NewReader(client), 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if cap(c.mu.pending) > maxPending {
		t.Errorf("%d bytes are kept", cap(c.mu.pending))
	}
}

// However many requests come at once and however they are cut, each is answered, in order.
func TestPipelineInPieces(t *testing.T) {
	w := open(t, nil)
	w.front()
	c := w.connect()
	whole := strings.Repeat(w.pixel(), 200) + strings.Repeat(w.pixel("Purpose: prefetch"), 200) + strings.Repeat(w.pixel("Connection: Keep-Alive"), 200)
	go io.WriteString(c, whole)
	answers(t, bufio.NewReader(c), 600)
	if s := w.public.Stats(); s.Recorded != 400 || s.Prefetched != 200 {
		t.Errorf("%+v", s)
	}
}
