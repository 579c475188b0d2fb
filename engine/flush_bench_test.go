package engine

import (
	"math/rand/v2"
	"testing"

	"mailwake/engine/event"
)

// BenchmarkSort measures what a flush does before it writes: gather, sort and
// build the Arrow batch, per event of a full tail.
func BenchmarkSort(b *testing.B) {
	const rows = 1 << 18
	rng := rand.New(rand.NewPCG(1, 2))
	t := &tail{}
	var row []byte
	for i := range rows {
		at := event.Micros(1_790_000_000_000_000 + int64(i)*20)
		row = event.AppendRow(row[:0], &event.Interaction{
			Org: 1, OccurredAt: at, ReceivedAt: at, Kind: event.Open, Email: event.EmailID(1 + rng.IntN(50)), Recipient: event.RecipientID(1 + rng.IntN(4000)),
			Actor: event.Human, Device: event.Desktop, Client: "Firefox", OS: "Windows", Source: event.Pixel,
			UserAgent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:109.0) Gecko/20100101 Firefox/121.0",
		})
		t.append(event.PositionOf(uint64(1+i/100), i%100), row)
	}
	v := &View{chunks: t.chunks, to: event.PositionOf(rows, 0)}
	b.ReportAllocs()
	for b.Loop() {
		g := gather(v, nil)
		for batch := range g.Batches {
			batch.Release()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/event")
}
