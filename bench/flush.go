package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// Flush measures what it costs to make durable events part of a table: gathering,
// sorting, writing Parquet and committing, for flushes of several sizes. Then
// ClickHouse writes the same rows as one sorted Parquet file.
func Flush(ctx context.Context, o WorldOptions) (s Sheet, err error) {
	s = Sheet{Bench: "flush", Title: "From the log into a table, beside ClickHouse writing the same rows as sorted Parquet"}
	b := bulkBench{o: &BulkOptions{WorldOptions: o}, sheet: &s}
	if err := b.besideChDB(ctx, b.flushes, b.flushedByChDB); err != nil {
		return s, err
	}
	largest := fmt.Sprintf("%s events", number(b.o.Events/bulkRows*bulkRows))
	if peer := s.value(largest, "ClickHouse, CPU"); peer > 0 {
		s.Ratio, s.RatioOf = peer/s.value(largest, "CPU"), "ClickHouse's CPU per event over mailwake's, for the largest flush"
		s.atLeast("CPU per event, ClickHouse over mailwake", 1, s.Ratio)
	}
	return s, nil
}

// besideChDB gives the same bodies to the server and to the peer.
func (b *bulkBench) besideChDB(ctx context.Context, own, peer func(ctx context.Context, dir string, bodies [][]byte) error) error {
	if err := errors.Join(b.o.WorldOptions.setDefaults(runtime.NumCPU()), within("events", b.o.Events, 2*bulkRows, maxEvents)); err != nil {
		return err
	}
	b.o.holdBack()
	b.say = b.o.progress()
	defer b.say.end()
	dir, remove, err := b.o.folder()
	if err != nil {
		return err
	}
	defer remove()
	if b.plan, err = b.o.world(); err != nil {
		return err
	}
	bodies, err := b.bodies(bulkForms[0])
	if err != nil {
		return err
	}
	if err := own(ctx, dir, bodies); err != nil {
		return err
	}
	return peer(ctx, filepath.Dir(dir), bodies)
}

// flushes fills the log to several sizes and flushes it.
func (b *bulkBench) flushes(ctx context.Context, dir string, bodies [][]byte) error {
	n, err := b.started(ctx, dir)
	if err != nil {
		return err
	}
	defer n.kill()
	if err := n.api.flush(ctx); err != nil {
		return n.Explain(err)
	}
	for parts := 1; ; parts = min(parts*5, len(bodies)) {
		b.say.step("flushing %s events", number(parts*bulkRows))
		if err := b.flushOf(ctx, n, bodies[:parts]); err != nil {
			return n.Explain(err)
		}
		if parts == len(bodies) {
			return b.recount(ctx, n, dir)
		}
	}
}

func (b *bulkBench) flushOf(ctx context.Context, n *node, bodies [][]byte) error {
	for _, body := range bodies {
		rows, err := n.api.upload(ctx, body, formatArrow, "")
		if err != nil {
			return err
		}
		b.sent += int64(rows)
	}
	before, err := n.api.flushSteps(ctx)
	if err != nil {
		return err
	}
	used, took, err := n.used(func() error { return n.api.flush(ctx) })
	if err != nil {
		return err
	}
	after, err := n.api.flushSteps(ctx)
	if err != nil {
		return err
	}
	events := float64(len(bodies) * bulkRows)
	name := number(len(bodies)*bulkRows) + " events"
	b.sheet.add(name, "CPU", float64(used.CPU)/events, "ns")
	b.sheet.add(name, "time", float64(took)/events, "ns")
	for i, step := range flushSteps {
		b.sheet.add(name, step, (after[i]-before[i])*1e9/events, "ns")
	}
	return nil
}

// flushSteps are those of the metric of flushes.
var flushSteps = []string{"gather", "sort", "write", "commit"}

// flushSteps returns the seconds spent in each so far.
func (c *client) flushSteps(ctx context.Context) ([]float64, error) {
	names := make([]string, len(flushSteps))
	for i, step := range flushSteps {
		names[i] = fmt.Sprintf(`mailwake_flush_seconds_total{step=%q}`, step)
	}
	return c.metrics(ctx, names...)
}

// used runs fn and returns what the server used meanwhile, Peak as a whole.
func (n *node) used(fn func() error) (u Usage, took time.Duration, err error) {
	before, err := n.Usage()
	if err != nil {
		return u, 0, err
	}
	start := time.Now()
	if err := fn(); err != nil {
		return u, 0, err
	}
	took = time.Since(start)
	u, err = n.Usage()
	u.CPU -= before.CPU
	return u, took, err
}

// flushedByChDB lets ClickHouse sort rows that it holds in memory into a Parquet file.
func (b *bulkBench) flushedByChDB(ctx context.Context, dir string, bodies [][]byte) error {
	p, err := b.chdb(ctx, dir, "a table in memory, INSERT INTO FUNCTION file(…, Parquet) ORDER BY as mailwake's files are sorted, zstd; one file, no commit; its rows have no id, time of arrival, reason, device, client and os")
	if p == nil {
		return err
	}
	defer func() { _ = p.close() }() // all its answers were read
	b.say.step("ClickHouse")
	if err := p.all("CREATE TABLE rows (" + clickhouseRows + ") ENGINE = Memory"); err != nil {
		return err
	}
	for i, body := range bodies {
		path := filepath.Join(dir, "body")
		if err := os.WriteFile(path, body, 0o600); err != nil {
			return err
		}
		if err := p.all(insertInto("rows", path, bulkForms[0])); err != nil {
			return err
		}
		if i > 0 && i < len(bodies)-1 { // the first one warms up
			continue
		}
		a, err := p.sql("INSERT INTO FUNCTION file('" + filepath.Join(dir, fmt.Sprintf("sorted%d.parquet", i)) +
			"', Parquet) SELECT * FROM rows ORDER BY toYYYYMM(occurred_at), email_id, recipient_id, occurred_at SETTINGS output_format_parquet_compression_method = 'zstd'")
		if err != nil {
			return err
		}
		events := float64((i + 1) * bulkRows)
		name := number((i+1)*bulkRows) + " events"
		if i > 0 {
			b.sheet.add(name, "ClickHouse, CPU", a.CPU*1e9/events, "ns")
			b.sheet.add(name, "ClickHouse, time", a.Seconds*1e9/events, "ns")
		}
	}
	return nil
}
