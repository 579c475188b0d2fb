package ingest

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwake/engine"
	"mailwake/engine/classify"
	"mailwake/engine/event"
	"mailwake/engine/registry"
	"mailwake/ingest/token"
)

// journal is an engine that remembers, or refuses.
type journal struct {
	mu     sync.Mutex
	events []event.Interaction
	err    error
}

func (j *journal) Append(_ context.Context, events []event.Interaction) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return j.err
	}
	for _, e := range events {
		e.UserAgent = strings.Clone(e.UserAgent)
		j.events = append(j.events, e)
	}
	return nil
}

func (j *journal) Post(events []event.Interaction, w engine.Waiter) error {
	if err := j.Append(context.Background(), events); err != nil {
		return err
	}
	w.Done(nil)
	return nil
}

func (j *journal) taken() []event.Interaction {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := j.events
	j.events = nil
	return all
}

// allowed lets organisation 1 through.
type allowed struct{}

func (allowed) Decide(org event.OrgID, _ event.RecipientID, _ event.Kind) registry.Verdict {
	return registry.Verdict{Allow: org == 1}
}

type world struct {
	t      *testing.T
	public *Public
	ring   *token.Ring
	engine *journal
	dial   func() (net.Conn, error)
}

var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, change func(*PublicOptions)) *world {
	t.Helper()
	ring, err := token.NewRing(noon)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, ring: ring, engine: new(journal)}
	opts := PublicOptions{Engine: w.engine, Consent: allowed{}, Tokens: ring, Classifier: classify.New(classify.Options{}), Clock: func() time.Time { return noon }}
	if change != nil {
		change(&opts)
	}
	w.public = NewPublic(opts)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- w.public.Serve(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	w.dial = func() (net.Conn, error) { return net.Dial("tcp", ln.Addr().String()) }
	return w
}

func (w *world) claims() token.Claims {
	return token.Claims{Org: 1, Email: 7, Recipient: 9, Component: 2, Target: "https://example.com/a?b=1&c=[2]"}
}

func (w *world) token(kind token.Kind, c token.Claims) string {
	return string(w.ring.Seal(nil, kind, c))
}

// ask sends raw text and reads one answer.
func (w *world) ask(method, path string, headers ...string) (*http.Response, string) {
	w.t.Helper()
	conn, err := w.dial()
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	text := method + " " + path + " HTTP/1.1\r\nHost: t.example\r\nConnection: close\r\n" + strings.Join(headers, "\r\n")
	if len(headers) > 0 {
		text += "\r\n"
	}
	if _, err := conn.Write([]byte(text + "\r\n")); err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	var body strings.Builder
	if _, err := bufio.NewReader(resp.Body).WriteTo(&body); err != nil {
		w.t.Fatal(err)
	}
	return resp, body.String()
}

const agentHeader = "User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:109.0) Gecko/20100101 Firefox/121.0"

func TestPixel(t *testing.T) {
	w := open(t, nil)
	c := w.claims()
	c.Component, c.Target = 0, ""
	good, body := w.ask("GET", "/o/"+w.token(token.KindOpen, c)+".gif?x=1", agentHeader)
	events := w.engine.taken()
	if len(events) != 1 {
		t.Fatalf("%d events, want 1", len(events))
	}
	e := events[0]
	if e.Org != 1 || e.Email != 7 || e.Recipient != 9 || e.Kind != event.Open || e.Source != event.Pixel || e.Actor != event.Human ||
		e.OccurredAt != event.At(noon) || e.Client != "Firefox" || e.Network != "" {
		t.Errorf("event %+v", e)
	}
	if good.StatusCode != 200 || body != string(gif) || len(body) != 43 {
		t.Errorf("status %d, %d bytes", good.StatusCode, len(body))
	}
	for _, bad := range []string{"/o/.gif", "/o/x.gif", "/o/" + strings.Repeat("A", 3000) + ".gif", "/o/" + w.token(token.KindClick, w.claims()) + ".gif", "/o/%00%ff.gif"} {
		resp, got := w.ask("GET", bad, agentHeader)
		if got != body || resp.StatusCode != 200 || !sameHeaders(resp.Header, good.Header) {
			t.Errorf("%s is answered differently: %d %v", bad[:min(len(bad), 20)], resp.StatusCode, resp.Header)
		}
	}
	if events := w.engine.taken(); len(events) != 0 {
		t.Errorf("bad tokens recorded %d events", len(events))
	}
	if s := w.public.Stats(); s.Pixels != 6 || s.Invalid != 5 || s.Recorded != 1 {
		t.Errorf("stats %+v", s)
	}
}

