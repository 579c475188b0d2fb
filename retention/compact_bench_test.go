package retention

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"mailwake/engine/blob"
	"mailwake/engine/lake"
	"mailwake/engine/registry"
)

// BenchmarkCompact merges flushed blobs of 20,000 events each to the end, as the
// Keeper of a server does, in workers: 100 of them, or as many as MAILWAKE_BLOBS says.
func BenchmarkCompact(b *testing.B) {
	blobs := 100
	if s := os.Getenv("MAILWAKE_BLOBS"); s != "" {
		n, err := strconv.Atoi(s)
		must(b, err)
		blobs = n
	}
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		store, err := blob.Dir(filepath.Join(dir, "blobs"))
		must(b, err)
		w := &world{now: july.AddDate(0, 1, 10)}
		w.reg, err = registry.Open(b.Context(), registry.Options{DSN: "sqlite://" + dir + "/registry.db"})
		must(b, err)
		o, err := w.reg.CreateOrg(b.Context(), registry.NewOrg{Name: "acme"})
		must(b, err)
		l := openLake(b, dir, store, func() time.Time { return w.now })
		tbl, err := l.Table(b.Context(), "acme")
		must(b, err)
		var add []lake.File
		for i := range blobs {
			add = append(add, write(b, tbl, realistic(i, 20_000, blobs)))
		}
		s, err := tbl.Commit(b.Context(), lake.Change{Add: add})
		must(b, err)
		k, err := New(Options{Lake: l, Registry: registryOf{w}, Now: func() time.Time { return w.now }, Worker: []string{os.Args[0], "rewrite-worker"}})
		must(b, err)
		resetPeak(b)
		cpu := usage(b)
		b.StartTimer()
		at := time.Now()
		job, err := k.subject(b.Context(), o)
		must(b, err)
		must(b, k.compact(b.Context(), job))
		took := time.Since(at)
		b.StopTimer()
		rows, size := float64(s.Rows()), int64(0)
		for _, f := range tbl.Snapshot().Files() {
			size += f.Bytes
		}
		cpu = usage(b) - cpu
		b.ReportMetric(rows/took.Seconds(), "events/s")
		b.ReportMetric(rows/cpu.Seconds(), "events/cpu-s")
		b.ReportMetric(float64(k.Stats().RowsRead)/rows, "passes")
		b.ReportMetric(float64(size)/rows, "bytes/event")
		b.ReportMetric(float64(len(tbl.Snapshot().Files())), "files")
		b.ReportMetric(peak(b)/(1<<20), "peak-MiB")
		var worker syscall.Rusage
		must(b, syscall.Getrusage(syscall.RUSAGE_CHILDREN, &worker))
		b.ReportMetric(float64(worker.Maxrss)/(1<<10), "worker-peak-MiB")
		must(b, w.reg.Close())
		b.StartTimer()
	}
}

// usage is the processor time of this process and of the workers that have ended.
func usage(b *testing.B) (sum time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		must(b, syscall.Getrusage(who, &u))
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}

// resetPeak makes the peak of resident memory start anew.
func resetPeak(b *testing.B) {
	must(b, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o600))
}

func peak(b *testing.B) float64 {
	text, err := os.ReadFile("/proc/self/status")
	must(b, err)
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			kb, err := strconv.ParseFloat(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte("kB")))), 64)
			must(b, err)
			return kb * 1024
		}
	}
	b.Fatal("no peak of memory in /proc/self/status")
	return 0
}
