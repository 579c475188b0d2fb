package event

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

func TestSchema(t *testing.T) {
	stamp := arrow.DataType(&arrow.TimestampType{Unit: arrow.Microsecond})
	long, text := arrow.DataType(arrow.PrimitiveTypes.Int64), arrow.DataType(arrow.BinaryTypes.String)
	want := []struct {
		name     string
		kind     arrow.DataType
		nullable bool
	}{
		{"event_id", long, false}, {"occurred_at", stamp, false}, {"delay", long, false}, {"kind", text, false},
		{"email_id", long, false}, {"recipient_id", long, false}, {"component", arrow.PrimitiveTypes.Int32, false},
		{"actor", text, false}, {"reason", text, false}, {"device", text, false}, {"client", text, false}, {"os", text, false},
		{"source", text, false}, {"user_agent", text, true}, {"network", text, true},
	}
	s := Schema()
	if s.NumFields() != len(want) {
		t.Fatalf("%d columns, want %d", s.NumFields(), len(want))
	}
	for i, w := range want {
		f := s.Field(i)
		id, _ := f.Metadata.GetValue("PARQUET:field_id")
		if f.Name != w.name || !arrow.TypeEqual(f.Type, w.kind) || f.Nullable != w.nullable || id != strconv.Itoa(i+1) {
			t.Errorf("column %d is %v with field id %q, want %+v with field id %d", i, f, id, w, i+1)
		}
	}
}

// rowOf reads row i of rec back.
func rowOf(rec arrow.RecordBatch, i int) (id int64, in Interaction) {
	long := func(c int) int64 { return rec.Column(c).(*array.Int64).Value(i) }
	stamp := func(c int) Micros { return Micros(rec.Column(c).(*array.Timestamp).Value(i)) }
	text := func(c int) string {
		if rec.Column(c).IsNull(i) {
			return ""
		}
		return rec.Column(c).(*array.String).Value(i)
	}
	number := func(c int, names []string) uint8 {
		for n, name := range names {
			if name == text(c) {
				return uint8(n)
			}
		}
		return 255
	}
	return long(0), Interaction{
		OccurredAt: stamp(1), ReceivedAt: stamp(1) + Micros(long(2)), Kind: Kind(number(3, Kinds())), Email: EmailID(long(4)), Recipient: RecipientID(long(5)),
		Component: rec.Column(6).(*array.Int32).Value(i), Actor: Actor(number(7, Actors())), Reason: text(8), Device: Device(number(9, Devices())),
		Client: text(10), OS: text(11), Source: Source(number(12, Sources())), UserAgent: text(13), Network: text(14),
	}
}

func TestBuilder(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	b := NewBuilder(mem)
	defer b.Release()
	r := rand.New(rand.NewPCG(4, 4))
	for _, n := range []int{0, 1, 300} { // the builder is used again
		b.Reserve(n)
		var want []Interaction
		for i := range n {
			in := anyInteraction(r)
			in.Org, in.ID = 0, 0 // are not columns of their own
			in.Kind, in.Actor, in.Device, in.Source = Kind(r.IntN(10)), Actor(r.IntN(6)), Device(r.IntN(4)), Source(r.IntN(5))
			b.Add(int64(i)-5, &in)
			want = append(want, in)
			if b.Len() != i+1 {
				t.Fatalf("Len is %d after %d rows", b.Len(), i+1)
			}
		}
		rec := b.Batch()
		if b.Len() != 0 || rec.NumRows() != int64(n) || !rec.Schema().Equal(Schema()) {
			t.Fatalf("batch of %d rows with schema %v; builder still has %d", rec.NumRows(), rec.Schema(), b.Len())
		}
		for i := range want {
			if id, got := rowOf(rec, i); got != want[i] || id != int64(i)-5 {
				t.Fatalf("row %d:\ngot  %+v id %d\nwant %+v", i, got, id, want[i])
			}
		}
		rec.Release()
	}
}

func TestBuilderNulls(t *testing.T) {
	b := NewBuilder(memory.DefaultAllocator)
	defer b.Release()
	b.Add(1, &Interaction{})
	b.Add(2, &Interaction{UserAgent: "ua", Network: "10.0.0.0/24"})
	rec := b.Batch()
	defer rec.Release()
	for c, f := range rec.Schema().Fields() {
		if got := rec.Column(c).IsNull(0); got != f.Nullable {
			t.Errorf("empty %s is null: %v, want %v", f.Name, got, f.Nullable)
		}
		if rec.Column(c).IsNull(1) {
			t.Errorf("set %s is null", f.Name)
		}
	}
}

// typical makes events as a pixel server sees them.
func typical(n int, from time.Time) []Interaction {
	r := rand.New(rand.NewPCG(5, 5))
	agents := []struct{ ua, client, os string }{
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36", "Chrome", "Windows"},
		{"Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)", "Gmail", ""},
		{"Mozilla/5.0", "Apple Mail", ""},
		{"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148", "Apple Mail", "iOS"},
		{"Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Microsoft Outlook 16.0.17328; ms-office; MSOffice 16)", "Outlook", "Windows"},
	}
	in := make([]Interaction, n)
	for i := range in {
		at := At(from) + Micros(i*50)
		a := agents[r.IntN(len(agents))]
		in[i] = Interaction{
			Org: 1, OccurredAt: at, ReceivedAt: at, Kind: Open, Email: EmailID(1 + r.IntN(2_000)), Recipient: RecipientID(1 + r.IntN(50_000)),
			Actor: Human, Reason: "client", Device: Desktop, Client: a.client, OS: a.os, Source: Pixel, UserAgent: a.ua,
		}
	}
	return in
}
