package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
)

// Pixel measures durable pixel requests against fasthttp with the same settings,
// which stores nothing, and nginx, at several numbers of connections. The servers run beside each
// other and are loaded in short slices by turns, while the others stand still
// (SIGSTOP): what makes the machine slower for a while slows all of them, and what a
// server had put off waits for its own next slice. After each number of connections
// the server is drained and stopped; what is stored must be what was answered before
// that and after the next start.
func Pixel(ctx context.Context, o PixelOptions) (s Sheet, err error) {
	if err := o.setDefaults(runtime.NumCPU()); err != nil {
		return s, err
	}
	b := pixelBench{o: &o, sheet: &s, say: o.progress()}
	defer b.say.end()
	dir, remove, err := o.folder()
	if err != nil {
		return s, err
	}
	defer remove()
	b.dir = dir
	s = Sheet{Bench: "pixel", Title: "Durable pixel requests against fasthttp storing nothing"}
	if err := b.prepare(ctx); err != nil {
		return s, err
	}
	for _, conns := range o.Levels {
		if err := b.level(ctx, conns); err != nil {
			return s, fmt.Errorf("%d connections: %w", conns, err)
		}
	}
	if err := b.last(ctx); err != nil {
		return s, err
	}
	b.report()
	return s, nil
}

// pixelBench is one run of Pixel.
type pixelBench struct {
	o     *PixelOptions
	sheet *Sheet
	say   progress
	dir   string

	real, fake [][]byte // requests for mailwake and for the others
	answered   int64    // by mailwake, all that must be stored
	levels     []pixelLevel
}

// pixelLevel is what was measured with a number of connections.
type pixelLevel struct {
	name           string
	servers        []*runner // baseline, mailwake and, if it is there, nginx
	halfBase, half halfTraffic
}

// halfTraffic is that at half of mailwake's peak.
type halfTraffic struct {
	Traffic
	longSyncs float64 // fdatasyncs of the log that took more than longSync, since the server's start
}

// longSync is how long an fdatasync takes at least of which a few within half a minute
// put the p99 at half of the peak over its limit: who comes meanwhile waits, and those
// after it for as long as they are worked off.
const longSync = "0.1" // seconds; a bound of the metric

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
	if b.sheet.Machine, err = machineOf(b.dir); err != nil {
		return err
	}
	paths := shuffled(pathsOf(pixels))
	b.real, b.fake = requests(paths), requests(lookalikes(paths))
	b.sheet.set("load", fmt.Sprintf("%d generator thread(s), requests of %d bytes, %s recipients", b.o.Threads, meanLen(b.real), number(b.o.Recipients)))
	b.sheet.set("slices", fmt.Sprintf("%d of %v for each server by turns, each after a fifth of that which is not counted; the other servers stand still (SIGSTOP)", b.o.Rounds, b.o.Duration))
	return nil
}

// level measures all servers with so many connections.
func (b *pixelBench) level(ctx context.Context, conns int) (err error) {
	var all []*runner
	defer func() {
		for _, r := range all {
			err = errors.Join(err, r.end())
		}
	}()
	own, err := b.starters(ctx, conns, &all)
	if err != nil {
		return err
	}
	for round := range b.o.Rounds {
		for i := range all {
			if round%2 == 1 { // whoever came last in one round is first in the next one
				i = len(all) - 1 - i
			}
			b.say.step("%d connections, slice %d of %d: %s", conns, round+1, b.o.Rounds, all[i].node.name)
			if err := all[i].slice(ctx, b.o.Duration); err != nil {
				return err
			}
		}
	}
	b.answered += own.answered
	if err := b.drained(ctx, own, all); err != nil {
		return err
	}
	base, half, err := b.halves(ctx, conns, own.perSecond()/2)
	b.levels = append(b.levels, pixelLevel{fmt.Sprintf("%d connections", conns), all, base, half})
	return err
}

