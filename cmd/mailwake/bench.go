package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"

	"mailwake/bench"
	"mailwake/ingest"
)

type benchCmd struct {
	Pixel    benchPixelCmd    `cmd:"" help:"Durable pixel requests per second, beside the same server that stores nothing."`
	Fresh    benchFreshCmd    `cmd:"" help:"Time from an answer to its being counted by a query, under load."`
	Soak     benchSoakCmd     `cmd:"" help:"Memory and exactness over minutes of load."`
	Baseline benchBaselineCmd `cmd:"" hidden:"" help:"Answer the image and store nothing."`
}

// benchFlags are common to all measurements.
type benchFlags struct {
	Format      string `help:"text or json: one object with every figure." enum:"text,json" default:"text"`
	Folder      string `help:"Folder for the measured servers' data; default is a temporary one." type:"path" placeholder:"DIR"`
	Connections int    `help:"Keep-alive connections." default:"256"`
}

func (f *benchFlags) setup(e *env) bench.Setup {
	return bench.Setup{Dir: f.Folder, Conns: f.Connections, Progress: e.err}
}

type report interface {
	WriteText(w io.Writer) error
}

func (f *benchFlags) print(e *env, r report, err error) error {
	if err != nil {
		return err
	}
	if f.Format == "json" {
		enc := json.NewEncoder(e.out)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	return r.WriteText(e.out)
}

type benchPixelCmd struct {
	benchFlags
	Rounds   int           `help:"Rounds per server, alternating." default:"3"`
	Duration time.Duration `help:"Length of a round." default:"5s"`
}

// Run measures pixel requests.
func (c *benchPixelCmd) Run(ctx context.Context, e *env) error {
	r, err := bench.Pixel(ctx, bench.PixelOptions{Setup: c.setup(e), Rounds: c.Rounds, Duration: c.Duration})
	return c.print(e, &r, err)
}

type benchFreshCmd struct {
	benchFlags
	Rate     float64       `help:"Requests per second in the background." default:"1000"`
	Duration time.Duration `help:"Length of the measurement." default:"20s"`
}

// Run measures freshness.
func (c *benchFreshCmd) Run(ctx context.Context, e *env) error {
	r, err := bench.Fresh(ctx, bench.FreshOptions{Setup: c.setup(e), Rate: c.Rate, Duration: c.Duration})
	return c.print(e, &r, err)
}

type benchSoakCmd struct {
	benchFlags
	Rate     float64       `help:"Requests per second." default:"20000"`
	Duration time.Duration `help:"Length of the soak." default:"10m"`
}

// Run soaks.
func (c *benchSoakCmd) Run(ctx context.Context, e *env) error {
	r, err := bench.Soak(ctx, bench.SoakOptions{Setup: c.setup(e), Rate: c.Rate, Duration: c.Duration})
	return c.print(e, &r, err)
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
