package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"
)

// ReadersOptions configure Readers.
type ReadersOptions struct {
	Setup
	Events   int           // stored before anything is measured; default 10,000,000
	Rate     float64       // pixel requests per second in the background; default 10,000
	Readers  int           // default 20
	Pause    time.Duration // of a reader after an answer; default none: the next question follows
	Warmup   time.Duration // default 3 s
	Duration time.Duration // with readers and without; default 20 s
}

func (o *ReadersOptions) setDefaults(cores int) error {
	defaultTo(&o.Events, 10_000_000)
	defaultTo(&o.Rate, 10_000)
	defaultTo(&o.Readers, 20)
	defaultTo(&o.Recipients, 100_000) // a thousand per email
	defaultTo(&o.Warmup, 3*time.Second)
	defaultTo(&o.Duration, 20*time.Second)
	return errors.Join(
		o.Setup.setDefaults(cores),
		within("events", o.Events, 1, 1<<30),
		within("rate", o.Rate, 1, maxRate),
		within("readers", o.Readers, 1, 1000),
		within("pause", o.Pause, 0, maxDuration),
		within("warm-up", o.Warmup, time.Millisecond, maxDuration),
		within("duration", o.Duration, time.Millisecond, maxDuration),
	)
}

// statementLimit is how long a statement may run in Readers.
const statementLimit = 5 * time.Second

// Readers fills a table, holds a rate of pixel requests without and with readers
// who ask SQL and KPIs of it, and then does to the SQL workers what may happen: a
// statement that runs away, and a process killed in the middle of a statement.
//
// A report comes also with an error, as far as it got.
func Readers(ctx context.Context, o ReadersOptions) (r ReadersReport, err error) {
	if err := o.setDefaults(runtime.NumCPU()); err != nil {
		return r, err
	}
	o.ServeArgs = append(o.ServeArgs, "--sql-timeout", statementLimit.String())
	say := o.progress()
	defer say.end()
	dir, remove, err := o.folder()
	if err != nil {
		return r, err
	}
	defer remove()
	r = ReadersReport{Bench: "sql", Rate: o.Rate, Connections: o.Conns, Readers: o.Readers, Pause: o.Pause.Seconds()}
	say.step("following emails for %d recipients", o.Recipients)
	n, pixels, _, err := o.followed(ctx, dir, 0)
	if err != nil {
		return r, err
	}
	defer n.kill()
	if r.Machine, err = machineOf(dir); err != nil {
		return r, err
	}
	say.step("storing %d events", o.Events)
	if err := n.api.fill(ctx, pixels, o.Events); err != nil {
		return r, n.Explain(err)
	}
	r.Events = int64(o.Events)
	say.step("merging files, making rollups")
	if err := n.settle(ctx); err != nil {
		return r, n.Explain(err)
	}
	if err := r.measure(ctx, &o, n, pixels, say); err != nil {
		return r, n.Explain(err)
	}
	say.step("a statement that runs away, and a process killed")
	if err := r.disturb(ctx, n, pixels[0]); err != nil {
		return r, n.Explain(err)
	}
	if err := n.verify(ctx, "after all that", r.Events); err != nil {
		return r, err
	}
	if r.Stored, _, err = o.restarted(ctx, n, dir, r.Events); err != nil {
		return r, err
	}
	r.summarise()
	return r, nil
}