// starters starts the servers in the order in which they are reported and returns
// mailwake's.
func (b *pixelBench) starters(ctx context.Context, conns int, all *[]*runner) (own *runner, err error) {
	load := Load{Conns: conns, Threads: b.o.Threads}
	add := func(n *node, requests [][]byte) (*runner, error) {
		r := &runner{node: n}
		*all = append(*all, r)
		l := load
		l.Addr, l.Requests = n.public, requests
		return r, r.start(ctx, l, b.o.Warmup)
	}
	n, err := b.o.baseline(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := add(n, b.fake); err != nil {
		return nil, err
	}
	if n, err = b.o.mailwake(ctx, b.dir); err != nil {
		return nil, err
	}
	// What the restart lost is found after the slices: whoever counted now would have
	// what comes in sent to the SQL worker for a minute, in the time of the pixels.
	if err := n.rest(ctx, b.o.Warmup); err != nil {
		n.kill()
		return nil, err
	}
	own, err = add(n, b.real)
	if err != nil {
		return nil, err
	}
	n, err = b.o.nginx(ctx, filepath.Join(filepath.Dir(b.dir), "nginx"))
	if errors.Is(err, errAbsent) {
		if conns == b.o.Levels[0] {
			b.sheet.peer("nginx", "absent: "+err.Error())
		}
		return own, nil
	}
	if err != nil {
		return nil, err
	}
	if conns == b.o.Levels[0] {
		b.sheet.peer("nginx", "empty_gif, workers auto, access log with a buffer of 64 KiB")
	}
	_, err = add(n, b.fake)
	return own, err
}

// drained counts what a query of mailwake sees, then drains all servers and charges
// them what they had put off.
func (b *pixelBench) drained(ctx context.Context, own *runner, all []*runner) error {
	b.say.step("counting and draining")
	if err := own.node.resume(); err != nil {
		return err
	}
	before, err := own.node.Usage()
	if err != nil {
		return err
	}
	if err := own.node.verify(ctx, "after the slices", b.answered); err != nil {
		return err
	}
	after, err := own.node.Usage()
	if err != nil {
		return err
	}
	own.notCharged += after.CPU - before.CPU // the query is ours
	for _, r := range all {
		if err := r.drain(b.o.StopLimit); err != nil {
			return err
		}
	}
	return nil
}

// halves measures latencies of the baseline and of mailwake at half of the rate that
// mailwake's slices reached.
func (b *pixelBench) halves(ctx context.Context, conns int, rate float64) (base, own halfTraffic, err error) {
	load := Load{Requests: b.fake, Conns: conns, Threads: b.o.Threads, Rate: rate}
	n, err := b.o.baseline(ctx)
	if err != nil {
		return base, own, err
	}
	if base, _, err = b.half(ctx, n, load); err != nil {
		return base, own, err
	}
	if n, err = b.o.mailwake(ctx, b.dir); err != nil {
		return base, own, err
	}
	load.Requests = b.real
	own, answered, err := b.half(ctx, n, load)
	b.answered += answered
	return base, own, err
}

// half measures one server, which it ends, for long enough that several flushes are in it.
func (b *pixelBench) half(ctx context.Context, n *node, load Load) (t halfTraffic, answered int64, err error) {
	r := &runner{node: n}
	defer func() { err = errors.Join(err, r.end()) }()
	b.say.step("%d connections, half of the peak: %s", load.Conns, n.name)
	load.Addr = n.public
	if err = n.rest(ctx, b.o.Warmup); err != nil {
		return t, 0, err
	}
	if err = r.start(ctx, load, b.o.Warmup); err != nil {
		return t, r.answered, err
	}
	if err = r.slice(ctx, 30*b.o.Duration); err != nil {
		return t, r.answered, err
	}
	t.Traffic = r.slices[0]
	if n.api != nil {
		if t.longSyncs, err = n.longSyncs(ctx); err != nil {
			return t, r.answered, n.Explain(err)
		}
	}
	return t, r.answered, r.drain(b.o.StopLimit)
}

// longSyncs counts those of a server that is held.
func (n *node) longSyncs(ctx context.Context) (float64, error) {
	if err := n.resume(); err != nil {
		return 0, err
	}
	const syncs = "mailwake_log_sync_seconds"
	of, err := n.api.metrics(ctx, syncs+"_count", syncs+`_bucket{le="`+longSync+`"}`)
	if err != nil {
		return 0, err
	}
	return of[0] - of[1], nil
}

// last looks once more at what is stored, with a server that was started anew.
func (b *pixelBench) last(ctx context.Context) error {
	b.say.step("counting what is stored")
	n, err := b.o.mailwake(ctx, b.dir)
	if err != nil {
		return err
	}
	defer n.kill()
	stored, err := n.api.count(ctx, 0)
	if err != nil {
		return n.Explain(err)
	}
	b.sheet.stored(b.answered, stored)
	if stored != b.answered {
		return &CountError{When: "after the last restart", Answered: b.answered, Stored: stored}
	}
	_, err = n.drain(b.o.StopLimit)
	return err
}
