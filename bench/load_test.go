package bench

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// listen starts an HTTP server and returns its address.
func listen(t *testing.T, h http.HandlerFunc) netip.AddrPort {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	addr, err := loopback(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

func dial(t *testing.T, l Load) *Generator {
	t.Helper()
	l.Requests = requests([]string{"/o/a.gif", "/o/b.gif", "/o/c.gif"})
	g, err := Dial(l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func TestClosedLoop(t *testing.T) {
	var got, strange atomic.Int64
	addr := listen(t, func(w http.ResponseWriter, r *http.Request) {
		got.Add(1)
		if !strings.HasPrefix(r.URL.Path, "/o/") || r.UserAgent() == "" {
			strange.Add(1)
		}
		if r.URL.Path == "/o/b.gif" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write([]byte("GIF89a"))
	})
	g := dial(t, Load{Addr: addr, Conns: 5, Threads: 2})
	var sum int64
	for range 2 {
		r, err := g.Run(t.Context(), 30*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		sum += r.Answered
		if r.Answered < 3 || r.Latency.TotalCount() != r.Answered || r.Elapsed < 30*time.Millisecond || r.PerSecond() <= 0 {
			t.Errorf("%+v", r)
		}
		if third := r.Answered / 3; r.NotOK < third-5 || r.NotOK > third+5 {
			t.Errorf("%d of %d answers not 200, want a third", r.NotOK, r.Answered)
		}
	}
	if sum != got.Load() || strange.Load() != 0 {
		t.Errorf("counted %d answers, the server %d requests, %d of them strange", sum, got.Load(), strange.Load())
	}
}

func TestOpenLoop(t *testing.T) {
	var got atomic.Int64
	addr := listen(t, func(http.ResponseWriter, *http.Request) { got.Add(1) })
	g := dial(t, Load{Addr: addr, Conns: 8, Threads: 2, Rate: 2000})
	r, err := g.Run(t.Context(), 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if r.Answered != 200 || got.Load() != 200 || r.Unsent != 0 {
		t.Errorf("answered %d, received %d, unsent %d; want 200 arrivals", r.Answered, got.Load(), r.Unsent)
	}
	if r.Elapsed < 95*time.Millisecond {
		t.Errorf("200 arrivals at 2,000/s in %v", r.Elapsed)
	}
}

// A worker that is behind takes answers between the requests that it sends.
func TestOpenLoopTakesTurns(t *testing.T) {
	addr := listen(t, func(http.ResponseWriter, *http.Request) {})
	w := dial(t, Load{Addr: addr, Conns: 4 * batch, Threads: 1, Rate: 1e6}).workers[0]
	w.result, w.end = Result{Latency: newLatency()}, time.Hour
	now, err := w.sendDue(time.Now().Add(-time.Minute))
	if err != nil || w.inFlight != batch {
		t.Errorf("%d requests sent before the first answer is taken, %v", w.inFlight, err)
	}
	if got := w.pause(now); got != 0 {
		t.Errorf("waits for %v with requests due", got)
	}
}

// A server that stalls makes every request late that was due meanwhile, not only
// the one it was busy with.
func TestOpenLoopCountsWaiting(t *testing.T) {
	const stall = 100 * time.Millisecond
	var first atomic.Bool
	addr := listen(t, func(http.ResponseWriter, *http.Request) {
		if first.CompareAndSwap(false, true) {
			<-time.After(stall)
		}
	})
	g := dial(t, Load{Addr: addr, Conns: 1, Threads: 1, Rate: 1000})
	r, err := g.Run(t.Context(), 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if got := time.Duration(r.Latency.Max()); got < stall*99/100 {
		t.Errorf("max latency %v, the server stalled for %v", got, stall)
	}
	if got := time.Duration(r.Latency.ValueAtPercentile(75)); got < stall/10 {
		t.Errorf("p75 is %v: half of the requests were due while the server stalled", got)
	}
	if r.Answered != 200 || r.Lag < stall/2 {
		t.Errorf("%+v", r)
	}
}

func TestOpenLoopGivesUp(t *testing.T) {
	release := make(chan struct{})
	addr := listen(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	g := dial(t, Load{Addr: addr, Conns: 2, Threads: 1, Rate: 1000})
	timer := time.AfterFunc(grace+500*time.Millisecond, func() { close(release) })
	defer timer.Stop()
	r, err := g.Run(t.Context(), 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if r.Answered != 2 || r.Unsent != 48 {
		t.Errorf("answered %d, unsent %d; want 2 and 48", r.Answered, r.Unsent)
	}
}

// raw serves bytes that net/http would not write.
func raw(t *testing.T, answer string) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				_, _ = c.Write([]byte(answer))
			}
			c.Close()
		}
	}()
	return netip.MustParseAddrPort(ln.Addr().String())
}

func TestRunErrors(t *testing.T) {
	for answer, want := range map[string]string{
		"":                                       errClosed.Error(),
		"HTTP/1.1 200 OK\r\nContent-Length: 9":   errClosed.Error(),
		"HTTP/1.1 200 OK\r\n\r\n":                "no Content-Length",
		"SSH-2.0-OpenSSH_9.6 is no HTTP\r\n\r\n": "status line",
	} {
		g := dial(t, Load{Addr: raw(t, answer), Conns: 2, Threads: 2})
		_, err := g.Run(t.Context(), time.Minute)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("answer %q: %v, want %s", answer, err, want)
		}
	}
}

func TestRunCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var got atomic.Int64
	addr := listen(t, func(http.ResponseWriter, *http.Request) {
		if got.Add(1) == 50 {
			cancel()
		}
	})
	g := dial(t, Load{Addr: addr, Conns: 2, Threads: 1})
	if _, err := g.Run(ctx, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestDialRefuses(t *testing.T) {
	one := requests([]string{"/"})
	home := netip.MustParseAddrPort("127.0.0.1:1")
	for name, l := range map[string]Load{
		"another machine":   {Addr: netip.MustParseAddrPort("192.0.2.1:80"), Requests: one, Conns: 1, Threads: 1},
		"no requests":       {Addr: home, Conns: 1, Threads: 1},
		"too many threads":  {Addr: home, Requests: one, Conns: 1, Threads: 2},
		"nobody listens":    {Addr: home, Requests: one, Conns: 1, Threads: 1},
		"nobody on IPv6":    {Addr: netip.MustParseAddrPort("[::1]:1"), Requests: one, Conns: 1, Threads: 1},
		"a negative rate":   {Addr: home, Requests: one, Conns: 1, Threads: 1, Rate: -1},
		"no thread at all":  {Addr: home, Requests: one, Conns: 1},
		"a missing address": {Requests: one, Conns: 1, Threads: 1},
	} {
		if g, err := Dial(l); err == nil {
			t.Errorf("%s: accepted", name)
			g.Close()
		}
	}
}

func TestLoopback(t *testing.T) {
	for url, ok := range map[string]bool{
		"http://127.0.0.1:8025": true, "http://[::1]:8025": true, "http://127.9.9.9:1/": true,
		"http://10.0.0.1:80": false, "https://127.0.0.1:1": false, "http://example.com:80": false, "http://127.0.0.1": false, "": false, "::": false,
	} {
		if _, err := loopback(url); (err == nil) != ok {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestAnswers(t *testing.T) {
	const good = "HTTP/1.1 200 OK\r\nServer: x\r\nCONTENT-length:  3 \r\n\r\nGIF"
	for _, c := range []struct {
		in  string
		n   int
		ok  bool
		err string
	}{
		{in: good, n: len(good), ok: true},
		{in: good[:len(good)-1]},
		{in: good[:20]},
		{in: ""},
		{in: good + "x", err: "1 bytes after the end"},
		{in: "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", n: 45},
		{in: "HTTP/1.1 204 No Content\r\n\r\n", err: "no Content-Length"},
		{in: "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", err: "header line"},
		{in: "HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n", err: "header line"},
		{in: "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", err: "header line"},
		{in: "HTTP/1.1 99999\r\n\r\n", err: "status line"},
		{in: "HTTP/1.1 2x0 OK\r\n\r\n", err: "status line"},
		{in: "HTTP/1.0 200 OK\r\n\r\n", err: "status line"},
		{in: "HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n", err: "at most"},
		{in: strings.Repeat("x", maxAnswer), err: "no end of head"},
	} {
		for _, a := range []*answers{{}, {last: []byte(good)}} {
			n, ok, err := a.end([]byte(c.in))
			if (err == nil) != (c.err == "") || (err != nil && !strings.Contains(err.Error(), c.err)) {
				t.Errorf("%.40q: %v, want %q", c.in, err, c.err)
			}
			if err == nil && (n != c.n || ok != c.ok) {
				t.Errorf("%.40q: %d, %v; want %d, %v", c.in, n, ok, c.n, c.ok)
			}
		}
	}
}

// The generator shares the machine with the server: a request must cost nothing
// but its system calls.
func TestRunAllocates(t *testing.T) {
	a := answers{}
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nGIF")
	if _, _, err := a.end(answer); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _, _, _ = a.end(answer) }); n != 0 {
		t.Errorf("%v allocations per known answer", n)
	}
	if n := testing.AllocsPerRun(100, func() { _, _, _ = parseHead(answer[:len(answer)-7]) }); n != 0 {
		t.Errorf("%v allocations per parsed answer", n)
	}
}
