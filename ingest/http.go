package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/net/idna"

	"mailwake/engine/classify"
	"mailwake/engine/event"
	"mailwake/ingest/token"
)

// Limits of the public plane.
const (
	readTimeout  = 10 * time.Second // for a whole request, so a slow sender holds a connection no longer
	writeTimeout = 10 * time.Second
	idleTimeout  = 60 * time.Second
	maxHeader    = 8 << 10 // bytes of request line and headers; the longest link token takes 2.8 kB
	maxBody      = 1 << 10 // of a preference page's form, which takes some 150; nothing else has a body
	notFoundPage = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Link not found</title><p>This link is not valid.</p></html>\n"
)

// gif is a transparent image of one pixel, 43 bytes, GIF89a.
var gif = []byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;")

var (
	query      = []byte("?")
	purpose    = []byte("Purpose")
	secPurpose = []byte("Sec-Purpose")
	xMoz       = []byte("X-Moz")
	forwarded  = []byte("X-Forwarded-For")
	requests   = sync.Pool{New: func() any { return new(request) }}
)

// publicRoute is one kind of address of the public plane: what is between prefix
// and suffix begins with a token of its kind.
type publicRoute struct {
	prefix, suffix []byte
	kind           token.Kind
	posts          bool // may be posted to
	answer         func(p *Public, c *fasthttp.RequestCtx, text []byte)
}

// publicRoutes are all that the public plane answers.
var publicRoutes = [...]publicRoute{
	{[]byte("/o/"), []byte(".gif"), token.KindOpen, false, (*Public).pixel},
	{[]byte("/c/"), nil, token.KindClick, false, (*Public).click},
	{[]byte("/a/"), nil, token.KindAttachment, false, (*Public).file},
	{[]byte("/p/"), nil, token.KindPreference, true, (*Public).preference},
}

// Serve answers on ln until ctx ends, then finishes the requests in flight. Plain
// requests are answered by the front, if there is one for this system, the rest by
// fasthttp.
func (p *Public) Serve(ctx context.Context, ln net.Listener) error {
	front, run, err := p.front(ln)
	if err != nil {
		return fmt.Errorf("public plane: %w", err)
	}
	s := newServer(p.handle, p.opts.MaxConns)
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		err := s.ShutdownWithContext(context.Background())
		_ = front.Close() // in case Serve had not begun; otherwise err tells
		stopped <- err
	})
	ran := make(chan error, 1)
	go func() { ran <- run() }()
	err = s.Serve(front)
	if stop() {
		return fmt.Errorf("public plane: %w", errors.Join(err, front.Close(), <-ran))
	}
	return errors.Join(<-stopped, <-ran)
}

// ServeImages answers every request on ln with the image and records nothing:
// what a durable server is measured against.
func ServeImages(ctx context.Context, ln net.Listener, maxConns int) error {
	s := newServer(image, maxConns)
	stop := context.AfterFunc(ctx, func() { _ = s.Shutdown() })
	defer stop()
	return s.Serve(ln)
}

func newServer(handle fasthttp.RequestHandler, maxConns int) *fasthttp.Server {
	return &fasthttp.Server{
		Handler:               handle,
		ErrorHandler:          func(c *fasthttp.RequestCtx, _ error) { c.Error("", fasthttp.StatusBadRequest) },
		Concurrency:           maxConns,
		ReadBufferSize:        maxHeader,
		ReadTimeout:           readTimeout,
		WriteTimeout:          writeTimeout,
		IdleTimeout:           idleTimeout,
		MaxRequestBodySize:    maxBody,
		NoDefaultServerHeader: true,
		NoDefaultDate:         true,
		NoDefaultContentType:  true,
		LazyRequestTime:       true,
		CloseOnShutdown:       true,
		Logger:                silent{},
	}
}

// silent drops fasthttp's own messages: they would quote URLs, which hold tokens.
type silent struct{}

func (silent) Printf(string, ...any) {}

func (p *Public) handle(c *fasthttp.RequestCtx) {
	path := c.Request.Header.RequestURI()
	if len(path) == 0 || path[0] != '/' { // a proxy may send the whole address
		path = c.URI().PathOriginal()
	}
	path, _, _ = bytes.Cut(path, query)
	r, text := routeOf(path)
	switch {
	case r != nil && (c.IsGet() || c.IsHead() || c.IsPost() && r.posts):
		r.answer(p, c, text)
	case c.IsGet() || c.IsHead():
		notFound(c)
	default:
		c.Response.Header.Set("Allow", "GET, HEAD")
		c.SetStatusCode(fasthttp.StatusMethodNotAllowed)
	}
}

// routeOf returns the route of path and the text within it that begins with a token.
func routeOf(path []byte) (*publicRoute, []byte) {
	for i := range publicRoutes {
		r := &publicRoutes[i]
		if len(path) >= len(r.prefix)+len(r.suffix) && bytes.HasPrefix(path, r.prefix) && bytes.HasSuffix(path, r.suffix) {
			return r, path[len(r.prefix) : len(path)-len(r.suffix)]
		}
	}
	return nil, nil
}

