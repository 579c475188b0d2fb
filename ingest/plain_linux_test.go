package ingest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"mailwake/ingest/token"
)

// usual is what mail clients send.
var usual = []string{
	"Host: t.example",
	agentHeader,
	"Accept: image/avif,image/webp,*/*",
	"Accept-Language: en-US,en;q=0.5",
	"Accept-Encoding: gzip, deflate, br",
	"Connection: keep-alive",
	"Referer: https://mail.example/",
	"Sec-Fetch-Dest: image",
}

func raw(path string, headers ...string) string {
	return "GET " + path + " HTTP/1.1\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n"
}

// notPlain are requests of which each has one thing that only fasthttp may judge.
func notPlain() []string {
	host := usual[0]
	all := []string{
		strings.Replace(raw("/o/x.gif", host), "GET", "HEAD", 1), strings.Replace(raw("/o/x.gif", host), "GET", "get", 1),
		strings.Replace(raw("/o/x.gif", host), "1.1", "1.0", 1), strings.Replace(raw("/o/x.gif", host), "\r\n", "\n", 1), "\r\n" + raw("/o/x.gif", host),
		raw("http://t.example/o/x.gif", host), raw("/o/%78.gif", host), raw("/o/x.gif#a", host), raw("/o/x.gif a", host), raw("/o/\x80.gif", host),
		raw("/o/x.gif"), raw("/o/x.gif", host, host), raw("/o/x.gif", "Host:"), raw("/o/x.gif", "Host: a/b"), raw("/o/x.gif", host, " folded"), raw("/o/x.gif", host, "A: b\tc"),
		raw("/o/x.gif", host, "A: b\rc"), raw("/o/x.gif", host, "A: b\x00c"), raw("/o/x.gif", host, "A: 1234567\x7f"), raw("/o/x.gif", host, "A : b"), raw("/o/x.gif", host, "A"), raw("/o/x.gif", host, ": b"),
		raw("/o/x.gif", host, "User-Agent: a", "User-Agent: b"), raw("/o/x.gif", host, "X-Moz:", "x-moz:"), raw("/o/x.gif", host, "X-Forwarded-For: 1.1.1.1", "x-forwarded-for: 2.2.2.2"), strings.TrimSuffix(raw("/o/x.gif", host), "\r\n"),
		strings.Replace(raw("/o/x.gif", host), "\r\n\r\n", "\n\n", 1), strings.TrimSuffix(raw("/o/x.gif", host), "\n"),
	}
	for _, header := range []string{"Connection: close", "connection: Upgrade", "Content-Length: 0", "content-length: 5", "Transfer-Encoding: chunked", "Expect: 100-continue", "Upgrade: h2c", "Trailer: a", "Proxy-Connection: close"} {
		all = append(all, raw("/o/x.gif", host, header))
	}
	return all
}

func TestPlain(t *testing.T) {
	var q plain
	text := raw("/o/abc.gif?x=1", append(usual, "x-forwarded-FOR:  1.1.1.1 ", "Purpose: prefetch", "X-Moz: a", "sec-purpose: b")...)
	if n := q.parse([]byte(text + "GET ")); n != len(text) {
		t.Fatalf("%d of %d bytes", n, len(text))
	}
	if got := fmt.Sprintf("%s %s", q.path, q.values[plainForwarded:]); got != "/o/abc.gif [1.1.1.1 prefetch b a]" || "User-Agent: "+string(q.values[plainUserAgent]) != agentHeader {
		t.Error(got)
	}
	for i := range text {
		if q.parse([]byte(text[:i])) != 0 {
			t.Fatalf("the first %d bytes are taken for a request", i)
		}
	}
	for _, other := range notPlain() {
		if q.parse([]byte(other)) != 0 {
			t.Errorf("plain: %q", other)
		}
	}
}

// FuzzPlain holds what is taken for plain against fasthttp: it must be a whole request
// for it too, and say the same.
func FuzzPlain(f *testing.F) {
	for _, text := range append(notPlain(), raw("/o/x.gif", usual...), raw("/c/x?a=b", append(usual, "X-Moz:", "Purpose: a b ", "X-Forwarded-For: 1.1.1.1, 2.2.2.2")...)) {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var q plain
		n := q.parse(b)
		if n == 0 {
			return
		}
		var r fasthttp.Request
		in := bytes.NewReader(b[:n])
		br := bufio.NewReaderSize(in, maxHeader)
		if err := r.ReadLimitBody(br, maxBody); err != nil || br.Buffered()+in.Len() > 0 {
			if n > maxHeader {
				return // never read at once
			}
			t.Fatalf("%q: %v, %d bytes left", b[:n], err, br.Buffered()+in.Len())
		}
		h := &r.Header
		path, _, _ := bytes.Cut(h.RequestURI(), query)
		if !h.IsGet() || !h.IsHTTP11() || h.ConnectionClose() || h.ContentLength() > 0 || len(r.Body()) > 0 || r.MayContinue() || h.ConnectionUpgrade() {
			t.Errorf("%q: not as plain for fasthttp", b[:n])
		}
		for what, pair := range map[string][2][]byte{
			"path": {q.path, path}, "host": {q.values[plainHost], h.Host()}, "user agent": {q.values[plainUserAgent], h.UserAgent()}, "forwarded": {q.values[plainForwarded], h.PeekBytes(forwarded)},
			"purpose": {q.values[plainPurpose], h.PeekBytes(purpose)}, "sec-purpose": {q.values[plainSecPurpose], h.PeekBytes(secPurpose)}, "x-moz": {q.values[plainXMoz], h.PeekBytes(xMoz)},
		} {
			if !bytes.Equal(pair[0], pair[1]) {
				t.Errorf("%q: %s %q, for fasthttp %q", b[:n], what, pair[0], pair[1])
			}
		}
	})
}

