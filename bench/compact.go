package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// CompactOptions configure Compact.
type CompactOptions struct {
	Setup
	Seed   uint64 // of the world; default 1
	Events int64  // that are compacted; default 1,000,000
}

// Compact flushes a world in many small pieces and measures the maintenance that
// merges their files: its CPU time and memory, and what the files take before and
// after. Then ClickHouse merges as many parts of the same rows into one per month.
func Compact(ctx context.Context, o CompactOptions) (s Sheet, err error) {
	defaultTo(&o.Seed, 1)
	defaultTo(&o.Events, 1_000_000)
	if err := errors.Join(o.Setup.setDefaults(runtime.NumCPU()), within("events", int(o.Events), 2*bulkRows, 100_000_000)); err != nil {
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
	s = Sheet{Bench: "compact", Title: "Merging the files of many small flushes, beside ClickHouse merging parts of the same rows"}
	b := bulkBench{o: &BulkOptions{Setup: o.Setup}, sheet: &s, say: say}
	if b.plan, err = (World{Seed: o.Seed, Events: o.Events}).plan(); err != nil {
		return s, err
	}
	bodies, err := b.bodies(bulkForms[0])
	if err != nil {
		return s, err
	}
	if err := b.compact(ctx, dir, bodies); err != nil {
		return s, err
	}
	if err := b.mergedByChDB(ctx, filepath.Dir(dir), bodies); err != nil {
		return s, err
	}
	const rate = "events per second of CPU"
	s.atLeast(rate, 1e6, s.value(rate, "mailwake"))
	if peer := s.value(rate, "ClickHouse"); peer > 0 {
		s.Ratio, s.RatioOf = s.value(rate, "mailwake")/peer, "mailwake's merged events per second of CPU over ClickHouse's"
	}
	return s, nil
}

func (b *bulkBench) compact(ctx context.Context, dir string, bodies [][]byte) error {
	n, err := b.started(ctx, dir)
	if err != nil {
		return err
	}
	defer n.kill()
	for i, body := range bodies {
		b.say.step("flush %d of %d", i+1, len(bodies))
		rows, err := n.api.upload(ctx, body, formatArrow, "")
		if err == nil {
			err = n.api.flush(ctx)
		}
		if err != nil {
			return n.Explain(err)
		}
		b.sent += int64(rows)
	}
	if _, err := n.drain(b.o.StopLimit); err != nil {
		return err
	}
	if err := b.files(ctx, dir, "before"); err != nil {
		return err
	}
	if n, err = b.o.mailwake(ctx, dir); err != nil { // whose memory is that of the merge
		return err
	}
	defer n.kill()
	b.say.step("merging")
	used, took, err := n.used(func() error { return n.api.maintenance(ctx, "run") })
	if err != nil {
		return n.Explain(err)
	}
	b.sheet.add("events per second of CPU", "mailwake", float64(b.sent)/used.CPU.Seconds(), "/s")
	b.sheet.add("events per second", "mailwake", float64(b.sent)/took.Seconds(), "/s")
	b.sheet.add("peak resident memory", "mailwake", mib(used.Peak), "MiB")
	if err := b.recount(ctx, n, dir); err != nil {
		return err
	}
	return b.files(ctx, dir, "after")
}

// files measures those of the table in a folder that no server holds.
func (b *bulkBench) files(ctx context.Context, dir, when string) error {
	files, err := b.o.tableFiles(ctx, dir)
	if err != nil {
		return err
	}
	bytes := int64(0)
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return err
		}
		bytes += info.Size()
	}
	b.sheet.add("files "+when, "mailwake", float64(len(files)), "files")
	b.sheet.add("bytes per event "+when, "mailwake", float64(bytes)/float64(b.sent), "B")
	return nil
}

// mergedByChDB inserts a part per month and request, and lets ClickHouse merge them.
func (b *bulkBench) mergedByChDB(ctx context.Context, dir string, bodies [][]byte) error {
	p, err := b.chdb(ctx, dir, "MergeTree sorted and partitioned as mailwake's tables are, merges stopped while parts are inserted, then OPTIMIZE … FINAL; its rows have no id, time of arrival, reason, device, client and os; it neither labels bursts nor asks for consent, nor makes rollups")
	if p == nil {
		return err
	}
	defer func() { _ = p.close() }() // all its answers were read
	b.say.step("ClickHouse")
	if err := p.all(clickhouseTable, "SYSTEM STOP MERGES rows"); err != nil {
		return err
	}
	path := filepath.Join(dir, "body")
	for _, body := range bodies {
		if err := os.WriteFile(path, body, 0o600); err != nil {
			return err
		}
		if err := p.all(insertInto("rows", path, bulkForms[0])); err != nil {
			return err
		}
	}
	if err := p.all("SYSTEM START MERGES rows"); err != nil {
		return err
	}
	a, err := p.sql("OPTIMIZE TABLE rows FINAL")
	if err != nil {
		return err
	}
	size, err := p.sql("SELECT sum(bytes_on_disk) AS bytes FROM system.parts WHERE active AND table = 'rows'")
	if err != nil {
		return err
	}
	var bytes float64
	if _, err := fmt.Sscan(field(size.Text, "bytes"), &bytes); err != nil {
		return fmt.Errorf("read size of parts: %w", err)
	}
	events := float64(len(bodies) * bulkRows)
	b.sheet.add("events per second of CPU", "ClickHouse", events/a.CPU, "/s")
	b.sheet.add("events per second", "ClickHouse", events/a.Seconds, "/s")
	b.sheet.add("bytes per event after", "ClickHouse", bytes/events, "B")
	return nil
}
