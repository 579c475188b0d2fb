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
	Setup
	Seed  uint64  // of the world; default 1
	LogMB float64 // of unflushed log; default 1,024
}

// maxRestart is how long a restart with the default log may take to its first answer.
const maxRestart = 5.0

// Restart fills the log with events that no table has, kills the server (SIGKILL)
// and measures how long it takes from its start until it has counted them all; then
// it flushes them, which tells what a flush costs per event, drains, and measures
// the first query after a restart with empty memory.
func Restart(ctx context.Context, o RestartOptions) (s Sheet, err error) {
	defaultTo(&o.Seed, 1)
	defaultTo(&o.LogMB, 1024)
	if err := errors.Join(o.Setup.setDefaults(runtime.NumCPU()), within("MB of log", o.LogMB, 1, 4000)); err != nil {
		return s, err
	}
	o.holdBack()
	say := o.progress()
	defer say.end()
	dir, remove, err := o.folder()
	if err != nil {
		return s, err
	}
	defer remove()
	s = Sheet{Bench: "restart", Title: "Restart with an unflushed log, and the flush of it"}
	b := restartBench{o: &o, sheet: &s, say: say, dir: dir}
	if err := b.fill(ctx); err != nil {
		return s, err
	}
	return s, b.measure(ctx)
}

// restartBench is one run of Restart.
type restartBench struct {
	o     *RestartOptions
	sheet *Sheet
	say   progress
	dir   string
	total int64
}

// fill loads a world of about the wanted size and kills the server.
func (b *restartBench) fill(ctx context.Context) error {
	const bytesPerEvent = 32 // of the log, bulk rows; what there is in fact is reported
	plan, err := (World{Seed: b.o.Seed, Events: int64(b.o.LogMB * (1 << 20) / bytesPerEvent), People: 20_000}).plan()
	if err != nil {
		return err
	}
	n, total, err := b.o.populated(ctx, b.dir, plan, b.say)
	if err != nil {
		return err
	}
	defer n.kill()
	b.total = total
	if b.sheet.Machine, err = machineOf(b.dir); err != nil {
		return err
	}
	values, err := n.api.metrics(ctx, metricLog, metricTail)
	if err != nil {
		return n.Explain(err)
	}
	b.sheet.set("log", fmt.Sprintf("%.0f MiB, %s events that no table has; the server was killed", values[0]/(1<<20), number(int64(values[1]))))
	return nil
}

func (b *restartBench) measure(ctx context.Context) error {
	b.say.step("restarting")
	start := time.Now()
	n, err := b.o.mailwake(ctx, b.dir)
	if err != nil {
		return err
	}
	defer n.kill()
	ready := time.Since(start)
	counted, err := n.api.countAll(ctx)
	if err != nil {
		return n.Explain(err)
	}
	answered := time.Since(start)
	if counted != b.total {
		return &CountError{When: "after the server was killed", Answered: b.total, Stored: counted}
	}
	s := b.sheet
	s.add("start with unflushed log → ready", "mailwake", ready.Seconds(), "s")
	s.add("start with unflushed log → all counted by SQL", "mailwake", answered.Seconds(), "s")
	before, err := n.Usage()
	if err != nil {
		return err
	}
	b.say.step("flushing")
	start = time.Now()
	if err := n.api.flush(ctx); err != nil {
		return n.Explain(err)
	}
	after, err := n.Usage()
	if err != nil {
		return err
	}
	s.add("flush, CPU per event", "mailwake", float64((after.CPU-before.CPU).Nanoseconds())/float64(b.total), "ns")
	s.add("flush, time per event", "mailwake", float64(time.Since(start).Nanoseconds())/float64(b.total), "ns")
	s.add("peak resident memory", "mailwake", mib(after.Peak), "MiB")
	if _, err := n.drain(b.o.StopLimit); err != nil {
		return err
	}
	if err := b.again(ctx); err != nil {
		return err
	}
	s.atMost("start with unflushed log → ready", maxRestart, s.value("start with unflushed log → ready", "mailwake"), "s")
	return nil
}

// again restarts with all events in tables.
func (b *restartBench) again(ctx context.Context) error {
	start := time.Now()
	n, err := b.o.mailwake(ctx, b.dir)
	if err != nil {
		return err
	}
	defer n.kill()
	b.sheet.add("start with an empty log → ready", "mailwake", time.Since(start).Seconds(), "s")
	start = time.Now()
	if _, err := n.api.kpi(ctx, asked{name: "organisation_summary"}); err != nil {
		return n.Explain(err)
	}
	b.sheet.add("first organisation_summary after a restart, disk warm", "mailwake", time.Since(start).Seconds(), "s")
	stored, err := n.api.countAll(ctx)
	if err != nil {
		return n.Explain(err)
	}
	b.sheet.stored(b.total, stored)
	return nil
}
