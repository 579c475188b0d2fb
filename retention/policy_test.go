package retention

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/lake"
)

// TestMergesKeepUp flushes files of about one size for days: they do not pile up,
// and rows are not rewritten over and over.
func TestMergesKeepUp(t *testing.T) {
	now := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	for _, size := range []int64{20 << 10, 300 << 10, 1700 << 10, 12 << 20, 60 << 20} {
		t.Run(fmt.Sprint(size>>10, " KiB"), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(size)))
			var files []lake.File
			var flushed, rewritten int64
			most, serial := 0, 0
			add := func(bytes, rows int64, agents event.Micros) {
				serial++
				files = append(files, lake.File{Path: fmt.Sprint(serial), Bytes: bytes, Rows: rows, MinTime: event.At(now), MaxTime: event.At(now), Rules: Rules, Agents: agents})
			}
			for range 300 {
				for range 20 {
					bytes := size + rng.Int64N(size/20)
					add(bytes, bytes/9, event.At(now))
					flushed += bytes
				}
				for range replans {
					for _, r := range (&Policy{}).Rewrites(files, nil, now) {
						var bytes, rows int64
						for _, f := range r.Files {
							bytes, rows = bytes+f.Bytes, rows+f.Rows
							files = slices.DeleteFunc(files, func(g lake.File) bool { return g.Path == f.Path })
						}
						for _, f := range r.Files {
							if f.Bytes > tinyBytes && bytes < 2*f.Bytes {
								t.Fatalf("a file of %d bytes is rewritten to one of %d", f.Bytes, bytes)
							}
						}
						add(bytes, rows, event.At(now))
						rewritten += bytes
					}
				}
				small := 0
				for _, f := range files {
					if f.Bytes < fullBytes {
						small++
					}
				}
				most = max(most, small)
			}
			t.Logf("at most %d small files, rows rewritten %.1f times", most, float64(rewritten)/float64(flushed))
			if most > 40 || rewritten > 6*flushed {
				t.Errorf("at most %d small files, rows rewritten %.1f times", most, float64(rewritten)/float64(flushed))
			}
		})
	}
}
