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
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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

func TestClosingConnectionSendsWhatItHolds(t *testing.T) {
	w, posted := slow(t)
	c := w.connect()
	send(t, c, w.pixel("Connection: close"))
	interaction := <-posted
	silentFor(t, c, 20*time.Millisecond)
	interaction.Done(nil)
	r := bufio.NewReader(c)
	answers(t, r, 1)
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after the last answer: %v", err)
	}
}

// ends returns a connection and what its client holds.
func ends(t *testing.T) (*conn, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := holding{ln, NewPublic(PublicOptions{})}.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return server.(*conn), client.(*net.TCPConn)
}

// large is more than the buffers of both ends take.
var large = bytes.Repeat([]byte("0123456789abcdef"), 2<<20)

func receive(t *testing.T, c net.Conn, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("received something else: %v", err)
	}
}

// Whoever calls Done writes the log: a client that does not read must not hold it up.
func TestDoneNeverWaitsForAClient(t *testing.T) {
	c, client := ends(t)
	var writer sync.WaitGroup
	writer.Go(func() {
		if _, err := c.Write(large); err != nil {
			t.Error(err)
		}
	})
	receive(t, client, large[:1]) // the answer is on its way and cannot end
	c.hold()
	c.Done(nil)
	receive(t, client, large[1:])
	writer.Wait()
}

// entering tells of each Read.
type entering struct {
	net.Conn
	reads chan struct{}
}

func (e entering) Read(b []byte) (int, error) {
	e.reads <- struct{}{}
	return e.Conn.Read(b)
}

func TestAnswerTheClientDoesNotTakeAtOnce(t *testing.T) {
	c, client := ends(t)
	reads := make(chan struct{}, 8)
	c.Conn = entering{c.Conn, reads}
	c.hold()
	if _, err := c.Write(large); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	var reader sync.WaitGroup
	reader.Go(func() {
		if n, err := c.Read(make([]byte, 8)); n != 1 || err != nil {
			t.Errorf("read %d, %v", n, err)
		}
	})
	<-reads
	c.Done(nil) // sends what fits; the reading goroutine sends the rest
	receive(t, client, large)
	send(t, client, "x")
	reader.Wait()
}

// Deadlines of a connection are kept to the instant, however they are moved.
func TestReadDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		c := newConn(near, nil, nil)
		start := time.Now()
		expires := func(after time.Duration) {
			t.Helper()
			if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != after {
				t.Fatalf("%d, %v after %v, want the deadline after %v", n, err, time.Since(start), after)
			}
		}
		for _, by := range []time.Duration{10, 60, 20} {
			if err := c.SetReadDeadline(start.Add(by * time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		expires(20 * time.Second)
		if err := c.SetReadDeadline(start.Add(90 * time.Second)); err != nil {
			t.Fatal(err)
		}
		expires(90 * time.Second)
		if err := c.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(time.Hour)
			_, _ = far.Write([]byte("x"))
		}()
		if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Fatalf("without a deadline: %d, %v", n, err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	})
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
	stop()
	silentFor(t, c, 20*time.Millisecond)
	interaction.Done(nil)
	r := bufio.NewReader(c)
	answers(t, r, 1)
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after shutdown: %v", err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