// pixel answers the same image whatever the token is.
func (p *Public) pixel(c *fasthttp.RequestCtx, text []byte) {
	p.counts.pixels.Add(1)
	r := requests.Get().(*request)
	defer requests.Put(r)
	if p.opts.Tokens.Open(token.KindOpen, text, &r.claims) == nil {
		p.fill(r, c, event.Open, event.Pixel)
		p.record(r)
	} else {
		p.counts.invalid.Add(1)
	}
	image(c)
}

// click redirects where the token says and nowhere else.
func (p *Public) click(c *fasthttp.RequestCtx, text []byte) {
	p.counts.clicks.Add(1)
	r := requests.Get().(*request)
	defer requests.Put(r)
	if p.opts.Tokens.Open(token.KindClick, text, &r.claims) != nil {
		p.counts.invalid.Add(1)
		notFound(c)
		return
	}
	p.fill(r, c, event.Click, event.Redirect)
	p.record(r)
	neverCached(c)
	c.Response.Header.Set("Location", location(r.claims.Target))
	c.SetStatusCode(fasthttp.StatusFound)
}

func (p *Public) fill(r *request, c *fasthttp.RequestCtx, kind event.Kind, source event.Source) {
	h := &c.Request.Header
	r.kind, r.source = kind, source
	r.userAgent = h.UserAgent()
	r.remote = p.remote(addrOf(c.RemoteAddr()), stringOf(h.PeekBytes(forwarded)))
	r.prefetched = c.IsHead() || classify.Prefetched(h.PeekBytes(purpose), h.PeekBytes(secPurpose), h.PeekBytes(xMoz))
}

// peek returns a header's value as a string that is valid during the request.
func peek(h *fasthttp.RequestHeader, name string) string { return stringOf(h.Peek(name)) }

// remote returns the client's address: the peer, or, if the peer is a trusted
// proxy, the right-most address of X-Forwarded-For that is not.
func (p *Public) remote(peer netip.Addr, forwarded string) netip.Addr {
	if len(p.opts.TrustedProxies) == 0 {
		return peer
	}
	for forwarded != "" && p.trusted(peer) {
		i := strings.LastIndexByte(forwarded, ',')
		next, err := netip.ParseAddr(strings.TrimSpace(forwarded[i+1:]))
		if err != nil {
			break
		}
		peer, forwarded = next.Unmap().WithZone(""), forwarded[:max(i, 0)]
	}
	return peer
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

func (p *Public) trusted(addr netip.Addr) bool {
	for _, n := range p.opts.TrustedProxies {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// private keeps an answer out of every cache and its address out of every
// Referer. The names are canonical, so that setting them costs no rewriting.
var private = [][2][]byte{
	{[]byte("Cache-Control"), []byte("no-store, no-cache, must-revalidate, private, max-age=0")},
	{[]byte("Pragma"), []byte("no-cache")},
	{[]byte("Expires"), []byte("0")},
	{[]byte("Referrer-Policy"), []byte("no-referrer")},
	{[]byte("X-Content-Type-Options"), []byte("nosniff")},
}

func neverCached(c *fasthttp.RequestCtx) {
	for _, h := range private {
		c.Response.Header.SetCanonical(h[0], h[1])
	}
}

func image(c *fasthttp.RequestCtx) {
	neverCached(c)
	c.Response.Header.SetContentType("image/gif")
	c.Response.SetBodyRaw(gif)
}

func notFound(c *fasthttp.RequestCtx) {
	neverCached(c)
	c.Response.Header.SetContentType("text/html; charset=utf-8")
	c.SetStatusCode(fasthttp.StatusNotFound)
	c.SetBodyString(notFoundPage)
}

// location writes a target as a header may carry it: byte for byte if it is
// ASCII, else with its host in punycode and the rest percent-encoded, which is
// the URI of RFC 3987 section 3.1 and what a browser would ask for.
func location(target string) string {
	plain := func(r rune) bool { return r > ' ' && r < 0x7f }
	if strings.IndexFunc(target, func(r rune) bool { return !plain(r) }) < 0 {
		return target
	}
	scheme, rest, _ := strings.Cut(target, "://")
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host, port := rest[:end], ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host, port = host[:i], host[i:]
	}
	if ascii, err := idna.Lookup.ToASCII(host); err == nil {
		host = ascii
	}
	var b strings.Builder
	b.WriteString(scheme + "://" + host + port)
	for i := end; i < len(rest); i++ {
		if ch := rest[i]; plain(rune(ch)) {
			b.WriteByte(ch)
		} else {
			fmt.Fprintf(&b, "%%%02X", ch)
		}
	}
	return b.String()
}
