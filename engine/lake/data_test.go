package lake

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"mailwake/engine/event"
)

var july = time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)

// interactions makes n plausible events of the month that begins at month, in
// the order of the lake. The same seed makes the same events; ids are unique
// per seed.
func interactions(n int, month time.Time, seed uint64) []event.Interaction {
	r := rand.New(rand.NewPCG(seed, 7))
	end := month.AddDate(0, 1, 0).Sub(month).Microseconds()
	clients := []string{"Outlook", "Apple Mail", "Gmail", "Thunderbird", "Chrome", "Safari", "Edge", "Samsung Email"}
	systems := []string{"Windows", "macOS", "iOS", "Android", "Linux", ""}
	reasons := []string{"", "", "", "", "image proxy", "datacentre network", "burst of clicks", "prefetch at delivery"}
	in := make([]event.Interaction, n)
	emails := max(n/400, 1)
	for i := range in {
		at := event.At(month) + event.Micros(r.Int64N(end))
		kind := event.Open
		if r.IntN(4) == 0 {
			kind = event.Click
		}
		c := r.IntN(len(clients))
		in[i] = event.Interaction{
			ID: int64(seed)<<32 | int64(i+1), OccurredAt: at, ReceivedAt: at + event.Micros(r.IntN(2_000_000)), Kind: kind,
			Email: event.EmailID(1 + r.IntN(emails)), Recipient: event.RecipientID(1 + r.IntN(20_000)),
			Actor: event.Actor(1 + r.IntN(3)), Reason: reasons[r.IntN(len(reasons))], Device: event.Device(r.IntN(4)),
			Client: clients[c], OS: systems[r.IntN(len(systems))], Source: event.Pixel,
			UserAgent: fmt.Sprintf("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) %s/%d.0.%d Safari/537.36", clients[c], 90+r.IntN(40), r.IntN(12)),
		}
		if kind == event.Click {
			in[i].Component, in[i].Source = int32(1+r.IntN(12)), event.Redirect
		}
	}
	slices.SortFunc(in, func(a, b event.Interaction) int {
		return cmp.Or(cmp.Compare(a.Email, b.Email), cmp.Compare(a.Recipient, b.Recipient), cmp.Compare(a.OccurredAt, b.OccurredAt), cmp.Compare(a.ID, b.ID))
	})
	return in
}

// batchOf turns events into a batch that is released with the test.
func batchOf(t testing.TB, in []event.Interaction) arrow.RecordBatch {
	t.Helper()
	b := event.NewBuilder(memory.DefaultAllocator)
	defer b.Release()
	for i := range in {
		b.Add(in[i].ID, &in[i])
	}
	rec := b.Batch()
	t.Cleanup(rec.Release)
	return rec
}

// foreignBatches are batches of in that differ from event.Schema.
func foreignBatches(t *testing.T, in []event.Interaction) map[string]arrow.RecordBatch {
	good := batchOf(t, in)
	change := func(f func(fields []arrow.Field, columns []arrow.Array)) arrow.RecordBatch {
		fields, columns := good.Schema().Fields(), slices.Clone(good.Columns())
		f(fields, columns)
		rec := array.NewRecordBatch(arrow.NewSchema(fields, nil), columns, good.NumRows())
		t.Cleanup(rec.Release)
		return rec
	}
	nulls := array.MakeArrayOfNull(memory.DefaultAllocator, arrow.BinaryTypes.String, len(in))
	t.Cleanup(nulls.Release)
	return map[string]arrow.RecordBatch{
		"column name":     change(func(f []arrow.Field, _ []arrow.Array) { f[7].Name = "role" }),
		"field id":        change(func(f []arrow.Field, _ []arrow.Array) { f[7].Metadata = f[8].Metadata }),
		"nullable":        change(func(f []arrow.Field, _ []arrow.Array) { f[7].Nullable = true }),
		"columns swapped": change(func(f []arrow.Field, c []arrow.Array) { f[7], f[8], c[7], c[8] = f[8], f[7], c[8], c[7] }),
		"type":            change(func(f []arrow.Field, c []arrow.Array) { f[4].Type, c[4] = f[1].Type, c[1] }),
		"null":            change(func(_ []arrow.Field, c []arrow.Array) { c[7] = nulls }),
	}
}

// renamed is f under another key, with no blob behind it.
func renamed(t testing.TB, tbl *Table, f File, n uint64) File {
	t.Helper()
	_, footer, err := encodeParquet(batchOf(t, interactions(1, july, 1)), func() {})
	must(t, err)
	f.Path = strings.Replace(f.Path, "/data/", fmt.Sprintf("/data/%06d-", n), 1)
	must(t, tbl.describe(&f, footer))
	return f
}

func sumOfBytes(data []byte) string {
	h := sha256.New()
	_, _ = h.Write(data)
	return sumOf(h)
}
