package lake

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"mailwake/engine/event"
)

func TestFileDescribesItsRows(t *testing.T) {
	tbl := tableOf(t, dirLake(t, t.TempDir()))
	in := interactions(1000, july, 3)
	from, to := in[0].OccurredAt, in[0].OccurredAt
	for _, e := range in {
		from, to = min(from, e.OccurredAt), max(to, e.OccurredAt)
	}
	f := write(t, tbl, 1000, 3)
	want := File{Path: f.Path, Rows: 1000, Bytes: f.Bytes, MinTime: from, MaxTime: to, Sum: f.Sum, Agents: dayOf(from), data: f.data}
	want.MinRecipient, want.MaxRecipient = in[0].Recipient, in[0].Recipient
	for _, e := range in {
		want.MinRecipient, want.MaxRecipient = min(want.MinRecipient, e.Recipient), max(want.MaxRecipient, e.Recipient)
	}
	if f != want {
		t.Errorf("file = %+v, want %+v", f, want)
	}
	if !strings.HasPrefix(f.Path, "warehouse/acme/interactions/data/2026-07/") || !strings.HasSuffix(f.Path, "-"+f.Sum+".parquet") {
		t.Errorf("key = %s", f.Path)
	}
	must(t, checkBlob(context.Background(), tbl.lake.opts.Store, f))
	if again := write(t, tbl, 1000, 3); again.Path == f.Path || again.Sum != f.Sum {
		t.Errorf("the same rows again: key %s, then %s", f.Path, again.Path)
	}
}

func TestWriteRefuses(t *testing.T) {
	tbl := tableOf(t, dirLake(t, t.TempDir()))
	good := interactions(10, july, 1)
	change := func(f func(in []event.Interaction)) []event.Interaction {
		in := slices.Clone(good)
		f(in)
		return in
	}
	for name, in := range map[string][]event.Interaction{
		"no rows":      {},
		"unsorted":     change(func(in []event.Interaction) { in[3], in[8] = in[8], in[3] }),
		"ids unsorted": {{ID: 2, Email: 1, OccurredAt: event.At(july)}, {ID: 1, Email: 1, OccurredAt: event.At(july)}},
		"two months":   change(func(in []event.Interaction) { in[9].OccurredAt = event.At(july.AddDate(0, 1, 0)) }),
		"not UTF-8":    change(func(in []event.Interaction) { in[4].UserAgent = "a\xff" }),
		"split UTF-8":  change(func(in []event.Interaction) { in[4].Client, in[5].Client = "a\xc3", "\xa4b" }),
	} {
		if _, err := tbl.Write(t.Context(), batchOf(t, in)); !errors.Is(err, ErrBatch) {
			t.Errorf("%s: %v, want ErrBatch", name, err)
		}
	}
	for name, batch := range foreignBatches(t, good) {
		if _, err := tbl.Write(t.Context(), batch); !errors.Is(err, ErrBatch) {
			t.Errorf("%s: %v, want ErrBatch", name, err)
		}
	}
	for info, err := range tbl.lake.opts.Store.List(t.Context(), "warehouse/acme/interactions/data/") {
		must(t, err)
		t.Errorf("a refused batch left %s", info.Key)
	}
	last := event.At(july.AddDate(0, 1, 0)) - 1
	if _, err := tbl.Write(t.Context(), batchOf(t, []event.Interaction{{ID: 1, Email: 1, OccurredAt: event.At(july)}, {ID: 2, Email: 1, OccurredAt: last}})); err != nil {
		t.Errorf("first and last moment of a month: %v", err)
	}
}
