package blobtest

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// ProxyServer passes TCP connections on to a server until it is told to be
// down.
type ProxyServer struct {
	Addr   string // host:port on loopback, free to dial for the whole test
	target string
	wg     sync.WaitGroup
	mu     struct {
		sync.Mutex
		down  bool
		conns map[net.Conn]struct{}
	}
}

// Proxy starts a proxy in front of target (host:port) for the time of the
// test. It is up.
func Proxy(t testing.TB, target string) *ProxyServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &ProxyServer{Addr: l.Addr().String(), target: target}
	p.mu.conns = map[net.Conn]struct{}{}
	p.wg.Go(func() { p.accept(l) })
	t.Cleanup(func() {
		p.Down()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		p.wg.Wait()
	})
	return p
}

// Down cuts all connections and drops new ones as soon as they are made.
func (p *ProxyServer) Down() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.down = true
	for c := range p.mu.conns {
		_ = c.Close() // the other side sees it; nobody waits for a result
	}
	clear(p.mu.conns)
}

// Up lets new connections through again.
func (p *ProxyServer) Up() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.down = false
}

func (p *ProxyServer) accept(l net.Listener) {
	for {
		in, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		p.wg.Go(func() { p.serve(in) })
	}
}

// serve joins two connections until either ends.
func (p *ProxyServer) serve(in net.Conn) {
	if !p.keep(in) {
		return
	}
	defer p.drop(in)
	out, err := net.Dial("tcp", p.target)
	if err != nil || !p.keep(out) {
		return
	}
	defer p.drop(out)
	var wg sync.WaitGroup
	for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
		wg.Go(func() {
			_, _ = io.Copy(pair[0], pair[1]) // an end is an end, whatever the reason
			p.drop(in)
			p.drop(out)
		})
	}
	wg.Wait()
}

// keep remembers c, or closes it when the proxy is down.
func (p *ProxyServer) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.down {
		_ = c.Close()
		return false
	}
	p.mu.conns[c] = struct{}{}
	return true
}

func (p *ProxyServer) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = c.Close()
	delete(p.mu.conns, c)
}
