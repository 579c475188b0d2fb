package lake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"mailwake/engine/event"
)

// rowsOf turns events into Rows.
func rowsOf(texts *Texts, in []event.Interaction) *Rows {
	r := new(Rows)
	for i := range in {
		e := &in[i]
		for c, v := range [numLongs]int64{e.ID, int64(e.OccurredAt), int64(e.ReceivedAt - e.OccurredAt), int64(e.Email), int64(e.Recipient)} {
			r.Longs[c] = append(r.Longs[c], v)
		}
		r.Component = append(r.Component, e.Component)
		for c, v := range [numTexts]string{e.Kind.String(), e.Actor.String(), e.Reason, e.Device.String(), e.Client, e.OS, e.Source.String(), e.UserAgent, e.Network} {
			r.Texts[c] = append(r.Texts[c], texts.Code(v))
		}
	}
	return r
}

// eventsOf is the way back.
func eventsOf(texts *Texts, r *Rows) []event.Interaction {
	out := make([]event.Interaction, r.Len())
	for i := range out {
		text := func(c int) string { return texts.Value(r.Texts[c][i]) }
		out[i] = event.Interaction{
			ID: r.Longs[EventID][i], OccurredAt: event.Micros(r.Longs[OccurredAt][i]), ReceivedAt: r.Received(i),
			Kind: event.Kind(slices.Index(event.Kinds(), text(Kind))), Email: event.EmailID(r.Longs[EmailID][i]), Recipient: event.RecipientID(r.Longs[RecipientID][i]),
			Component: r.Component[i], Actor: event.Actor(slices.Index(event.Actors(), text(Actor))), Reason: text(Reason),
			Device: event.Device(slices.Index(event.Devices(), text(Device))), Client: text(Client), OS: text(OS),
			Source: event.Source(slices.Index(event.Sources(), text(Source))), UserAgent: text(UserAgent), Network: text(Network),
		}
	}
	return out
}

func readAll(t testing.TB, l *Lake, f File) []event.Interaction {
	t.Helper()
	texts := NewTexts()
	r, err := l.Reader(t.Context(), f, texts)
	must(t, err)
	defer func() { must(t, r.Close()) }()
	var out []event.Interaction
	var rows Rows
	for {
		err := r.Next(&rows)
		if errors.Is(err, io.EOF) {
			return out
		}
		must(t, err)
		out = append(out, eventsOf(texts, &rows)...)
	}
}

// awkward are rows with what files hold seldom: nulls among texts, more texts
// than a dictionary page takes, several row groups.
func awkward(n int) []event.Interaction {
	in := interactions(n, july, 5)
	for i := range in {
		switch i % 3 {
		case 0:
			in[i].UserAgent = ""
		case 1:
			in[i].UserAgent = fmt.Sprintf("%0100d", i)
		}
		if i%7 == 0 {
			in[i].Network = fmt.Sprintf("10.0.%d.0/24", i%250)
		}
	}
	return in
}

// TestReaderReadsWhatWriteWrote: both writers' files, against the events.
func TestReaderReadsWhatWriteWrote(t *testing.T) {
	l := dirLake(t, t.TempDir())
	tbl := tableOf(t, l)
	for name, in := range map[string][]event.Interaction{
		"one": interactions(1, july, 1), "many": interactions(5000, july, 2), "awkward": awkward(40_000), "row groups": interactions(rowGroupRows+10, july, 3),
	} {
		f, err := tbl.Write(t.Context(), batchOf(t, in))
		must(t, err)
		if got := readAll(t, l, f); !slices.Equal(got, in) {
			t.Errorf("%s: Write: other rows came back", name)
		}
		texts := NewTexts()
		w := newWriter(tbl, texts, EncoderOptions{Rules: 3})
		for part := range slices.Chunk(in, 30_000) {
			must(t, w.Write(t.Context(), rowsOf(texts, part)))
		}
		files, err := w.Finish(t.Context())
		must(t, err)
		if len(files) != 1 || files[0].Rules != 3 {
			t.Fatalf("%s: files %+v", name, files)
		}
		if got := readAll(t, l, files[0]); !slices.Equal(got, in) {
			t.Errorf("%s: Writer: other rows came back", name)
		}
		s := commit(t, tbl, Change{Add: []File{f, files[0]}})
		for _, planned := range s.Files()[len(s.Files())-2:] {
			must(t, checkBlob(t.Context(), l.opts.Store, planned))
		}
		for i, fresh := range planned(t, tbl, f, files[0]) {
			want := []File{f, files[0]}[i]
			want.data = nil
			if fresh != want {
				t.Errorf("%s: read from the manifest\n%+v, want\n%+v", name, fresh, want)
			}
		}
	}
}

// writer encodes rows to files of a table.
type writer struct {
	*Encoder
	in *Receiver
}

func newWriter(t *Table, texts *Texts, o EncoderOptions) writer {
	in := t.Receive()
	return writer{NewEncoder(in, texts, o), in}
}

func (w writer) Finish(ctx context.Context) ([]File, error) {
	err := w.Encoder.Finish(ctx)
	return w.in.Files(), err
}

// planned are the files as a process that did not write them sees them.
func planned(t *testing.T, tbl *Table, want ...File) []File {
	all, err := plan(t.Context(), tbl.lake.opts.Store, tbl.current.Load().iceberg)
	must(t, err)
	var out []File
	for _, w := range want {
		out = append(out, all[slices.IndexFunc(all, func(f File) bool { return f.Path == w.Path })])
	}
	return out
}

