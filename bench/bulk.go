package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
)

// BulkOptions configure Bulk.
type BulkOptions struct {
	WorldOptions               // whose events are made once and then sent over and over
	Duration     time.Duration // of each form; default 5 s
}

func (o *BulkOptions) setDefaults(cores int) error {
	defaultTo(&o.Duration, 5*time.Second)
	return errors.Join(
		o.WorldOptions.setDefaults(cores),
		within("events", o.Events, bulkRows, 20_000_000),
		within("duration", o.Duration, time.Millisecond, maxDuration),
	)
}

// bulkForm is how rows are written: a format and a Content-Encoding.
type bulkForm struct{ name, format, encoding string }

var bulkForms = []bulkForm{
	{"Arrow", formatArrow, ""}, {"Arrow, zstd", formatArrow, "zstd"}, {"Arrow, gzip", formatArrow, "gzip"},
	{"NDJSON", formatNDJSON, ""}, {"NDJSON, zstd", formatNDJSON, "zstd"}, {"NDJSON, gzip", formatNDJSON, "gzip"},
}

// Bulk measures how many events a second the bulk door makes durable, in each
// form, per second and per second of the server's CPU time; then how many are durable
// and in a table, flushes included. Then ClickHouse inserts the same bodies: it
// makes sorted parts of them, but does not sync.
func Bulk(ctx context.Context, o BulkOptions) (s Sheet, err error) {
	if err := o.setDefaults(runtime.NumCPU()); err != nil {
		return s, err
	}
	o.holdBack()
	b := bulkBench{o: &o, sheet: &s, say: o.progress()}
	defer b.say.end()
	dir, remove, err := o.folder()
	if err != nil {
		return s, err
	}
	defer remove()
	s = Sheet{Bench: "bulk", Title: "Durable events through the bulk door, beside ClickHouse inserting the same rows"}
	if b.plan, err = o.world(); err != nil {
		return s, err
	}
	s.set("events", fmt.Sprintf("%s, made once and sent over and over in requests of %s, %d at a time, %v for each form", number(o.Events), number(bulkRows), bulkSenders, o.Duration))
	if err := b.run(ctx, dir); err != nil {
		return s, err
	}
	if err := b.againstChDB(ctx, filepath.Dir(dir)); err != nil {
		return s, err
	}
	b.summarise()
	return s, nil
}

// bulkBench is one run of Bulk.
type bulkBench struct {
	o     *BulkOptions
	sheet *Sheet
	plan  *worldPlan
	say   progress
	sent  int64
	small []string // files before they were merged
}

// bodies makes all rows in one form.
func (b *bulkBench) bodies(f bulkForm) (bodies [][]byte, err error) {
	b.plan.make(bulkRows, func(r *rows) bool {
		if r.len() < bulkRows {
			return true // a short one would not be like the others
		}
		var buf bytes.Buffer
		z, zErr := compressor(&buf, f.encoding)
		if zErr != nil {
			err = zErr
			return false
		}
		err = errors.Join(r.encode(z, f.format), z.Close())
		bodies = append(bodies, buf.Bytes())
		return err == nil
	})
	return bodies, err
}

// started starts a server on a new data folder that knows the emails and people of
// the plan, and starts no maintenance by itself.
func (b *bulkBench) started(ctx context.Context, dir string) (n *node, err error) {
	if n, err = b.o.mailwake(ctx, dir); err != nil {
		return nil, err
	}
	if b.sheet.Machine, err = machineOf(dir); err == nil {
		err = errors.Join(n.api.createOrg(ctx), n.api.maintenance(ctx, "pause"), n.api.register(ctx, b.plan, b.say))
	}
	if err == nil {
		b.sent, err = n.api.countAll(ctx)
	}
	if err != nil {
		err = n.Explain(err)
		n.kill()
		return nil, err
	}
	return n, nil
}

