package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
)

// BulkOptions configure Bulk.
type BulkOptions struct {
	Setup
	Seed     uint64        // of the world; default 1
	Rows     int64         // that are made once and then sent over and over; default 1,000,000
	Duration time.Duration // of each form; default 5 s
}

func (o *BulkOptions) setDefaults(cores int) error {
	defaultTo(&o.Seed, 1)
	defaultTo(&o.Rows, 1_000_000)
	defaultTo(&o.Duration, 5*time.Second)
	return errors.Join(
		o.Setup.setDefaults(cores),
		within("rows", int(o.Rows), bulkRows, 20_000_000),
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
	if b.plan, err = (World{Seed: o.Seed, Events: o.Rows}).plan(); err != nil {
		return s, err
	}
	s.set("rows", fmt.Sprintf("%s, made once and sent over and over in requests of %s, %d at a time, %v for each form", number(o.Rows), number(bulkRows), bulkSenders, o.Duration))
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

func (b *bulkBench) run(ctx context.Context, dir string) error {
	n, err := b.o.mailwake(ctx, dir)
	if err != nil {
		return err
	}
	defer n.kill()
	if b.sheet.Machine, err = machineOf(dir); err != nil {
		return err
	}
	if err := errors.Join(n.api.createOrg(ctx), n.api.maintenance(ctx, "pause"), n.api.register(ctx, b.plan, b.say)); err != nil {
		return n.Explain(err)
	}
	if b.sent, err = n.api.countAll(ctx); err != nil {
		return n.Explain(err)
	}
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

// againstChDB lets ClickHouse insert the same bodies from files.
func (b *bulkBench) againstChDB(ctx context.Context, dir string) error {
	p, err := b.o.chdb(ctx, filepath.Join(dir, "clickhouse"))
	if errors.Is(err, errAbsent) {
		b.sheet.peer("ClickHouse", "absent: "+err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = p.close() }() // all its answers were read
	version, err := p.sql("SELECT version() AS v")
	if err != nil {
		return err
	}
	b.sheet.peer("ClickHouse", "chDB "+field(version.Text, "v")+", the same bodies as uncompressed files of "+number(bulkRows)+
		" rows, an INSERT each into a MergeTree sorted and partitioned as mailwake's tables are; no fsync, which is its default; it neither classifies user agents nor asks for consent")
	for _, f := range bulkForms {
		if f.encoding != "" {
			continue
		}
		b.say.step("ClickHouse: %s", f.name)
		if err := b.insert(p, f, dir); err != nil {
			return fmt.Errorf("ClickHouse: %s: %w", f.name, err)
		}
	}
	return nil
}

func (b *bulkBench) insert(p *peer, f bulkForm, dir string) error {
	bodies, err := b.bodies(f)
	if err != nil {
		return err
	}
	const columns = "occurred_at, kind, email_id, recipient_id, component, user_agent, actor"
	structure, format := "occurred_at Int64, kind String, email_id Int64, recipient_id Int64, component Int32, user_agent Nullable(String), actor Nullable(String)", "JSONEachRow"
	at := "fromUnixTimestamp64Micro(occurred_at, 'UTC')"
	if f.format == formatArrow {
		structure, format = "occurred_at DateTime64(6, 'UTC'), kind LowCardinality(String), email_id Int64, recipient_id Int64, component Int32, user_agent LowCardinality(Nullable(String)), actor LowCardinality(Nullable(String))", "ArrowStream"
		at = "occurred_at"
	}
	if err := p.all("DROP TABLE IF EXISTS rows SYNC", `CREATE TABLE rows (occurred_at DateTime64(6, 'UTC'), kind LowCardinality(String), email_id Int64, recipient_id Int64,
  component Int32, user_agent LowCardinality(Nullable(String)), actor LowCardinality(Nullable(String)))
ENGINE = MergeTree PARTITION BY toYYYYMM(occurred_at) ORDER BY (email_id, recipient_id, occurred_at)`); err != nil {
		return err
	}
	path := filepath.Join(dir, "body")
	statement := fmt.Sprintf("INSERT INTO rows (%s) SELECT %s, kind, email_id, recipient_id, component, user_agent, actor FROM file('%s', %s, $$%s$$)", columns, at, path, format, structure)
	var seconds, cpu float64
	var inserts int
	for i := 0; seconds < b.o.Duration.Seconds(); i++ {
		if err := os.WriteFile(path, bodies[i%len(bodies)], 0o600); err != nil {
			return err
		}
		a, err := p.sql(statement)
		if err != nil {
			return err
		}
		if i > 0 { // the first one warms up
			seconds, cpu, inserts = seconds+a.Seconds, cpu+a.CPU, inserts+1
		}
	}
	count, err := p.sql("SELECT count() AS n FROM rows")
	if err != nil {
		return err
	}
	if want := fmt.Sprint((inserts + 1) * bulkRows); field(count.Text, "n") != want {
		return fmt.Errorf("%s rows are stored of %s", field(count.Text, "n"), want)
	}
	b.sheet.add(f.name, "ClickHouse, events/s", float64(inserts)*bulkRows/seconds, "/s")
	b.sheet.add(f.name, insertedPerCore, float64(inserts)*bulkRows/cpu, "/s")
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
