package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// maxLatency is the longest latency that is told apart, and stallLimit ends a
	// run in which no answer comes at all.
	maxLatency = time.Minute
	stallLimit = 10 * time.Second
	// tick bounds how long a thread sleeps before it looks at its context.
	tick = 100 * time.Millisecond
	// pace is the shortest sleep of an open loop. Waking for each of 20,000 arrivals
	// a second would cost the server a tenth of a core; a sleep of 200 µs sends four
	// at once and shows in their latency.
	pace = 200 * time.Microsecond
	// grace is how long an open loop still sends what was due before its end.
	grace = time.Second
	// maxIdle keeps each connection busier than any server's idle limit.
	maxIdle = 10 * time.Second
)

// Load describes traffic of precomputed requests on keep-alive connections, each
// of which carries one request at a time.
type Load struct {
	Addr     netip.AddrPort // loopback only
	Requests [][]byte       // whole HTTP/1.1 GET requests, sent in turn
	Conns    int
	Threads  int     // at most Conns
	Rate     float64 // arrivals per second at fixed intervals; 0: the next request follows the answer
}

// Result is what one run has seen.
type Result struct {
	Answered int64                   // complete answers, whatever their status
	NotOK    int64                   // those of them whose status was not 200
	Unsent   int64                   // open loop: arrivals that found no free connection until the end
	Elapsed  time.Duration           // from the start to the last answer
	Lag      time.Duration           // open loop: longest delay between due and sent
	Latency  *hdrhistogram.Histogram // ns; from due in an open loop, from sent in a closed one
}

// PerSecond returns answers per second.
func (r *Result) PerSecond() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Answered) / r.Elapsed.Seconds()
}

func newLatency() *hdrhistogram.Histogram {
	return hdrhistogram.New(int64(time.Microsecond), int64(maxLatency), 3)
}

// Generator holds open connections. One goroutine uses it; Close it when done.
type Generator struct {
	workers []*worker
}

// Dial connects to a server on this machine.
func Dial(l Load) (*Generator, error) {
	if !l.Addr.Addr().IsLoopback() {
		return nil, fmt.Errorf("load: %s is not a loopback address; only servers on this machine are measured", l.Addr)
	}
	if l.Rate > 0 {
		l.Conns = min(l.Conns, int(math.Ceil(l.Rate*maxIdle.Seconds())))
		l.Threads = min(l.Threads, l.Conns)
	}
	if len(l.Requests) == 0 || l.Threads < 1 || l.Conns < l.Threads || l.Rate < 0 {
		return nil, errors.New("load: requests, a thread and a connection for each thread are required")
	}
	g := &Generator{}
	for i := range l.Threads {
		conns := (l.Conns + i) / l.Threads // differ by one at most, and sum up
		w, err := newWorker(l, conns, i)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("connect to %s: %w", l.Addr, err), g.Close())
		}
		g.workers = append(g.workers, w)
	}
	return g, nil
}

// Run makes load for d and waits for the answers in flight. It may be called
// again. Any answer that is not HTTP, a connection that ends and ten seconds
// without answers are errors; what was answered before is in the result, and the
// Generator can only be closed.
func (g *Generator) Run(ctx context.Context, d time.Duration) (Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wg    sync.WaitGroup
		start = time.Now()
		errs  = make([]error, len(g.workers))
	)
	for i, w := range g.workers {
		wg.Go(func() {
			if errs[i] = w.run(ctx, start, d); errs[i] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	total := Result{Latency: newLatency()}
	for _, w := range g.workers {
		r := &w.result
		total.Answered += r.Answered
		total.NotOK += r.NotOK
		total.Unsent += r.Unsent
		total.Elapsed = max(total.Elapsed, r.Elapsed)
		total.Lag = max(total.Lag, r.Lag)
		total.Latency.Merge(r.Latency)
	}
	if err := firstCause(errs); err != nil {
		return total, fmt.Errorf("load, after %d answers: %w", total.Answered, err)
	}
	return total, nil
}

// firstCause prefers what went wrong to the cancellation that followed from it.
func firstCause(errs []error) error {
	var canceled error
	for _, err := range errs {
		if errors.Is(err, context.Canceled) {
			canceled = err
		} else if err != nil {
			return err
		}
	}
	return canceled
}

// Close ends the connections.
func (g *Generator) Close() error {
	var errs []error
	for _, w := range g.workers {
		errs = append(errs, w.close())
	}
	g.workers = nil
	return errors.Join(errs...)
}

// loopback reads the address in a server's URL and refuses other machines.
func loopback(rawURL string) (netip.AddrPort, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("address of the server: %w", err)
	}
	addr, err := netip.ParseAddrPort(u.Host)
	if err != nil || u.Scheme != "http" {
		return netip.AddrPort{}, fmt.Errorf("address of the server: %q is not http://IP:PORT", rawURL)
	}
	if !addr.Addr().IsLoopback() {
		return netip.AddrPort{}, fmt.Errorf("address of the server: %s is not a loopback address; only servers on this machine are measured", addr)
	}
	return addr, nil
}
