package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mailwake/bench"
)

type benchFlushCmd struct {
	benchFlags
	Rows int64  `help:"Events of the largest flush." default:"1000000"`
	Seed uint64 `help:"Seed of the world." default:"1"`
}

// Run measures flushes.
func (c *benchFlushCmd) Run(ctx context.Context, e *env) error {
	r, err := bench.Flush(ctx, bench.FlushOptions{Setup: c.setup(e), Seed: c.Seed, Rows: c.Rows})
	return c.print(e, "flush", &r, err)
}

type benchCompactCmd struct {
	benchFlags
	Events int64  `help:"Events that are compacted." default:"1000000"`
	Seed   uint64 `help:"Seed of the world." default:"1"`
}

// Run measures compaction.
func (c *benchCompactCmd) Run(ctx context.Context, e *env) error {
	r, err := bench.Compact(ctx, bench.CompactOptions{Setup: c.setup(e), Seed: c.Seed, Events: c.Events})
	return c.print(e, "compact", &r, err)
}

type benchDecideCmd struct {
	benchFlags
	People int    `help:"People, of whom a fifth refuses." default:"1000000"`
	Seed   uint64 `help:"Seed of who refuses." default:"1"`
}

// Run measures consent.
func (c *benchDecideCmd) Run(ctx context.Context, e *env) error {
	r, err := bench.Decide(ctx, bench.DecideOptions{Setup: c.setup(e), Seed: c.Seed, People: c.People})
	return c.print(e, "decide", &r, err)
}

type benchAllCmd struct {
	benchFlags
	Soak time.Duration `help:"Length of the soak." default:"10m"`
}

// Run measures everything with its defaults; what fails does not keep the rest from
// being measured.
func (c *benchAllCmd) Run(ctx context.Context, e *env) error {
	s := c.setup(e)
	var errs []error
	for _, m := range []struct {
		name string
		run  func(context.Context) (bench.Report, error)
	}{
		{"pixel", measure(bench.Pixel, bench.PixelOptions{Setup: s})},
		{"bulk", measure(bench.Bulk, bench.BulkOptions{Setup: s})},
		{"fresh", measure(bench.Fresh, bench.FreshOptions{Setup: s})},
		{"flush", measure(bench.Flush, bench.FlushOptions{Setup: s})},
		{"compact", measure(bench.Compact, bench.CompactOptions{Setup: s})},
		{"restart", measure(bench.Restart, bench.RestartOptions{Setup: s})},
		{"kpi", measure(bench.KPI, bench.KPIOptions{Setup: s})},
		{"sql", measure(bench.Readers, bench.ReadersOptions{Setup: s})},
		{"decide", measure(bench.Decide, bench.DecideOptions{Setup: s})},
		{"soak", measure(bench.Soak, bench.SoakOptions{Setup: s, Duration: c.Soak})},
	} {
		if ctx.Err() != nil {
			break
		}
		r, err := m.run(ctx)
		if err = c.print(e, m.name, r, err); err != nil {
			errs = append(errs, fmt.Errorf("bench %s: %w", m.name, err))
		}
	}
	return errors.Join(append(errs, ctx.Err())...)
}

// measure is a measurement with its options.
func measure[O, R any, P interface {
	*R
	bench.Report
}](run func(context.Context, O) (R, error), o O) func(context.Context) (bench.Report, error) {
	return func(ctx context.Context) (bench.Report, error) {
		r, err := run(ctx, o)
		return P(&r), err
	}
}
