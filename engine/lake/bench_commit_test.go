package lake

import (
	"testing"
	"time"
)

// BenchmarkCommitFresh is the latency of a commit of one file to a table of at
// most a few dozen, on a local folder with all its syncs.
func BenchmarkCommitFresh(b *testing.B) { benchmarkCommit(b, 0) }

// BenchmarkCommitAfter1000 is the same after 1,000 commits, expiry included in
// the mean: what an organisation sees that flushes every minute.
func BenchmarkCommitAfter1000(b *testing.B) { benchmarkCommit(b, 1000) }

func benchmarkCommit(b *testing.B, before int) {
	tbl := tableOf(b, dirLake(b, b.TempDir()))
	f := write(b, tbl, 100, 1)
	mark := uint64(0)
	step := func() time.Duration {
		// The files are listed, not read, so one blob stands for all of them.
		mark++
		named := renamed(b, tbl, f, mark)
		start := time.Now()
		if _, err := tbl.Commit(b.Context(), Change{Add: []File{named}, Node: "n1", Mark: mark}); err != nil {
			b.Fatal(err)
		}
		return time.Since(start)
	}
	for range before {
		step()
	}
	var total, worst time.Duration
	n := 0
	for b.Loop() {
		d := step()
		total, worst = total+d, max(worst, d)
		n++
		if before == 0 && n%40 == 0 {
			tbl = tableOf(b, dirLake(b, b.TempDir()))
			f, mark = write(b, tbl, 100, 1), 0
		}
	}
	b.ReportMetric(float64(total.Microseconds())/float64(n)/1000, "ms/commit")
	b.ReportMetric(float64(worst.Microseconds())/1000, "ms/worst")
	b.ReportMetric(0, "ns/op")
}
