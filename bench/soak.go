package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"
)

// Metrics of the server that Soak watches.
const (
	metricLog  = "mailwake_log_bytes"
	metricTail = "mailwake_tail_rows"
)

// Soak holds a rate of pixel requests for minutes, asks a question a second and watches the server's
// memory, its log and its unflushed rows; then it drains and counts.
//
// A report comes also with an error, as far as it got.
func Soak(ctx context.Context, o SoakOptions) (r SoakReport, err error) {
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
	r = SoakReport{Bench: "soak", Rate: o.Rate, Connections: o.Conns, Recipients: o.Recipients}
	say.step("following emails for %d recipients", o.Recipients)
	n, pixels, _, err := o.followed(ctx, dir, 0)
	if err != nil {
		return r, err
	}
	defer n.kill()
	if r.Machine, err = machineOf(dir); err != nil {
		return r, err
	}
	if err := r.measure(ctx, &o, n, pixels, say); err != nil {
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

// measure runs the load and samples the server beside it.
func (r *SoakReport) measure(ctx context.Context, o *SoakOptions, n *node, pixels []pixel, say progress) (err error) {
	g, err := Dial(Load{Addr: n.public, Requests: requests(shuffled(pathsOf(pixels))), Conns: o.Conns, Threads: o.Threads, Rate: o.Rate})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	before, err := n.read()
	if err != nil {
		return err
	}
	var result Result
	done := make(chan struct{})
	q := &questions{api: n.api, pixels: pixels, byName: map[string]*hdrhistogram.Histogram{}}
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() (err error) {
		defer close(done)
		result, err = g.Run(ctx, o.Duration)
		return err
	})
	work.Go(func() error { return r.watch(ctx, o, n, done, say) })
	work.Go(func() error { return q.every(ctx, o.AskEvery, done) })
	err = work.Wait()
	r.Answers = q.latencies()
	r.Events = result.Answered - result.NotOK
	if err != nil {
		return err
	}
	if result.NotOK > 0 {
		return fmt.Errorf("%d answers were not 200", result.NotOK)
	}
	after, err := n.read()
	if err != nil {
		return err
	}
	r.Load = trafficOf(result, before, after)
	return nil
}

// watch takes a sample now, then every so often, and one at the end of the load.
func (r *SoakReport) watch(ctx context.Context, o *SoakOptions, n *node, done <-chan struct{}, say progress) error {
	ticker := time.NewTicker(o.SampleEvery)
	defer ticker.Stop()
	start := time.Now()
	for over := false; ; {
		s, err := n.sample(ctx, start)
		if err != nil {
			return fmt.Errorf("sample: %w", err)
		}
		r.Samples = append(r.Samples, s)
		say.step("%.0f of %.0f s at %.0f requests/s: RSS %.0f MiB, log %.1f MiB, tail %.0f rows",
			s.Seconds, o.Duration.Seconds(), o.Rate, s.RSSMiB, s.LogMiB, s.TailRows)
		if over {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-done:
			over = true
		case <-ticker.C:
		}
	}
}

// Sample is a reading of the server during a Soak.
type Sample struct {
	Seconds  float64 `json:"seconds"` // since the start of the load
	RSSMiB   float64 `json:"rss_mb"`
	LogMiB   float64 `json:"log_mb"`
	TailRows float64 `json:"tail_rows"`
}

func (n *node) sample(ctx context.Context, start time.Time) (Sample, error) {
	u, err := n.Usage()
	if err != nil {
		return Sample{}, err
	}
	values, err := n.api.metrics(ctx, metricLog, metricTail)
	if err != nil {
		return Sample{}, err
	}
	return Sample{Seconds: time.Since(start).Seconds(), RSSMiB: mib(u.RSS), LogMiB: values[0] / (1 << 20), TailRows: values[1]}, nil
}
