package bench

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// runner is a server with its load, measured in slices.
type runner struct {
	node       *node
	load       *Generator
	slices     []Traffic
	answered   int64         // with 200, all that was ever sent
	notCharged time.Duration // CPU time of the server for other things
	withDrain  float64       // CPU per request, µs, of all that was sent
}

// start connects, warms the server up and holds it.
func (r *runner) start(ctx context.Context, l Load, warmup time.Duration) (err error) {
	if r.load, err = Dial(l); err != nil {
		return err
	}
	first, err := r.node.Usage()
	if err != nil {
		return err
	}
	r.notCharged = first.CPU
	if _, err := r.run(ctx, warmup); err != nil {
		return err
	}
	return r.node.hold()
}

// run makes load and counts its answers.
func (r *runner) run(ctx context.Context, d time.Duration) (Result, error) {
	result, err := r.load.Run(ctx, d)
	r.answered += result.Answered - result.NotOK
	if err == nil && result.NotOK > 0 {
		err = fmt.Errorf("%d answers were not 200", result.NotOK)
	}
	if err != nil {
		return result, fmt.Errorf("%s: %w", r.node.name, r.node.Explain(err))
	}
	return result, nil
}

// slice lets the server go on for a while and measures it.
func (r *runner) slice(ctx context.Context, d time.Duration) error {
	if err := r.node.resume(); err != nil {
		return err
	}
	if _, err := r.run(ctx, d/5); err != nil {
		return err
	}
	before, err := r.node.read()
	if err != nil {
		return err
	}
	result, err := r.run(ctx, d)
	if err != nil {
		return err
	}
	after, err := r.node.read()
	if err != nil {
		return err
	}
	r.slices = append(r.slices, trafficOf(result, before, after))
	return r.node.hold()
}

// drain ends the server, and charges all that it used to what it answered.
func (r *runner) drain(limit time.Duration) error {
	if err := r.node.resume(); err != nil {
		return err
	}
	if _, err := r.node.drain(limit); err != nil {
		return err
	}
	total, err := r.node.Usage()
	r.withDrain = perRequest(total.CPU-r.notCharged, r.answered)
	return err
}

// end closes the connections and kills the server if it still runs.
func (r *runner) end() error {
	r.node.kill()
	if r.load == nil {
		return nil
	}
	return r.load.Close()
}

// perSecond is that of all slices together.
func (r *runner) perSecond() float64 {
	var requests int64
	var seconds float64
	for _, t := range r.slices {
		requests, seconds = requests+t.Requests, seconds+t.Seconds
	}
	return ratio(float64(requests), seconds)
}

// cpu is the server's per request, µs, of all slices together.
func (r *runner) cpu() float64 {
	var requests, used float64
	for _, t := range r.slices {
		requests, used = requests+float64(t.Requests), used+t.ServerCPU*float64(t.Requests)
	}
	return ratio(used, requests)
}

// over divides a figure of each slice by that of the other server in the same round.
func (r *runner) over(other *runner, figure func(Traffic) float64) []float64 {
	shares := make([]float64, len(r.slices))
	for i := range shares {
		shares[i] = ratio(figure(r.slices[i]), figure(other.slices[i]))
	}
	return shares
}

func (r *runner) report(s *Sheet, name string) {
	of := func(figure func(Traffic) float64) float64 { return medianOf(r.slices, figure) }
	s.add(name, "requests/s", r.perSecond(), "/s")
	s.add(name, "p50", of(func(t Traffic) float64 { return t.Latency.P50 / 1e3 }), "ms")
	s.add(name, "p99", of(func(t Traffic) float64 { return t.Latency.P99 / 1e3 }), "ms")
	s.add(name, "p99.9", of(func(t Traffic) float64 { return t.Latency.P999 / 1e3 }), "ms")
	s.add(name, "CPU", r.cpu(), "µs")
	s.add(name, "CPU with drain", r.withDrain, "µs")
	s.add(name, "generator's CPU", of(func(t Traffic) float64 { return t.GeneratorCPU }), "µs")
	s.add(name, "busy otherwise", of(func(t Traffic) float64 { return t.OtherCores }), "cores")
	s.add(name, "peak RSS", slices.MaxFunc(r.slices, func(a, b Traffic) int { return int(a.PeakMiB - b.PeakMiB) }).PeakMiB, "MiB")
}
