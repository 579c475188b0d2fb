package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// RestartOptions configure Restart.
type RestartOptions struct {
	WorldOptions         // whose events are in tables on Azurite
	LogMB        float64 // of unflushed log; default 1,024
}

// maxRestart is how long a restart with the default log may take to its first answer.
const maxRestart = 5.0

// Restart fills the log with pixels that no table has, kills the server (SIGKILL) and
// measures how long it takes from its start until it has replayed them all and
// answers a KPI as it did before; then it flushes them, which tells what a flush
// costs per event, drains, and measures the first query after a restart with empty
// memory. Then it does that with tables on Azurite, also without what the disk keeps
// of them.
func Restart(ctx context.Context, o RestartOptions) (s Sheet, err error) {
	defaultTo(&o.LogMB, 1024)
	defaultTo(&o.Recipients, 100_000) // a thousand per email
	if err := errors.Join(o.WorldOptions.setDefaults(runtime.NumCPU()), within("MB of log", o.LogMB, 1, 4000)); err != nil {
		return s, err
	}
	say := o.progress()
	defer say.end()
	dir, remove, err := o.folder()
	if err != nil {
		return s, err
	}
	defer remove()
	s = Sheet{Bench: "restart", Title: "Restart with an unflushed log, with an empty memory, with an empty disk"}
	b := restartBench{o: &o, setup: o.Setup, sheet: &s, say: say, dir: dir}
	b.setup.holdBack()
	if err := b.fill(ctx); err != nil {
		return s, err
	}
	if err := b.measure(ctx); err != nil {
		return s, err
	}
	return s, b.cold(ctx)
}

// restartBench is one run of Restart.
type restartBench struct {
	o     *RestartOptions
	setup Setup // that holds flushes back
	sheet *Sheet
	say   progress
	dir   string
	email int64 // that is asked about
	opens int64 // of it
	sent  int64 // pixels
	total int64 // rows that no table has
}

// fill asks for pixels until the log has the wanted size, and kills the server.
func (b *restartBench) fill(ctx context.Context) error {
	b.say.step("following emails for %d recipients", b.setup.Recipients)
	n, pixels, _, err := b.setup.followed(ctx, b.dir, 0)
	if err != nil {
		return err
	}
	defer n.kill()
	if b.sheet.Machine, err = machineOf(b.dir); err != nil {
		return err
	}
	if err := b.pixels(ctx, n, pixels); err != nil {
		return n.Explain(err)
	}
	b.email = pixels[0].email
	if b.opens, err = n.api.opens(ctx, b.email); err != nil {
		return n.Explain(err)
	}
	return nil
}

func (b *restartBench) pixels(ctx context.Context, n *node, pixels []pixel) (err error) {
	g, err := Dial(Load{Addr: n.public, Requests: requests(shuffled(pathsOf(pixels))), Conns: b.setup.Conns, Threads: b.setup.Threads})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	first, err := n.api.metrics(ctx, metricTail)
	if err != nil {
		return err
	}
	for start := time.Now(); ; {
		result, err := g.Run(ctx, time.Second)
		b.sent += result.Answered - result.NotOK
		if err != nil {
			return err
		}
		now, err := n.api.metrics(ctx, metricLog)
		if err != nil {
			return err
		}
		b.say.bar(int64(now[0])>>20, int64(b.o.LogMB), "MiB of log", time.Since(start))
		if now[0] < b.o.LogMB*(1<<20) {
			continue
		}
		b.total = int64(first[0]) + b.sent
		b.sheet.set("log", fmt.Sprintf("%.0f MiB, %s events that no table has, pixels of %s recipients; the server was killed", now[0]/(1<<20), number(b.total), number(len(pixels))))
		return nil
	}
}

const firstAnswer = "start with unflushed log → one email's summary answered"

func (b *restartBench) measure(ctx context.Context) error {
	b.say.step("restarting")
	start := time.Now()
	n, err := b.setup.mailwake(ctx, b.dir)
	if err != nil {
		return err
	}
	defer n.kill()
	ready := time.Since(start)
	opens, err := n.api.opens(ctx, b.email)
	if err != nil {
		return n.Explain(err)
	}
	answered := time.Since(start)
	if opens != b.opens {
		return &CountError{When: "one email, after the server was killed", Answered: b.opens, Stored: opens}
	}
	tail, err := n.api.metrics(ctx, metricTail)
	if err != nil {
		return n.Explain(err)
	}
	if replayed := int64(tail[0]); replayed != b.total {
		return &CountError{When: "rows of the log, after the server was killed", Answered: b.total, Stored: replayed}
	}
	s := b.sheet
	s.add("start with unflushed log → ready", "mailwake", ready.Seconds(), "s")
	s.add(firstAnswer, "mailwake", answered.Seconds(), "s")
	s.atMost(firstAnswer, maxRestart, answered.Seconds(), "s")
	if err := b.flush(ctx, n); err != nil {
		return n.Explain(err)
	}
	if _, err := n.drain(b.setup.StopLimit); err != nil {
		return err
	}
	return b.again(ctx)
}

func (b *restartBench) flush(ctx context.Context, n *node) error {
	b.say.step("flushing")
	before, err := n.Usage()
	if err != nil {
		return err
	}
	used, took, err := n.used(func() error { return n.api.flush(ctx) })
	if err != nil {
		return err
	}
	s := b.sheet
	s.add("resident memory, log replayed", "mailwake", mib(before.RSS), "MiB")
	s.add("peak resident memory, flush included", "mailwake", mib(used.Peak), "MiB")
	s.add("flush, CPU per event", "mailwake", float64(used.CPU.Nanoseconds())/float64(b.total), "ns")
	s.add("flush, time per event", "mailwake", float64(took.Nanoseconds())/float64(b.total), "ns")
	return nil
}

// again restarts with all events in tables.
func (b *restartBench) again(ctx context.Context) error {
	start := time.Now()
	n, err := b.setup.mailwake(ctx, b.dir)
	if err != nil {
		return err
	}
	defer n.kill()
	b.sheet.add("start with an empty log → ready", "mailwake", time.Since(start).Seconds(), "s")
	start = time.Now()
	if _, err := n.api.kpi(ctx, asked{name: "organisation_summary"}); err != nil {
		return n.Explain(err)
	}
	b.sheet.add("ready → first organisation_summary, disk warm", "mailwake", time.Since(start).Seconds(), "s")
	stored, err := n.api.count(ctx, 0)
	if err != nil {
		return n.Explain(err)
	}
	b.sheet.stored(b.sent, stored)
	_, err = n.drain(b.setup.StopLimit)
	return err
}
