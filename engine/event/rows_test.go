package event

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestRows sends random events, some of which share their texts, through Rows and
// reads them as a group of the log is read, after rows of somebody else.
func TestRows(t *testing.T) {
	noon := At(time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC))
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 4))
		others := scattered(rng, rng.IntN(4))
		var want []Interaction
		var group [][]byte
		for i := range others {
			want = append(want, others[i])
			group = append(group, AppendRow(nil, &others[i]))
		}
		rows, shared := NewRows(7), make([]Texts, 5)
		said := scattered(rng, len(shared))
		for range rng.IntN(40) {
			i := rng.IntN(len(shared))
			in := said[i]
			in.ID, in.Email, in.Recipient, in.Component = rng.Int64(), 1+EmailID(rng.IntN(300)), 1+RecipientID(rng.IntN(300)), rng.Int32()
			in.Kind, in.OccurredAt, in.ReceivedAt = Open, noon-Micros(rng.Int64N(1e12)), noon
			if err := rows.Add(&in, &shared[i]); err != nil {
				t.Fatal(err)
			}
			want = append(want, in)
		}
		group = slices.AppendSeq(group, rows.All())
		if rows.Len()+len(others) != len(want) || len(group) != len(want) || rows.Org() != 7 {
			t.Fatalf("seed %d: %d rows, %d of them in a group of %d", seed, len(want), rows.Len(), len(group))
		}
		checkGroup(t, group, want)
	}
}

// checkGroup reads a group row by row and into Columns, twice, as two groups.
func checkGroup(t *testing.T, group [][]byte, want []Interaction) {
	t.Helper()
	var d, only Decoder
	var c Columns
	var got, one Interaction
	for range 2 {
		d.NextGroup()
		only.NextGroup()
		c.NextGroup()
		for i, row := range group {
			if err := d.Decode(row, &got); err != nil || got != want[i] {
				t.Fatalf("row %d: %v\ngot  %+v\nwant %+v", i, err, got, want[i])
			}
			email := want[len(want)-1].Email
			if ok, err := only.DecodeOf(email, row, &one); err != nil || ok != (want[i].Email == email) || ok && one != want[i] {
				t.Fatalf("row %d, if it is of email %d: %v, %v\ngot  %+v\nwant %+v", i, email, ok, err, one, want[i])
			}
			if err := c.AddRow(row, 1); err != nil {
				t.Fatalf("row %d: %v", i, err)
			}
			place := c.texts[c.Len()-1]
			if c.distinct[textUserAgent][place] != want[i].UserAgent || c.distinct[textClient][place] != want[i].Client {
				t.Fatalf("row %d: its texts in columns are others", i)
			}
		}
	}
}

// A row that points to texts that are not there is damage, not a crash.
func TestRowsWithoutTheirTexts(t *testing.T) {
	var texts Texts
	rows := NewRows(1)
	noon := At(time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC))
	for range 2 {
		if err := rows.Add(&Interaction{Kind: Open, Email: 1, Recipient: 1, OccurredAt: noon, ReceivedAt: noon, Client: "Gmail"}, &texts); err != nil {
			t.Fatal(err)
		}
	}
	all := slices.Collect(rows.All())
	back := slices.Clone(all[1])
	for _, wrong := range []byte{0, 2, 255} {
		back[len(back)-1] = wrong
		var d Decoder
		var c Columns
		if err := errors.Join(d.Decode(all[0], new(Interaction)), c.AddRow(all[0], 1)); err != nil {
			t.Fatal(err)
		}
		if err := d.Decode(back, new(Interaction)); !errors.Is(err, ErrInvalid) {
			t.Errorf("back %d: Decode says %v", wrong, err)
		}
		if err := c.AddRow(back, 1); !errors.Is(err, ErrInvalid) || c.Len() != 1 {
			t.Errorf("back %d: AddRow says %v", wrong, err)
		}
	}
	if err := DecodeRow(all[1], new(Interaction)); !errors.Is(err, ErrInvalid) {
		t.Errorf("by itself: %v", err)
	}
	if err := rows.Add(&Interaction{Kind: Open}, &texts); !errors.Is(err, ErrInvalid) || rows.Len() != 2 {
		t.Errorf("an event that cannot be stored: %v, %d rows", err, rows.Len())
	}
}