func sameHeaders(a, b http.Header) bool {
	if len(a) != len(b) {
		return false
	}
	for name := range a {
		if a.Get(name) != b.Get(name) {
			return false
		}
	}
	return true
}

func TestHeaders(t *testing.T) {
	w := open(t, nil)
	for _, path := range []string{"/o/" + w.token(token.KindOpen, w.claims()) + ".gif", "/c/" + w.token(token.KindClick, w.claims()), "/c/x", "/"} {
		resp, _ := w.ask("GET", path, agentHeader)
		for name, want := range map[string]string{
			"Cache-Control": "no-store, no-cache, must-revalidate, private, max-age=0", "Pragma": "no-cache", "Expires": "0",
			"Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
			"Server": "", "Etag": "", "Last-Modified": "", "Set-Cookie": "", "Date": "",
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path[:3], name, got, want)
			}
		}
	}
}

func TestClick(t *testing.T) {
	w := open(t, nil)
	resp, _ := w.ask("GET", "/c/"+w.token(token.KindClick, w.claims()), agentHeader)
	if resp.StatusCode != 302 || resp.Header.Get("Location") != w.claims().Target {
		t.Errorf("%d to %q", resp.StatusCode, resp.Header.Get("Location"))
	}
	if e := w.engine.taken(); len(e) != 1 || e[0].Kind != event.Click || e[0].Component != 2 || e[0].Source != event.Redirect {
		t.Errorf("events %+v", e)
	}
	for _, bad := range []string{"/c/", "/c/abc", "/c/" + w.token(token.KindOpen, w.claims()), "/x", "/o/abc", "//c/x", "/c"} {
		if resp, _ := w.ask("GET", bad, agentHeader); resp.StatusCode != 404 || resp.Header.Get("Location") != "" {
			t.Errorf("%s: %d to %q, want 404", bad, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
	if resp, _ := w.ask("POST", "/c/"+w.token(token.KindClick, w.claims())); resp.StatusCode != 405 {
		t.Errorf("POST: %d", resp.StatusCode)
	}
	if e := w.engine.taken(); len(e) != 0 {
		t.Errorf("bad requests recorded %+v", e)
	}
}

func TestNotRecorded(t *testing.T) {
	w := open(t, nil)
	path := "/o/" + w.token(token.KindOpen, w.claims()) + ".gif"
	click := "/c/" + w.token(token.KindClick, w.claims())
	for _, header := range []string{"Purpose: prefetch", "Sec-Purpose: prefetch;prerender", "X-Moz: prefetch"} {
		if resp, _ := w.ask("GET", click, agentHeader, header); resp.StatusCode != 302 {
			t.Errorf("%s: %d", header, resp.StatusCode)
		}
	}
	if resp, body := w.ask("HEAD", path, agentHeader); resp.StatusCode != 200 || body != "" || resp.ContentLength != 43 {
		t.Errorf("HEAD: %d, %d bytes, length %d", resp.StatusCode, len(body), resp.ContentLength)
	}
	other := w.claims()
	other.Org = 2 // not allowed
	if resp, _ := w.ask("GET", "/c/"+w.token(token.KindClick, other), agentHeader); resp.StatusCode != 302 {
		t.Errorf("organisation that is off: %d", resp.StatusCode)
	}
	if e := w.engine.taken(); len(e) != 0 {
		t.Errorf("recorded %+v", e)
	}
	if s := w.public.Stats(); s.Prefetched != 4 || s.NotAllowed != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestEngineRefuses(t *testing.T) {
	w := open(t, nil)
	path := "/o/" + w.token(token.KindOpen, w.claims()) + ".gif"
	w.engine.err = errors.New("log full")
	if resp, body := w.ask("GET", path, agentHeader); resp.StatusCode != 200 || body != string(gif) {
		t.Errorf("%d, %d bytes", resp.StatusCode, len(body))
	}
	if s := w.public.Stats(); s.NotRecorded != 1 || s.Recorded != 0 {
		t.Errorf("stats %+v", s)
	}
	w.engine.err = nil
	w.ask("GET", path, agentHeader)
	if s := w.public.Stats(); s.Recorded != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestRemote(t *testing.T) {
	trust := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct{ name, forwarded, want string }{
		{"right-most that is not a proxy", "1.1.1.1, 198.51.100.7, 10.2.3.4", "198.51.100.0/24"},
		{"spoofed on the left", "203.0.113.9, 198.51.100.7", "198.51.100.0/24"},
		{"only proxies", "10.1.1.1, 10.2.2.2", "10.1.1.0/24"},
		{"IPv6", "2001:db8:1:2::3, fd00::1", "2001:db8:1::/48"},
		{"garbage ends the walk", "198.51.100.7, garbage, 10.9.9.9", "10.9.9.0/24"},
		{"none", "", "127.0.0.0/24"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := open(t, func(o *PublicOptions) { o.KeepNetwork, o.TrustedProxies = true, trust })
			w.ask("GET", "/o/"+w.token(token.KindOpen, w.claims())+".gif", agentHeader, "X-Forwarded-For: "+c.forwarded)
			if e := w.engine.taken(); len(e) != 1 || e[0].Network != c.want {
				t.Errorf("network %+v, want %s", e, c.want)
			}
		})
	}
	t.Run("no proxy is trusted by default", func(t *testing.T) {
		w := open(t, func(o *PublicOptions) { o.KeepNetwork = true })
		w.ask("GET", "/o/"+w.token(token.KindOpen, w.claims())+".gif", agentHeader, "X-Forwarded-For: 198.51.100.7")
		if e := w.engine.taken(); len(e) != 1 || e[0].Network != "127.0.0.0/24" {
			t.Errorf("network %+v", e)
		}
	})
}

func TestOversizedRequests(t *testing.T) {
	w := open(t, nil)
	for _, path := range []string{"/o/" + strings.Repeat("A", maxHeader) + ".gif", "/" + strings.Repeat("b", 3*maxHeader)} {
		if resp, _ := w.ask("GET", path, agentHeader); resp.StatusCode != 400 && resp.StatusCode != 431 {
			t.Errorf("%d bytes of path: %d", len(path), resp.StatusCode)
		}
	}
	if resp, _ := w.ask("GET", "/o/"+w.token(token.KindOpen, w.claims())+".gif", agentHeader); resp.StatusCode != 200 {
		t.Errorf("afterwards: %d", resp.StatusCode)
	}
}

func TestLocation(t *testing.T) {
	for in, want := range map[string]string{
		"https://example.com/a?b=1&c=%20#f": "https://example.com/a?b=1&c=%20#f",
		"HTTPS://Example.com/(a)[b]":        "HTTPS://Example.com/(a)[b]",
		"https://bücher.example/größe?q=ä":  "https://xn--bcher-kva.example/gr%C3%B6%C3%9Fe?q=%C3%A4",
		"http://bücher.example:8080":        "http://xn--bcher-kva.example:8080",
		"https://example.com/a b":           "https://example.com/a%20b",
	} {
		if got := location(in); got != want {
			t.Errorf("location(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestRecordAllocates(t *testing.T) {
	w := open(t, nil)
	w.public.opts.Engine = nothing{}
	r := &request{kind: event.Open, source: event.Pixel, claims: w.claims(), userAgent: []byte("Mozilla/5.0 (X11; Linux x86_64; rv:24.0) Gecko/20100101 Thunderbird/24.4.0"), remote: netip.MustParseAddr("198.51.100.7")}
	if n := testing.AllocsPerRun(1000, func() { w.public.record(r) }); n > 0 {
		t.Errorf("%v allocations per interaction, want 0", n)
	}
}

type nothing struct{}

func (nothing) Append(context.Context, []event.Interaction) error { return nil }

func (nothing) Post(_ []event.Interaction, w engine.Waiter) error {
	w.Done(nil)
	return nil
}
