package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

// Compact flushes a world in many small pieces and measures the maintenance that
// merges their files: its CPU time and memory, and what the files take before and
// after. Then ClickHouse merges as many parts of the same rows into one per month.
func Compact(ctx context.Context, o WorldOptions) (s Sheet, err error) {
	s = Sheet{Bench: "compact", Title: "Merging the files of many small flushes, beside ClickHouse merging parts of the same rows"}
	b := bulkBench{o: &BulkOptions{WorldOptions: o}, sheet: &s}
	if err := b.besideChDB(ctx, b.compact, b.mergedByChDB); err != nil {
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
	small, err := parquetFiles(filepath.Join(dir, "storage")) // all of which are in use: nothing was merged
	if err == nil {
		err = errors.Join(b.files(small, "before"), b.keep(small, filepath.Dir(dir)), n.rest(ctx, time.Second))
	}
	if err != nil {
		return n.Explain(err)
	}
	b.say.step("merging")
	var most int64
	used, took, err := n.used(func() error { return n.watched(ctx, &most, func() error { return n.api.maintenance(ctx, "run") }) })
	if err != nil {
		return n.Explain(err)
	}
	b.sheet.add("events per second of CPU", "mailwake", float64(b.sent)/used.CPU.Seconds(), "/s")
	b.sheet.add("events per second", "mailwake", float64(b.sent)/took.Seconds(), "/s")
	b.sheet.add("most resident memory, server and merging process", "mailwake", mib(most), "MiB")
	if err := b.recount(ctx, n, dir); err != nil {
		return err
	}
	merged, err := b.o.tableFiles(ctx, dir)
	if err != nil {
		return err
	}
	return b.files(merged, "after")
}

// parquetFiles lists those below a folder.
func parquetFiles(dir string) (files []string, err error) {
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".parquet" {
			files = append(files, path)
		}
		return err
	})
	return files, err
}

// watched runs fn and notes the most memory that was resident meanwhile.
func (n *node) watched(ctx context.Context, most *int64, fn func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { defer cancel(); return fn() })
	work.Go(func() error {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			u, err := n.Usage()
			if err != nil {
				return err
			}
			*most = max(*most, u.RSS)
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
	return work.Wait()
}

// files measures files of the table.
func (b *bulkBench) files(files []string, when string) error {
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

// keep gives the files of small flushes a second name, for the peer.
func (b *bulkBench) keep(files []string, dir string) error {
	for i, f := range files {
		kept := filepath.Join(dir, fmt.Sprintf("small%d.parquet", i))
		if err := os.Link(f, kept); err != nil {
			return err
		}
		b.small = append(b.small, kept)
	}
	return nil
}

// mergedByChDB makes a part of each small file, and lets ClickHouse merge them.
func (b *bulkBench) mergedByChDB(ctx context.Context, dir string, _ [][]byte) error {
	p, err := b.chdb(ctx, dir, "a part of each of mailwake's small files, all columns but node, position and time of arrival, MergeTree sorted and partitioned as mailwake's tables are, ZSTD(1) as in mailwake's files; then OPTIMIZE … FINAL, which uses one thread")
	if p == nil {
		return err
	}
	defer func() { _ = p.close() }() // all its answers were read
	b.sheet.Notes = append(b.sheet.Notes, "mailwake's pass also labels bursts with what came before and after, leaves out whom it may not keep, and syncs what it writes; ClickHouse only merges")
	b.say.step("ClickHouse")
	if err := p.all(clickhouseDDL+" SETTINGS default_compression_codec = 'ZSTD(1)'", "SYSTEM STOP MERGES interactions"); err != nil {
		return err
	}
	for _, f := range b.small {
		if err := p.all(insertFile(f)); err != nil {
			return err
		}
	}
	if err := p.all("SYSTEM START MERGES interactions"); err != nil {
		return err
	}
	a, err := p.sql("OPTIMIZE TABLE interactions FINAL")
	if err != nil {
		return err
	}
	size, err := p.sql("SELECT sum(bytes_on_disk) AS bytes FROM system.parts WHERE active AND table = 'interactions'")
	if err != nil {
		return err
	}
	var bytes float64
	if _, err := fmt.Sscan(field(size.Text, "bytes"), &bytes); err != nil {
		return fmt.Errorf("read size of parts: %w", err)
	}
	events := float64(b.sent)
	b.sheet.add("events per second of CPU", "ClickHouse", events/a.CPU, "/s")
	b.sheet.add("events per second", "ClickHouse", events/a.Seconds, "/s")
	b.sheet.add("bytes per event after", "ClickHouse", bytes/events, "B")
	return nil
}
