package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"
)

const (
	// maxFresh is the limit Fresh checks for the 99th percentile.
	maxFresh = 10 * time.Millisecond
	// lateLimit is how long a miss is watched before it counts as a loss.
	lateLimit = 10 * time.Second
)

// Fresh measures how soon an answered pixel request is in a query. Under a
// background load at a fixed rate, a prober asks for one pixel of a recipient who
// never opened anything, and when it has the answer runs SQL about this
// recipient or the email's KPI, in turn. The very first query must count it.
//
// A report comes also with an error, as far as it got.
func Fresh(ctx context.Context, o FreshOptions) (r FreshReport, err error) {
	if err := o.setDefaults(runtime.NumCPU()); err != nil {
		return r, err
	}
	say := o.progress()
	defer say.end()
	dir, remove, err := o.folder()
	if err != nil {
		return r, err
	}
	defer remove()
	r = FreshReport{Bench: "fresh", Rate: o.Rate, Connections: o.Conns, Recipients: o.Recipients}
	say.step("following emails for %d recipients and %d probes", o.Recipients, o.probes())
	n, pixels, probed, err := o.followed(ctx, dir, o.probes())
	if err != nil {
		return r, err
	}
	defer n.kill()
	if r.Machine, err = machineOf(dir); err != nil {
		return r, err
	}
	p := &prober{node: n, pixels: probed, every: o.ProbeEvery, sent: map[int64]int64{}}
	if err := r.measure(ctx, &o, p, requests(shuffled(pathsOf(pixels))), say); err != nil {
		return r, n.Explain(err)
	}
	say.step("draining and counting")
	if err := n.verify(ctx, "after the load", r.Events); err != nil {
		return r, err
	}
	if r.Stored, r.DrainSeconds, err = o.restarted(ctx, n, dir, r.Events); err != nil {
		return r, err
	}
	r.summarise()
	return r, nil
}

// restarted drains a server, starts it again on the same folder and counts.
func (s *Setup) restarted(ctx context.Context, n *node, dir string, answered int64) (stored int64, drain float64, err error) {
	took, err := n.drain(s.StopLimit)
	if err != nil {
		return 0, 0, err
	}
	again, err := s.mailwake(ctx, dir)
	if err != nil {
		return 0, took.Seconds(), err
	}
	defer again.kill()
	stored, err = again.api.count(ctx, 0)
	if err != nil {
		return 0, took.Seconds(), again.Explain(err)
	}
	if stored != answered {
		return stored, took.Seconds(), &CountError{When: "after a restart", Answered: answered, Stored: stored}
	}
	_, err = again.drain(s.StopLimit)
	return stored, took.Seconds(), err
}

// measure runs load and prober together, first to warm both up.
func (r *FreshReport) measure(ctx context.Context, o *FreshOptions, p *prober, requests [][]byte, say progress) (err error) {
	g, err := Dial(Load{Addr: p.node.public, Requests: requests, Conns: o.Conns, Threads: o.Threads, Rate: o.Rate})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	for _, phase := range []struct {
		name string
		d    time.Duration
	}{{"warming up", o.Warmup}, {"measuring", o.Duration}} {
		say.step("%s: %.0f requests/s, a probe every %v", phase.name, o.Rate, o.ProbeEvery)
		before, err := p.node.read()
		if err != nil {
			return err
		}
		p.reset()
		var result Result
		work, phaseCtx := errgroup.WithContext(ctx)
		work.Go(func() (err error) { result, err = g.Run(phaseCtx, phase.d); return err })
		work.Go(func() error { return p.run(phaseCtx, phase.d) })
		err = work.Wait()
		r.Events += result.Answered - result.NotOK + p.acked
		r.Misses += p.misses
		if err != nil {
			return err
		}
		if result.NotOK > 0 {
			return fmt.Errorf("%d answers were not 200", result.NotOK)
		}
		after, err := p.node.read()
		if err != nil {
			return err
		}
		r.Load = trafficOf(result, before, after)
	}
	r.Probes, r.Ack, r.SQL, r.KPI = p.acked, latencyOf(p.ack), latencyOf(p.sql), latencyOf(p.kpi)
	r.LongestLateUS = float64(p.late) / float64(time.Microsecond)
	return nil
}

// prober sends one pixel at a time and asks for it at once.
type prober struct {
	node   *node
	pixels []pixel // used from the front, each once
	every  time.Duration
	sent   map[int64]int64 // opens answered, by email

	acked, misses int64
	late          time.Duration // longest time until a missed open was counted after all
	ack, sql, kpi *hdrhistogram.Histogram
}

func (p *prober) reset() {
	p.acked, p.misses, p.late = 0, 0, 0
	p.ack, p.sql, p.kpi = newLatency(), newLatency(), newLatency()
}

func (p *prober) run(ctx context.Context, d time.Duration) error {
	ticker := time.NewTicker(p.every)
	defer ticker.Stop()
	for start := time.Now(); time.Since(start) < d && len(p.pixels) > 0; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		if err := p.probe(ctx); err != nil {
			return fmt.Errorf("probe: %w", err)
		}
	}
	return nil
}

func (p *prober) probe(ctx context.Context) error {
	target := p.pixels[0]
	p.pixels = p.pixels[1:]
	start := time.Now()
	if err := p.open(ctx, target); err != nil {
		return err
	}
	acked := time.Now()
	p.acked++
	p.sent[target.email]++
	ask, into := p.askSQL, p.sql
	if p.acked%2 == 0 {
		ask, into = p.askKPI, p.kpi
	}
	got, want, err := ask(ctx, target)
	visible := time.Since(acked)
	if err != nil {
		return err
	}
	if got < want {
		p.misses++
		if visible, err = p.watch(ctx, acked, func() (bool, error) {
			got, want, err = ask(ctx, target)
			return got >= want, err
		}); err != nil {
			return err
		}
		p.late = max(p.late, visible)
	}
	if got > want {
		return &CountError{When: fmt.Sprintf("opens of recipient %d", target.recipient), Answered: want, Stored: got}
	}
	return errors.Join(
		p.ack.RecordValue(int64(min(acked.Sub(start), maxLatency))),
		into.RecordValue(int64(min(visible, maxLatency))),
	)
}

// watch asks until an open that was missed is there.
func (p *prober) watch(ctx context.Context, acked time.Time, there func() (bool, error)) (time.Duration, error) {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for time.Since(acked) < lateLimit {
		if ok, err := there(); ok || err != nil {
			return time.Since(acked), err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-ticker.C:
		}
	}
	return 0, fmt.Errorf("an answered open was not counted within %v", lateLimit)
}

// open fetches a pixel as a mail client does.
func (p *prober) open(ctx context.Context, target pixel) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.node.public.String()+target.path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", agents()[0])
	resp, err := p.node.api.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("pixel: %s", resp.Status)
	}
	return nil
}

func (p *prober) askSQL(ctx context.Context, target pixel) (got, want int64, err error) {
	got, err = p.node.api.count(ctx, target.recipient)
	return got, 1, err
}

func (p *prober) askKPI(ctx context.Context, target pixel) (got, want int64, err error) {
	got, err = p.node.api.opens(ctx, target.email)
	return got, p.sent[target.email], err
}