// measure runs the load without readers, then with them.
func (r *ReadersReport) measure(ctx context.Context, o *ReadersOptions, n *node, pixels []pixel, say progress) (err error) {
	g, err := Dial(Load{Addr: n.public, Requests: requests(shuffled(pathsOf(pixels))), Conns: o.Conns, Threads: o.Threads, Rate: o.Rate})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	for _, phase := range []struct {
		name    string
		d       time.Duration
		readers int
		into    *Traffic
	}{
		{"warming up", o.Warmup, 0, nil}, {"ingest alone", o.Duration, 0, &r.Alone},
		{"warming up readers", o.Warmup, o.Readers, nil}, {"ingest and readers", o.Duration, o.Readers, &r.Beside},
	} {
		say.step("%s: %.0f requests/s", phase.name, o.Rate)
		before, err := n.read()
		if err != nil {
			return err
		}
		var result Result
		work, phaseCtx := errgroup.WithContext(ctx)
		work.Go(func() (err error) { result, err = g.Run(phaseCtx, phase.d); return err })
		q := &questions{api: n.api, pixels: pixels, pause: o.Pause, byName: map[string]*hdrhistogram.Histogram{}}
		for i := range phase.readers {
			work.Go(func() error { return q.read(phaseCtx, phase.d, rand.New(rand.NewPCG(uint64(i), 3))) })
		}
		err = work.Wait()
		r.Events += result.Answered - result.NotOK
		if err != nil {
			return err
		}
		after, err := n.read()
		if err != nil {
			return err
		}
		if phase.into != nil {
			*phase.into = trafficOf(result, before, after)
			r.Answers = q.latencies()
		}
	}
	return nil
}

// questions are what readers ask.
type questions struct {
	api    *client
	pixels []pixel
	pause  time.Duration

	mu     sync.Mutex
	byName map[string]*hdrhistogram.Histogram
}

// asked are the questions in the order of how often they are asked: the first one
// four times as often as the last one.
func (q *questions) asked(r *rand.Rand) (name, method, path string, body any) {
	p := q.pixels[r.IntN(len(q.pixels))]
	sql := func(format string, args ...any) map[string]string {
		return map[string]string{"sql": fmt.Sprintf(format, args...)}
	}
	switch n := r.IntN(10); {
	case n < 4:
		return "KPI: an email", http.MethodGet, fmt.Sprintf("/kpis/email_summary?email=%d", p.email), nil
	case n < 6:
		return "KPI: a recipient", http.MethodGet, fmt.Sprintf("/kpis/recipient_activity?recipient=%d", p.recipient), nil
	case n < 7:
		return "KPI: organisation", http.MethodGet, "/kpis/organisation_summary", nil
	case n < 9:
		return "SQL: an email", http.MethodPost, "/sql", sql("SELECT kind, actor, count(*), count(DISTINCT recipient_id) FROM interactions WHERE email_id = %d GROUP BY ALL", p.email)
	}
	return "SQL: a recipient", http.MethodPost, "/sql", sql("SELECT email_id, min(occurred_at), max(occurred_at), count(*) FROM interactions WHERE recipient_id = %d GROUP BY email_id", p.recipient)
}

func (q *questions) read(ctx context.Context, d time.Duration, r *rand.Rand) error {
	for start := time.Now(); time.Since(start) < d; {
		if err := q.ask(ctx, r); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(q.pause):
		}
	}
	return nil
}

// every asks one question after another, as often as that, until done.
func (q *questions) every(ctx context.Context, pause time.Duration, done <-chan struct{}) error {
	r, ticker := rand.New(rand.NewPCG(1, 4)), time.NewTicker(pause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-done:
			return nil
		case <-ticker.C:
		}
		if err := q.ask(ctx, r); err != nil {
			return err
		}
	}
}

// ask asks one question and notes how long the answer took.
func (q *questions) ask(ctx context.Context, r *rand.Rand) error {
	name, method, path, body := q.asked(r)
	asked := time.Now()
	if _, err := q.api.call(ctx, method, "/v1/orgs/"+org+path, body); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	took := time.Since(asked)
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, name := range []string{name, everything} {
		if q.byName[name] == nil {
			q.byName[name] = newLatency()
		}
		_ = q.byName[name].RecordValue(int64(min(took, maxLatency))) // it is within bounds
	}
	return nil
}

const everything = "all"

func (q *questions) latencies() map[string]Latency {
	all := map[string]Latency{}
	for name, h := range q.byName {
		all[name] = latencyOf(h)
	}
	return all
}
