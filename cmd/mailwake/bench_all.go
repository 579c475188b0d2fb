package main

import (
	"context"
	"errors"
	"time"

	"mailwake/bench"
)

type benchAllCmd struct {
	benchFlags
	Part float64       `help:"Part of the usual numbers of events and times: 0.01 shows in minutes whether everything works." default:"1"`
	Soak time.Duration `help:"Length of the soak, whatever the part." default:"30m"`
}

// Run measures everything; what fails does not keep the rest from being measured.
func (c *benchAllCmd) Run(ctx context.Context, e *env) error {
	s, f := c.setup(e), &c.benchFlags
	world := func(events, least int64) bench.WorldOptions {
		return bench.WorldOptions{Setup: s, Events: max(int64(float64(events)*c.Part), least)}
	}
	length := func(d time.Duration) time.Duration { return max(time.Duration(float64(d)*c.Part), time.Second) }
	const million = 1_000_000
	all := []func() error{
		func() error {
			return benchRun(ctx, e, f, "pixel", bench.Pixel, bench.PixelOptions{Setup: s, Rounds: max(int(16*c.Part), 2)})
		},
		func() error {
			return benchRun(ctx, e, f, "bulk", bench.Bulk, bench.BulkOptions{WorldOptions: world(million, 100_000), Duration: length(5 * time.Second)})
		},
		func() error {
			return benchRun(ctx, e, f, "fresh", bench.Fresh, bench.FreshOptions{Setup: s, Duration: length(time.Minute)})
		},
		func() error { return benchRun(ctx, e, f, "flush", bench.Flush, world(million, 100_000)) },
		func() error { return benchRun(ctx, e, f, "compact", bench.Compact, world(million, 100_000)) },
		func() error {
			return benchRun(ctx, e, f, "restart", bench.Restart, bench.RestartOptions{WorldOptions: world(million, 100_000), LogMB: max(1024*c.Part, 8)})
		},
		func() error {
			return benchRun(ctx, e, f, "sql", bench.Readers, bench.ReadersOptions{Setup: s, Events: max(int(10*million*c.Part), million), Duration: length(20 * time.Second)})
		},
		func() error {
			return benchRun(ctx, e, f, "decide", bench.Decide, bench.DecideOptions{Setup: s, People: max(int(million*c.Part), 10_000)})
		},
	}
	for _, events := range []int64{million, 10 * million, 100 * million} {
		all = append(all, func() error {
			o := bench.KPIOptions{WorldOptions: world(events, 10_000), Each: length(10 * time.Second)}
			return benchRun(ctx, e, f, bench.Sized("kpi", o.Events), bench.KPI, o)
		})
	}
	all = append(all, func() error {
		return benchRun(ctx, e, f, "soak", bench.Soak, bench.SoakOptions{Setup: s, Duration: c.Soak})
	})
	var errs []error
	for _, run := range all {
		if ctx.Err() != nil {
			break
		}
		errs = append(errs, run())
	}
	return errors.Join(append(errs, ctx.Err())...)
}
