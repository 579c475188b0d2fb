package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"
)

// Limits that Pixel checks: durable requests may be a fifth slower than the same
// server that stores nothing, and may cost a quarter more of CPU.
const (
	minRatio    = 0.8
	maxCPURatio = 1.25
	// maxHalfP99 is the longest p99 at half of the peak, in µs.
	maxHalfP99 = 10_000
)

// Pixel measures durable pixel requests against the same HTTP server that stores
// nothing, in alternating rounds on this machine, each with a server started for
// it. After each round the server is drained and stopped; what is stored must be
// what was answered before that and after the next start.
//
// A report comes also with an error, as far as it got.
func Pixel(ctx context.Context, o PixelOptions) (r PixelReport, err error) {
	if err := o.setDefaults(runtime.NumCPU()); err != nil {
		return r, err
	}
	b := pixelBench{o: &o, report: &r, say: o.progress()}
	defer b.say.end()
	dir, remove, err := o.folder()
	if err != nil {
		return r, err
	}
	defer remove()
	b.dir = dir
	r = PixelReport{Bench: "pixel", Connections: o.Conns, Threads: o.Threads, Recipients: o.Recipients}
	if err := b.prepare(ctx); err != nil {
		return r, err
	}
	for i := range o.Rounds {
		for _, round := range []func(context.Context) error{b.baselineRound, b.mailwakeRound, b.nginxRound} {
			b.round = i + 1
			if err := round(ctx); err != nil {
				return r, fmt.Errorf("round %d: %w", i+1, err)
			}
		}
	}
	if err := b.half(ctx); err != nil {
		return r, fmt.Errorf("at half of the peak: %w", err)
	}
	if err := b.last(ctx); err != nil {
		return r, err
	}
	r.summarise()
	return r, nil
}

// pixelBench is one run of Pixel.
type pixelBench struct {
	o      *PixelOptions
	report *PixelReport
	say    progress
	dir    string
	round  int

	real, fake [][]byte // requests for mailwake and for the baseline
}

// prepare follows the emails whose pixels are asked for; tokens outlive a server.
func (b *pixelBench) prepare(ctx context.Context) error {
	b.say.step("following emails for %d recipients", b.o.Recipients)
	n, pixels, _, err := b.o.followed(ctx, b.dir, 0)
	if err != nil {
		return err
	}
	defer n.kill()
	if _, err := n.drain(b.o.StopLimit); err != nil {
		return err
	}
	if b.report.Machine, err = machineOf(b.dir); err != nil {
		return err
	}
	paths := shuffled(pathsOf(pixels))
	b.real, b.fake = requests(paths), requests(lookalikes(paths))
	b.report.RequestBytes = meanLen(b.real)
	return nil
}

func (b *pixelBench) baselineRound(ctx context.Context) error {
	n, err := b.o.baseline(ctx)
	if err != nil {
		return err
	}
	defer n.kill()
	round, err := b.measure(ctx, n, b.fake, 0)
	if err != nil {
		return fmt.Errorf("baseline: %w", n.Explain(err))
	}
	if err := b.drained(n, &round); err != nil {
		return err
	}
	b.report.Baseline.Rounds = append(b.report.Baseline.Rounds, round)
	return nil
}

// nginxRound measures nginx writing an access log, where it is installed.
func (b *pixelBench) nginxRound(ctx context.Context) error {
	n, err := b.o.nginx(ctx, filepath.Join(filepath.Dir(b.dir), "nginx"))
	if errors.Is(err, errAbsent) {
		b.report.NginxAbsent = err.Error()
		return nil
	}
	if err != nil {
		return err
	}
	defer n.kill()
	round, err := b.measure(ctx, n, b.fake, 0)
	if err != nil {
		return fmt.Errorf("nginx: %w", n.Explain(err))
	}
	if b.report.Nginx == nil {
		b.report.Nginx = &PixelServer{}
	}
	b.report.Nginx.Rounds = append(b.report.Nginx.Rounds, round)
	return nil
}

func (b *pixelBench) mailwakeRound(ctx context.Context) error {
	n, err := b.o.mailwake(ctx, b.dir)
	if err != nil {
		return err
	}
	defer n.kill()
	r := b.report
	if err := n.verify(ctx, fmt.Sprintf("before round %d, after a restart", b.round), r.Events); err != nil {
		return err
	}
	round, err := b.measure(ctx, n, b.real, 0)
	r.Events += round.Events
	if err != nil {
		return fmt.Errorf("mailwake: %w", n.Explain(err))
	}
	if err := b.countNow(ctx, n, &round); err != nil {
		return err
	}
	if err := b.drained(n, &round); err != nil {
		return err
	}
	r.Mailwake.Rounds = append(r.Mailwake.Rounds, round)
	return nil
}

