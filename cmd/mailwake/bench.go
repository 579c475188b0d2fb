package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"

	"mailwake/bench"
	"mailwake/ingest"
)

type benchCmd struct {
	Pixel    benchPixelCmd    `cmd:"" help:"Durable pixel requests per second, beside fasthttp that stores nothing."`
	Fresh    benchFreshCmd    `cmd:"" help:"Time from an answer to its being counted by a query, under load."`
	Bulk     benchBulkCmd     `cmd:"" help:"Durable events per second through the bulk door, beside ClickHouse inserting the same rows."`
	KPI      benchKPICmd      `cmd:"" name:"kpi" help:"Each KPI beside DuckDB over the same files and ClickHouse over the same rows."`
	Soak     benchSoakCmd     `cmd:"" help:"Memory and exactness over minutes of load."`
	Flush    benchFlushCmd    `cmd:"" help:"From the log into a table, beside ClickHouse writing the same rows as sorted Parquet."`
	Compact  benchCompactCmd  `cmd:"" help:"Merging the files of many small flushes, beside ClickHouse merging parts."`
	Decide   benchDecideCmd   `cmd:"" help:"Asking for consent: time, memory, how soon a change is obeyed."`
	All      benchAllCmd      `cmd:"" help:"All of them but compare, one after another, as regenerates every report."`
	Restart  benchRestartCmd  `cmd:"" help:"Restart with an unflushed log, and what its flush costs."`
	Compare  benchCompareCmd  `cmd:"" help:"Hold two reports against each other."`
	DuckDB   benchDuckCmd     `cmd:"" name:"duckdb" hidden:"" help:"Answer KPIs with DuckDB alone."`
	SQL      benchSQLCmd      `cmd:"" name:"sql" help:"Readers of SQL and KPIs beside ingest; runaway statements, killed workers."`
	Baseline benchBaselineCmd `cmd:"" hidden:"" help:"Answer the image and store nothing."`
}

// benchFlags are common to all measurements.
type benchFlags struct {
	Format string `help:"text or json: one object with every figure." enum:"text,json" default:"text"`
	Folder string `help:"Folder for the measured servers' data; default is a temporary one." type:"path" placeholder:"DIR"`
	Report string `help:"Write the report as NAME.json into this folder, and its page anew." type:"path" placeholder:"DIR"`
	Peers  string `help:"Folder of the peers that npm installs (make bench-setup)." type:"path" default:"bench/peers" placeholder:"DIR"`
}

// benchWorld says which events.
type benchWorld struct {
	Events int64  `help:"Events of the world that is made." default:"1000000"`
	Seed   uint64 `help:"Seed of the world." default:"1"`
}

func (w benchWorld) of(s bench.Setup) bench.WorldOptions {
	return bench.WorldOptions{Setup: s, Seed: w.Seed, Events: w.Events}
}

// benchConnections are those of the measurements with one number of them.
type benchConnections struct {
	Connections int `help:"Keep-alive connections." default:"256"`
}

func (f *benchFlags) setup(e *env) bench.Setup {
	return bench.Setup{Dir: f.Folder, Peers: f.Peers, Progress: e.err}
}

func (c benchConnections) on(s bench.Setup) bench.Setup {
	s.Conns = c.Connections
	return s
}