// TestWriterFiles: files end at their size, keep the order, and say since when
// they hold user agents.
func TestWriterFiles(t *testing.T) {
	l := dirLake(t, t.TempDir())
	tbl := tableOf(t, l)
	in := interactions(60_000, july, 4)
	for i := range in {
		if in[i].OccurredAt < event.At(july.AddDate(0, 0, 9)) {
			in[i].UserAgent = ""
		}
	}
	texts := NewTexts()
	w := newWriter(tbl, texts, EncoderOptions{Rules: 1, FileBytes: 100_000})
	for part := range slices.Chunk(in, 4000) {
		must(t, w.Write(t.Context(), rowsOf(texts, part)))
	}
	files, err := w.Finish(t.Context())
	must(t, err)
	if len(files) < 5 {
		t.Fatalf("%d files", len(files))
	}
	var got []event.Interaction
	for _, f := range files {
		if f.Agents != event.At(july.AddDate(0, 0, 9)) {
			t.Errorf("user agents since %s, want 10 July", f.Agents.Time())
		}
		got = append(got, readAll(t, l, f)...)
	}
	if !slices.Equal(got, in) {
		t.Error("the files together hold other rows")
	}
	must(t, func() error { _, err := tbl.Commit(t.Context(), Change{Add: files}); return err }())
	if got := damages(t, l); len(got) != 0 {
		t.Errorf("Verify = %q", got)
	}
}

func TestWriterRefuses(t *testing.T) {
	tbl := tableOf(t, dirLake(t, t.TempDir()))
	texts := NewTexts()
	in := interactions(10, july, 1)
	other := slices.Clone(in)
	other[9].OccurredAt = event.At(july.AddDate(0, 1, 0))
	for name, parts := range map[string][][]event.Interaction{
		"unsorted": {{in[1], in[0]}}, "unsorted parts": {in[5:], in[:5]}, "two months": {other}, "two months in parts": {other[:9], other[9:]},
	} {
		w := newWriter(tbl, texts, EncoderOptions{Rules: 1})
		var err error
		for _, part := range parts {
			err = errors.Join(err, w.Write(t.Context(), rowsOf(texts, part)))
		}
		must(t, w.in.Close())
		if !errors.Is(err, ErrBatch) {
			t.Errorf("%s: %v, want ErrBatch", name, err)
		}
	}
}

// TestTextsKeep: codes that are in use stay what they were, the others are given
// out again.
func TestTextsKeep(t *testing.T) {
	texts := NewTexts()
	r := rand.New(rand.NewPCG(1, 1))
	live := map[Code]string{}
	for round := range 50 {
		for range 100 {
			s := fmt.Sprintf("%d-%d", round, r.IntN(1000))
			live[texts.Code(s)] = s
		}
		rows := new(Rows)
		rows.Texts[Reason] = nil
		for c := range live {
			if r.IntN(2) == 0 {
				delete(live, c)
				continue
			}
			rows.Texts[Reason] = append(rows.Texts[Reason], c)
		}
		texts.Keep([]Code{0}, rows)
		total := 0
		for c, s := range live {
			total += len(s)
			if texts.Value(c) != s || texts.Code(s) != c {
				t.Fatalf("code %d is %q now, was %q", c, texts.Value(c), s)
			}
		}
		if texts.Bytes() != total {
			t.Fatalf("%d bytes, want %d", texts.Bytes(), total)
		}
	}
	if len(texts.values) > 1000 {
		t.Errorf("%d codes for at most some hundred texts", len(texts.values))
	}
}

// BenchmarkReader and BenchmarkWriter: the ends of a merge, per event.
func BenchmarkReader(b *testing.B) {
	l := dirLake(b, b.TempDir())
	tbl := tableOf(b, l)
	f, err := tbl.Write(b.Context(), batchOf(b, interactions(rowGroupRows, july, 1)))
	must(b, err)
	b.ReportAllocs()
	texts, rows := NewTexts(), new(Rows)
	for b.Loop() {
		r, err := l.Reader(b.Context(), f, texts)
		must(b, err)
		must(b, r.Next(rows))
		must(b, r.Close())
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*rowGroupRows), "ns/event")
}

func BenchmarkWriter(b *testing.B) {
	tbl := tableOf(b, dirLake(b, b.TempDir()))
	texts := NewTexts()
	rows := rowsOf(texts, interactions(rowGroupRows, july, 1))
	b.ReportAllocs()
	var size int64
	for b.Loop() {
		w := newWriter(tbl, texts, EncoderOptions{Rules: 1})
		must(b, w.Write(b.Context(), rows))
		files, err := w.Finish(b.Context())
		must(b, err)
		size = files[0].Bytes
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*rowGroupRows), "ns/event")
	b.ReportMetric(float64(size)/rowGroupRows, "bytes/event")
}

// BenchmarkReaderArrow is the reader that was not chosen: pqarrow with texts as
// dictionaries.
func BenchmarkReaderArrow(b *testing.B) {
	data, _, err := encodeParquet(batchOf(b, interactions(rowGroupRows, july, 1)), func() {})
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		props := pqarrow.ArrowReadProperties{BatchSize: rowGroupRows}
		for _, at := range textColumn {
			props.SetReadDict(at, true)
		}
		rows, err := pqarrow.ReadTable(b.Context(), bytes.NewReader(data), parquet.NewReaderProperties(nil), props, memory.DefaultAllocator)
		must(b, err)
		rows.Release()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*rowGroupRows), "ns/event")
}