// half measures latencies at half of the rate that mailwake's rounds reached.
func (b *pixelBench) half(ctx context.Context) error {
	n, err := b.o.mailwake(ctx, b.dir)
	if err != nil {
		return err
	}
	defer n.kill()
	r := b.report
	r.Mailwake.summarise()
	round, err := b.measure(ctx, n, b.real, r.Mailwake.PerSecond/2)
	r.Events += round.Events
	r.Half = round.Traffic
	if err != nil {
		return n.Explain(err)
	}
	_, err = n.drain(b.o.StopLimit)
	return err
}

// measure loads a server, first to warm it up; rate 0 is as fast as it answers.
func (b *pixelBench) measure(ctx context.Context, n *node, requests [][]byte, rate float64) (round PixelRound, err error) {
	g, err := Dial(Load{Addr: n.public, Requests: requests, Conns: b.o.Conns, Threads: b.o.Threads, Rate: rate})
	if err != nil {
		return round, err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	b.say.step("round %d of %d: %s, warming up", b.round, b.o.Rounds, n.name)
	first, err := n.Usage()
	if err != nil {
		return round, err
	}
	warm, err := g.Run(ctx, b.o.Warmup)
	round.Events = warm.Answered - warm.NotOK
	if err != nil {
		return round, err
	}
	before, err := n.read()
	if err != nil {
		return round, err
	}
	b.say.step("round %d of %d: %s, measuring", b.round, b.o.Rounds, n.name)
	result, err := g.Run(ctx, b.o.Duration)
	round.Events += result.Answered - result.NotOK
	if err != nil {
		return round, err
	}
	after, err := n.read()
	if err != nil {
		return round, err
	}
	if bad := warm.NotOK + result.NotOK; bad > 0 {
		return round, fmt.Errorf("%d answers were not 200", bad)
	}
	round.Traffic = trafficOf(result, before, after)
	round.load, round.notCharged = warm.Elapsed+result.Elapsed, first.CPU
	return round, nil
}

// countNow verifies what a query sees before anything is drained. Its own CPU
// time is not charged to the round.
func (b *pixelBench) countNow(ctx context.Context, n *node, round *PixelRound) error {
	before, err := n.Usage()
	if err != nil {
		return err
	}
	if err := n.verify(ctx, fmt.Sprintf("after round %d", b.round), b.report.Events); err != nil {
		return err
	}
	after, err := n.Usage()
	round.notCharged += after.CPU - before.CPU
	return err
}

// drained stops the server and charges what it had put off to the round.
func (b *pixelBench) drained(n *node, round *PixelRound) error {
	b.say.step("round %d of %d: %s, draining", b.round, b.o.Rounds, n.name)
	took, err := n.drain(b.o.StopLimit)
	if err != nil {
		return err
	}
	total, err := n.Usage()
	if err != nil {
		return err
	}
	round.DrainSeconds = took.Seconds()
	round.EventsPerSecond = float64(round.Events) / (round.load + took).Seconds()
	round.CPUWithDrain = perRequest(total.CPU-round.notCharged, round.Events)
	return nil
}

// last looks once more at what is stored, with a server that was started anew.
func (b *pixelBench) last(ctx context.Context) error {
	b.say.step("counting what is stored")
	n, err := b.o.mailwake(ctx, b.dir)
	if err != nil {
		return err
	}
	defer n.kill()
	r := b.report
	if r.Stored, err = n.api.count(ctx, 0); err != nil {
		return n.Explain(err)
	}
	if r.Stored != r.Events {
		return &CountError{When: "after the last restart", Answered: r.Events, Stored: r.Stored}
	}
	_, err = n.drain(b.o.StopLimit)
	return err
}

// PixelRound is the traffic of one round on one server.
type PixelRound struct {
	Traffic
	Events          int64   `json:"events"`                       // answered, warm-up included
	DrainSeconds    float64 `json:"drain_seconds"`                // from SIGTERM to the end of the process
	EventsPerSecond float64 `json:"events_per_second_with_drain"` // events over the time of load and drain
	CPUWithDrain    float64 `json:"server_cpu_us_with_drain"`     // per event: warm-up, round, drain

	load       time.Duration
	notCharged time.Duration // CPU time of the server for other things
}
