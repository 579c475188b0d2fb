package wal

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft-wal/types"
)

// countingFiles counts the fsyncs of the operating system's files.
type countingFiles struct {
	*osFiles
	syncs *atomic.Int64
}

type countingFile struct {
	types.WritableFile
	syncs *atomic.Int64
}

func (f countingFile) Sync() error {
	f.syncs.Add(1)
	return f.WritableFile.Sync()
}

func (c countingFiles) Create(dir, name string, size uint64) (types.WritableFile, error) {
	f, err := c.osFiles.Create(dir, name, size)
	if err != nil {
		return nil, err
	}
	return countingFile{f, c.syncs}, nil
}

// BenchmarkAppend has callers that each append one record of 120 bytes after the
// other, on a real disk. Set WAL_BENCH_DIR to choose it.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			var syncs atomic.Int64
			folder, err := os.MkdirTemp(os.Getenv("WAL_BENCH_DIR"), "wal-bench-")
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = os.RemoveAll(folder) })
			l := mustOpen(b, Options{Dir: folder, LimitBytes: 16 << 30, VFS: countingFiles{newOSFiles(), &syncs}})
			frame := framed(strings.Repeat("x", 120))
			mustAppend(b, l, "first")
			groups := l.Last()
			syncs.Store(0)
			b.ReportAllocs()
			b.ResetTimer()
			var next atomic.Int64
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for next.Add(1) <= int64(b.N) {
						if _, err := l.Append(context.Background(), frame, 1); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			groups = l.Last() - groups
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
			b.ReportMetric(float64(groups)/b.Elapsed().Seconds(), "groups/s")
			b.ReportMetric(float64(b.N)/float64(groups), "appends/group")
			b.ReportMetric(float64(syncs.Load())/float64(groups), "fsyncs/group")
		})
	}
}

// BenchmarkRead reads groups of 100 records back, as a restart does.
func BenchmarkRead(b *testing.B) {
	l := mustOpen(b, Options{Dir: b.TempDir()})
	frames := framed(strings.Split(strings.Repeat(strings.Repeat("x", 120)+" ", 99)+"x", " ")...)
	for range 1000 {
		if _, err := l.Append(context.Background(), frames, 100); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(l.Size())
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range l.Read(0) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkOpen opens a closed log of that size, which checks every group.
func BenchmarkOpen(b *testing.B) {
	o := Options{Dir: b.TempDir()}
	l := mustOpen(b, o)
	frames := framed(strings.Split(strings.Repeat(strings.Repeat("x", 120)+" ", 999)+"x", " ")...)
	for range 2000 {
		if _, err := l.Append(context.Background(), frames, 1000); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(l.Size())
	mustClose(b, l)
	for b.Loop() {
		mustClose(b, mustOpen(b, o))
	}
}
