package bench

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Setup says which server is measured and how; the zero value measures this very
// program with its defaults.
type Setup struct {
	Binary    string   // mailwake; default: the running executable
	ServeArgs []string // more arguments of `mailwake serve`, such as --storage
	Env       []string // more environment of the servers, as NAME=value; MAILWAKE_* is not inherited
	Dir       string   // where the data folder is made, itself made if missing; default: the folder for temporary files
	Peers     string   // folder of the peers that npm installs; default bench/peers
	Azurite   string   // folder of the blob server that npm installs; default engine/blob/blobtest/azurite
	Nginx     string   // program; default nginx, which may be absent
	Keep      bool     // leave the data folder there, for inspect and verify

	Conns      int           // keep-alive connections; default 256; Pixel has Levels
	Threads    int           // threads that generate load; default a quarter of the cores, at least 1
	Recipients int           // recipients whose pixels are asked for in turn; default 4,000
	StopLimit  time.Duration // how long a server may take to start, or to drain and end; default 1 minute

	Progress      io.Writer // told what is being done, if it is a terminal; may be nil
	ForceProgress bool      // tell Progress even if it is no terminal, one line a step
}

// WorldOptions say which world of events a server is measured with.
type WorldOptions struct {
	Setup
	Seed   uint64 // of the world; default 1
	Events int64  // default 1,000,000
}

// PixelOptions configure Pixel.
type PixelOptions struct {
	Setup
	Levels   []int         // numbers of connections; default 256, 512 and 1,024
	Rounds   int           // slices of each server, in which several flushes fall; default 16
	Warmup   time.Duration // load before the first slice; default 2 s
	Duration time.Duration // of a measured slice; default 1 s
}

// FreshOptions configure Fresh.
type FreshOptions struct {
	Setup
	Rate       float64       // background requests per second; default 20,000
	Warmup     time.Duration // background and probes before what is measured; default 2 s
	Duration   time.Duration // default 1 minute
	ProbeEvery time.Duration // pause between the starts of probes; default 100 ms
}

// SoakOptions configure Soak.
type SoakOptions struct {
	Setup
	Rate        float64       // requests per second; default 20,000
	Duration    time.Duration // default 30 minutes
	AskEvery    time.Duration // pause between the starts of questions; default 1 s
	SampleEvery time.Duration // default 5 s, or a twentieth of a Duration that is shorter than 100 s
}

// Bounds of what can be asked for; they keep a slip of the pen from filling a disk.
const (
	maxConns      = 16 << 10
	maxThreads    = 256
	maxRecipients = 1 << 20
	maxRounds     = 100
	maxDuration   = 24 * time.Hour
	maxRate       = 1e6
	maxProbes     = 100_000
	maxEvents     = 1_000_000_000
)

func defaultTo[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (s *Setup) setDefaults(cores int) error {
	if s.Binary == "" {
		path, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
		s.Binary = path
	}
	defaultTo(&s.Peers, filepath.Join("bench", "peers"))
	defaultTo(&s.Azurite, filepath.Join("engine", "blob", "blobtest", "azurite"))
	defaultTo(&s.Nginx, "nginx")
	defaultTo(&s.Conns, 256)
	defaultTo(&s.Threads, min(max(1, cores/4), s.Conns))
	defaultTo(&s.Recipients, 4000)
	defaultTo(&s.StopLimit, time.Minute)
	return errors.Join(
		within("connections", s.Conns, 1, maxConns),
		within("threads", s.Threads, 1, min(maxThreads, max(s.Conns, 1))),
		within("recipients", s.Recipients, 1, maxRecipients),
		within("stop limit", s.StopLimit, time.Millisecond, maxDuration),
	)
}

func (o *WorldOptions) setDefaults(cores int) error {
	defaultTo(&o.Seed, 1)
	defaultTo(&o.Events, 1_000_000)
	return errors.Join(o.Setup.setDefaults(cores), within("events", o.Events, 1000, maxEvents))
}

func (o *PixelOptions) setDefaults(cores int) error {
	if len(o.Levels) == 0 {
		o.Levels = []int{256, 512, 1024}
	}
	defaultTo(&o.Rounds, 16)
	defaultTo(&o.Warmup, 2*time.Second)
	defaultTo(&o.Duration, time.Second)
	o.Conns = slices.Min(o.Levels) // no more threads than that
	return errors.Join(
		o.Setup.setDefaults(cores),
		within("connections", slices.Max(o.Levels), o.Conns, maxConns),
		within("rounds", o.Rounds, 1, maxRounds),
		within("warm-up", o.Warmup, time.Millisecond, maxDuration),
		within("duration", o.Duration, time.Millisecond, maxDuration),
	)
}

func (o *FreshOptions) setDefaults(cores int) error {
	defaultTo(&o.Rate, 20_000)
	defaultTo(&o.Warmup, 2*time.Second)
	defaultTo(&o.Duration, time.Minute)
	defaultTo(&o.ProbeEvery, 100*time.Millisecond)
	err := errors.Join(
		o.Setup.setDefaults(cores),
		within("rate", o.Rate, 1, maxRate),
		within("warm-up", o.Warmup, time.Millisecond, maxDuration),
		within("duration", o.Duration, time.Millisecond, maxDuration),
		within("probe interval", o.ProbeEvery, time.Millisecond, maxDuration),
	)
	if err != nil {
		return err
	}
	return within("probes", o.probes(), 2, maxProbes)
}

// probes is how many recipients the prober may need; each is used once.
func (o *FreshOptions) probes() int {
	return int((o.Warmup+o.Duration)/o.ProbeEvery) + 1
}

func (o *SoakOptions) setDefaults(cores int) error {
	defaultTo(&o.Rate, 20_000)
	defaultTo(&o.Recipients, 100_000) // a thousand per email
	defaultTo(&o.Duration, 30*time.Minute)
	defaultTo(&o.AskEvery, time.Second)
	defaultTo(&o.SampleEvery, min(5*time.Second, max(o.Duration/20, time.Millisecond)))
	return errors.Join(
		o.Setup.setDefaults(cores),
		within("rate", o.Rate, 1, maxRate),
		within("duration", o.Duration, 10*time.Millisecond, maxDuration),
		within("question interval", o.AskEvery, time.Millisecond, maxDuration),
		within("sample interval", o.SampleEvery, time.Millisecond, o.Duration/4),
	)
}

func within[T int | int64 | float64 | time.Duration](name string, v, low, high T) error {
	if v < low || v > high {
		return fmt.Errorf("bench: %s is %v; it must be from %v to %v", name, v, low, high)
	}
	return nil
}