// benchRun measures, keeps the report if that was asked for, and shows it.
func benchRun[O, R any, P interface {
	*R
	bench.Report
}](ctx context.Context, e *env, f *benchFlags, name string, measure func(context.Context, O) (R, error), o O) error {
	r, err := measure(ctx, o)
	if err == nil && f.Report != "" {
		err = bench.Save(f.Report, name, P(&r))
	}
	if err != nil {
		return fmt.Errorf("bench %s: %w", name, err)
	}
	if f.Format == "json" {
		enc := json.NewEncoder(e.out)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	return P(&r).WriteText(e.out)
}

type benchPixelCmd struct {
	benchFlags
	Connections []int         `help:"Numbers of keep-alive connections." default:"256,512,1024"`
	Rounds      int           `help:"Slices of each server, by turns." default:"16"`
	Duration    time.Duration `help:"Length of a slice." default:"1s"`
}

// Run measures pixel requests.
func (c *benchPixelCmd) Run(ctx context.Context, e *env) error {
	return benchRun(ctx, e, &c.benchFlags, "pixel", bench.Pixel, bench.PixelOptions{Setup: c.setup(e), Levels: c.Connections, Rounds: c.Rounds, Duration: c.Duration})
}

type benchFreshCmd struct {
	benchFlags
	benchConnections
	Rate     float64       `help:"Requests per second in the background." default:"20000"`
	Duration time.Duration `help:"Length of the measurement." default:"1m"`
}

// Run measures freshness.
func (c *benchFreshCmd) Run(ctx context.Context, e *env) error {
	return benchRun(ctx, e, &c.benchFlags, "fresh", bench.Fresh, bench.FreshOptions{Setup: c.on(c.setup(e)), Rate: c.Rate, Duration: c.Duration})
}

type benchSoakCmd struct {
	benchFlags
	benchConnections
	Rate     float64       `help:"Requests per second." default:"20000"`
	Duration time.Duration `help:"Length of the soak." default:"30m"`
}

// Run soaks.
func (c *benchSoakCmd) Run(ctx context.Context, e *env) error {
	return benchRun(ctx, e, &c.benchFlags, "soak", bench.Soak, bench.SoakOptions{Setup: c.on(c.setup(e)), Rate: c.Rate, Duration: c.Duration})
}

type benchKPICmd struct {
	benchFlags
	benchWorld
	Runs int           `help:"Runs of each KPI on each engine." default:"20"`
	Each time.Duration `help:"Longest time of the runs of one KPI on one engine." default:"10s"`
}

// Run measures KPIs.
func (c *benchKPICmd) Run(ctx context.Context, e *env) error {
	return benchRun(ctx, e, &c.benchFlags, bench.Sized("kpi", c.Events), bench.KPI, bench.KPIOptions{WorldOptions: c.of(c.setup(e)), Runs: c.Runs, Each: c.Each})
}

type benchBulkCmd struct {
	benchFlags
	benchWorld
	Duration time.Duration `help:"Time of each form." default:"5s"`
}

// Run measures the bulk door.
func (c *benchBulkCmd) Run(ctx context.Context, e *env) error {
	return benchRun(ctx, e, &c.benchFlags, "bulk", bench.Bulk, bench.BulkOptions{WorldOptions: c.of(c.setup(e)), Duration: c.Duration})
}

type benchFlushCmd struct {
	benchFlags
	benchWorld
}

// Run measures flushes.
func (c *benchFlushCmd) Run(ctx context.Context, e *env) error {
	return benchRun(ctx, e, &c.benchFlags, "flush", bench.Flush, c.of(c.setup(e)))
}

type benchCompactCmd struct {
	benchFlags
	benchWorld
}

// Run measures compaction.
func (c *benchCompactCmd) Run(ctx context.Context, e *env) error {
	return benchRun(ctx, e, &c.benchFlags, "compact", bench.Compact, c.of(c.setup(e)))
}

type benchDecideCmd struct {
	benchFlags
	People int    `help:"People, of whom a fifth refuses." default:"1000000"`
	Seed   uint64 `help:"Seed of who refuses." default:"1"`
}

// Run measures consent.
func (c *benchDecideCmd) Run(ctx context.Context, e *env) error {
	return benchRun(ctx, e, &c.benchFlags, "decide", bench.Decide, bench.DecideOptions{Setup: c.setup(e), Seed: c.Seed, People: c.People})
}

type benchRestartCmd struct {
	benchFlags
	benchWorld
	LogMB float64 `name:"log-mb" help:"Unflushed log, in MiB, about." default:"1024"`
}

// Run measures restarts.
func (c *benchRestartCmd) Run(ctx context.Context, e *env) error {
	return benchRun(ctx, e, &c.benchFlags, "restart", bench.Restart, bench.RestartOptions{WorldOptions: c.of(c.setup(e)), LogMB: c.LogMB})
}

type benchCompareCmd struct {
	A      string `arg:"" help:"Report as JSON."`
	B      string `arg:"" help:"Another one of the same measurement."`
	Format string `help:"text or json." enum:"text,json" default:"text"`
}

// Run compares.
func (c *benchCompareCmd) Run(e *env) error {
	r, err := bench.Compare(c.A, c.B)
	if err != nil {
		return err
	}
	if c.Format == "json" {
		return json.NewEncoder(e.out).Encode(r)
	}
	return r.WriteText(e.out)
}

type benchSQLCmd struct {
	benchFlags
	benchConnections
	Events   int           `help:"Events in the table." default:"10000000"`
	Rate     float64       `help:"Requests per second in the background." default:"10000"`
	Readers  int           `help:"Readers at once." default:"20"`
	Pause    time.Duration `help:"What a reader waits after an answer." default:"0s"`
	Duration time.Duration `help:"Length of the measurement, with readers and without." default:"20s"`
}

// Run measures readers beside ingest.
func (c *benchSQLCmd) Run(ctx context.Context, e *env) error {
	return benchRun(ctx, e, &c.benchFlags, "sql", bench.Readers, bench.ReadersOptions{
		Setup: c.on(c.setup(e)), Events: c.Events, Rate: c.Rate, Readers: c.Readers, Pause: c.Pause, Duration: c.Duration,
	})
}

type benchBaselineCmd struct {
	Listen string `help:"Address." default:"127.0.0.1:0"`
}

// Run is the server that others are measured against.
func (c *benchBaselineCmd) Run(ctx context.Context, e *env) error {
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.out, "listening on http://%s\n", ln.Addr())
	return ingest.ServeImages(ctx, ln, 16<<10)
}