// exchange sends text and returns the bytes of the answer.
func (w *world) exchange(text string) string {
	w.t.Helper()
	c := w.connect()
	defer c.Close()
	send(w.t, c, text)
	if err := c.CloseWrite(); err != nil {
		w.t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(answer)
}

// Who answers a request cannot be told from the answer, nor from what is recorded.
func TestFrontAndFasthttpAnswerAlike(t *testing.T) {
	w := open(t, func(o *PublicOptions) {
		o.KeepNetwork, o.TrustedProxies = true, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	off := w.claims()
	off.Org = 2
	odd := w.claims()
	odd.Target = "https://bücher.example/größe?q=ä"
	for name, path := range map[string]string{
		"pixel": "/o/" + w.token(token.KindOpen, w.claims()) + ".gif", "click": "/c/" + w.token(token.KindClick, w.claims()), "odd click": "/c/" + w.token(token.KindClick, odd) + "?utm=1",
		"not allowed": "/o/" + w.token(token.KindOpen, off) + ".gif", "bad pixel": "/o/x.gif", "bad click": "/c/x", "pixel's token in a click": "/c/" + w.token(token.KindOpen, w.claims()),
		"no token": "/o/.gif", "other": "/o/x", "attachment": "/a/x/y", "root": "/",
	} {
		for _, header := range []string{"X-Moz: no", "Purpose: prefetch", "X-Forwarded-For: 198.51.100.7"} {
			var said [2]string
			var counts [2]PublicStats
			for i, more := range []string{"Pragma: no-cache", "Proxy-Connection: keep-alive"} { // the latter is fasthttp's
				before := w.public.Stats()
				said[i] = w.exchange(raw(path, append(usual, header, more)...))
				after := w.public.Stats()
				counts[i] = PublicStats{Pixels: after.Pixels - before.Pixels, Clicks: after.Clicks - before.Clicks, Files: after.Files - before.Files, Invalid: after.Invalid - before.Invalid,
					Recorded: after.Recorded - before.Recorded, NotAllowed: after.NotAllowed - before.NotAllowed, Prefetched: after.Prefetched - before.Prefetched}
			}
			if said[0] != said[1] || counts[0] != counts[1] || !strings.HasPrefix(said[0], "HTTP/1.1 ") {
				t.Errorf("%s: the front answers\n%q, counts %+v, fasthttp\n%q, %+v", name, said[0], counts[0], said[1], counts[1])
			}
			if events := w.engine.taken(); len(events)%2 != 0 || len(events) > 0 && events[0] != events[1] {
				t.Errorf("%s: recorded %+v", name, events)
			}
		}
	}
}

func TestPlainRequestAllocates(t *testing.T) {
	w := open(t, nil)
	w.public.opts.Engine = nothing{}
	f := w.front()
	c := &conn{loop: f.loops[0]}
	c.mu.gone = true // there is no socket to send to
	pixel := w.claims()
	pixel.Target = ""
	text := []byte(raw("/o/"+w.token(token.KindOpen, pixel)+".gif", usual...))
	var q plain
	var r request
	if n := testing.AllocsPerRun(1000, func() {
		c.mu.pending = c.mu.pending[:0]
		if q.parse(text) != len(text) || !w.public.plainly(c, &q, &r) {
			t.Fatal("not answered")
		}
	}); n > 0 {
		t.Errorf("%v allocations per request, want 0", n)
	}
}

func BenchmarkPlain(b *testing.B) {
	text := []byte(raw("/o/"+strings.Repeat("A", 60)+".gif", usual...))
	b.ReportAllocs()
	b.Run("front", func(b *testing.B) {
		var q plain
		for b.Loop() {
			if q.parse(text) == 0 {
				b.Fatal("not plain")
			}
		}
	})
	b.Run("fasthttp", func(b *testing.B) {
		var h fasthttp.RequestHeader
		in := bytes.NewReader(text)
		br := bufio.NewReaderSize(in, maxHeader)
		for b.Loop() {
			in.Reset(text)
			br.Reset(in)
			if err := h.Read(br); err != nil {
				b.Fatal(err)
			}
		}
	})
}
