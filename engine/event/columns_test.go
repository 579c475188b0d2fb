package event

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// scattered returns interactions whose keys are as awkward as spread says: few or
// many values, near or far apart, several months, negative times, equal times.
func scattered(rng *rand.Rand, n int) []Interaction {
	spread := []int64{1, 3, 5000, math.MaxInt64 - 1}[rng.IntN(4)]
	times := []int64{2, 86_400_000_000, 300 * 86_400_000_000}[rng.IntN(3)]
	texts := []string{"", "a", "Mozilla/5.0", "ü", "a\x00b"}
	pick := func() string { return texts[rng.IntN(len(texts))] }
	out := make([]Interaction, n)
	for i := range out {
		at := Micros(rng.Int64N(times) - times/2)
		out[i] = Interaction{
			Org: 1, ID: rng.Int64(), OccurredAt: at, ReceivedAt: at + Micros(rng.IntN(1000)),
			Kind: Kind(rng.IntN(len(kindNames))), Actor: Actor(rng.IntN(len(actorNames))), Device: Device(rng.IntN(len(deviceNames))), Source: Source(rng.IntN(len(sourceNames))),
			Email: EmailID(rng.Int64N(spread)), Recipient: RecipientID(rng.Int64N(spread)), Component: rng.Int32(),
			Reason: pick(), Client: pick(), OS: pick(), UserAgent: pick(), Network: pick(),
		}
	}
	return out
}

func TestColumnsSort(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		in := scattered(rng, rng.IntN(400))
		var c Columns
		for i := range in {
			if err := c.AddRow(AppendRow(nil, &in[i]), 0); err != nil {
				t.Fatal(err)
			}
		}
		slices.SortStableFunc(in, func(a, b Interaction) int {
			return cmp.Or(cmp.Compare(a.OccurredAt.Month(), b.OccurredAt.Month()), cmp.Compare(a.Email, b.Email), cmp.Compare(a.Recipient, b.Recipient),
				cmp.Compare(a.OccurredAt, b.OccurredAt), cmp.Compare(a.ID, b.ID))
		})
		at := 0
		for batch := range c.Batches {
			month := in[at].OccurredAt.Month()
			for row := range int(batch.NumRows()) {
				if in[at].OccurredAt.Month() != month {
					t.Fatalf("seed %d: row %d is of another month than its batch", seed, at)
				}
				if got, want := cells(batch, row), wanted(&in[at]); got != want {
					t.Fatalf("seed %d row %d:\n got %s\nwant %s", seed, at, got, want)
				}
				at++
			}
			batch.Release()
			if at < len(in) && in[at].OccurredAt.Month() == month {
				t.Fatalf("seed %d: a batch ends before its month does, at row %d", seed, at)
			}
		}
		if at != len(in) {
			t.Fatalf("seed %d: %d rows of %d", seed, at, len(in))
		}
	}
}

func cells(batch arrow.RecordBatch, row int) string {
	var s string
	for _, column := range batch.Columns() {
		switch a := column.(type) {
		case *array.Dictionary:
			if a.IsNull(row) {
				s += "NULL|"
			} else {
				s += fmt.Sprintf("%q|", a.Dictionary().(*array.String).Value(a.GetValueIndex(row)))
			}
		case *array.Timestamp:
			s += fmt.Sprintf("%d|", a.Value(row))
		default:
			s += column.ValueStr(row) + "|"
		}
	}
	return s
}

func wanted(in *Interaction) string {
	optional := func(s string) string {
		if s == "" {
			return "NULL"
		}
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%d|%d|%d|%q|%d|%d|%d|%q|%q|%q|%q|%q|%q|%s|%s|", in.ID, in.OccurredAt, in.ReceivedAt-in.OccurredAt, in.Kind, in.Email, in.Recipient, in.Component,
		in.Actor, in.Reason, in.Device, in.Client, in.OS, in.Source, optional(in.UserAgent), optional(in.Network))
}

func TestColumnsRefuseDamage(t *testing.T) {
	whole := AppendRow(nil, &Interaction{Org: 1, Kind: Open, Email: 1, Recipient: 1, UserAgent: "Mozilla"})
	for n := range len(whole) {
		var c Columns
		if err := c.AddRow(whole[:n], 1); !errors.Is(err, ErrInvalid) || c.Len() != 0 {
			t.Errorf("a row cut to %d bytes: %v, %d rows", n, err, c.Len())
		}
	}
	var c Columns
	if err := c.AddRow(append(slices.Clone(whole), 0), 1); !errors.Is(err, ErrInvalid) {
		t.Errorf("a row with a byte too many: %v", err)
	}
	if err := c.AddRow(whole, 7); err != nil || c.id[0] != 7 {
		t.Errorf("a row without an id: %v", err)
	}
}

// TestColumnsKeepMonthsApart: a batch has the texts of its own rows only, or those
// of rows that are deleted would stay in the file of another month.
func TestColumnsKeepMonthsApart(t *testing.T) {
	var c Columns
	for i, name := range []string{"first", "second", "third"} {
		at := monthStart(670 + i)
		in := Interaction{Org: 1, OccurredAt: Micros(at), ReceivedAt: Micros(at), Kind: Open, Email: 1, Recipient: 1, Reason: name, Client: name, OS: name, UserAgent: name, Network: name}
		if err := c.AddRow(AppendRow(nil, &in), 0); err != nil {
			t.Fatal(err)
		}
	}
	for batch := range c.Batches {
		for _, column := range []int{colReason, colClient, colOS, colUserAgent, colNetwork} {
			if d := batch.Column(column).(*array.Dictionary).Dictionary(); d.Len() != 1 {
				t.Errorf("column %d of one row has the texts %v", column, d)
			}
		}
		batch.Release()
	}
}