func (b *bulkBench) run(ctx context.Context, dir string) error {
	n, err := b.started(ctx, dir)
	if err != nil {
		return err
	}
	defer n.kill()
	for _, f := range bulkForms {
		b.say.step("%s: making bodies", f.name)
		bodies, err := b.bodies(f)
		if err != nil {
			return err
		}
		b.say.step("%s: sending", f.name)
		if err := b.send(ctx, n, f, bodies); err != nil {
			return n.Explain(fmt.Errorf("%s: %w", f.name, err))
		}
	}
	stored, err := n.api.countAll(ctx)
	if err != nil {
		return n.Explain(err)
	}
	if stored != b.sent {
		return &CountError{When: "after the load", Answered: b.sent, Stored: stored}
	}
	b.say.step("draining and counting")
	return b.recount(ctx, n, dir)
}

// recount counts once more after a drain and a restart.
func (b *bulkBench) recount(ctx context.Context, n *node, dir string) error {
	took, err := n.drain(b.o.StopLimit)
	if err != nil {
		return err
	}
	b.sheet.set("drain", took.Round(10*time.Millisecond))
	if n, err = b.o.mailwake(ctx, dir); err != nil {
		return err
	}
	defer n.kill()
	stored, err := n.api.countAll(ctx)
	if err != nil {
		return n.Explain(err)
	}
	b.sheet.stored(b.sent, stored)
	return nil
}

// send measures one form: what is sent in the time, and the flush of it.
func (b *bulkBench) send(ctx context.Context, n *node, f bulkForm, bodies [][]byte) error {
	if _, err := n.api.upload(ctx, bodies[0], f.format, f.encoding); err != nil { // warms up
		return err
	}
	b.sent += bulkRows
	if err := n.api.flush(ctx); err != nil {
		return err
	}
	before, err := n.Usage()
	if err != nil {
		return err
	}
	start := time.Now()
	sent := make([]int64, bulkSenders)
	var work errgroup.Group
	for i := range bulkSenders {
		work.Go(func() error {
			for at := i; time.Since(start) < b.o.Duration; at += bulkSenders {
				rows, err := n.api.upload(ctx, bodies[at%len(bodies)], f.format, f.encoding)
				if err != nil {
					return err
				}
				sent[i] += int64(rows)
			}
			return nil
		})
	}
	err = work.Wait()
	took := time.Since(start)
	var rows int64
	for _, s := range sent {
		rows += s
	}
	b.sent += rows
	if err != nil {
		return err
	}
	durable, err := n.Usage()
	if err != nil {
		return err
	}
	if err := n.api.flush(ctx); err != nil {
		return err
	}
	after, err := n.Usage()
	if err != nil {
		return err
	}
	b.sheet.add(f.name, "durable, events/s", float64(rows)/took.Seconds(), "/s")
	b.sheet.add(f.name, durablePerCore, float64(rows)/(durable.CPU-before.CPU).Seconds(), "/s")
	b.sheet.add(f.name, storedPerCore, float64(rows)/(after.CPU-before.CPU).Seconds(), "/s")
	b.sheet.add(f.name, "bytes per event", float64(len(bodies[0]))/bulkRows, "B")
	return nil
}

// Columns that are compared.
const (
	durablePerCore  = "durable, per core"
	storedPerCore   = "and in a table, per core"
	insertedPerCore = "ClickHouse, per core"
)

func (b *bulkBench) summarise() {
	s := b.sheet
	for _, f := range []string{"Arrow", "NDJSON"} {
		peer := s.value(f, insertedPerCore)
		if peer == 0 {
			continue
		}
		for _, of := range []string{durablePerCore, storedPerCore} {
			s.add(f, of+" / ClickHouse", s.value(f, of)/peer, "×")
			s.atLeast(f+": "+of+", over ClickHouse", 1, s.value(f, of)/peer)
		}
		if r := s.value(f, durablePerCore) / peer; s.Ratio == 0 || r < s.Ratio {
			s.Ratio, s.RatioOf = r, "the smaller of Arrow and NDJSON: durable events per second of CPU over what ClickHouse inserts"
		}
	}
	s.atLeast("Arrow, durable per core", 3e6, s.value("Arrow", durablePerCore))
	s.atLeast("NDJSON, durable per core", 0.6e6, s.value("NDJSON", durablePerCore))
}
