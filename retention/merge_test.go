package retention

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"go.uber.org/goleak"

	"mailwake/engine/blob"
	"mailwake/engine/classify"
	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/engine/registry"
)

func TestMain(m *testing.M) {
	asWorker(os.Args)
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

var july = time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openLake(t testing.TB, dir string, store blob.Store, now func() time.Time) *lake.Lake {
	t.Helper()
	l, err := lake.Open(context.Background(), lake.Options{
		Store: store, CatalogPath: filepath.Join(dir, "catalog.db"), CacheDir: filepath.Join(dir, "cache"),
		Logger: slog.New(slog.DiscardHandler), Now: now,
	})
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func order(a, b event.Interaction) int {
	return cmp.Or(cmp.Compare(a.Email, b.Email), cmp.Compare(a.Recipient, b.Recipient), cmp.Compare(a.OccurredAt, b.OccurredAt), cmp.Compare(a.ID, b.ID))
}

// write stores events of one month as a flush does.
func write(t testing.TB, tbl *lake.Table, in []event.Interaction) lake.File {
	t.Helper()
	slices.SortFunc(in, order)
	b := event.NewBuilder(memory.DefaultAllocator)
	defer b.Release()
	for i := range in {
		b.Add(in[i].ID, &in[i])
	}
	batch := b.Batch()
	defer batch.Release()
	f, err := tbl.Write(context.Background(), batch)
	must(t, err)
	return f
}

// read returns the rows of a file.
func read(t testing.TB, l *lake.Lake, f lake.File) (out []event.Interaction) {
	t.Helper()
	texts := lake.NewTexts()
	r, err := l.Reader(context.Background(), f, texts)
	must(t, err)
	defer func() { must(t, r.Close()) }()
	var rows lake.Rows
	for {
		err := r.Next(&rows)
		if errors.Is(err, io.EOF) {
			return out
		}
		must(t, err)
		for i := range rows.Len() {
			out = append(out, eventOf(texts, &rows, i))
		}
	}
}

func eventOf(texts *lake.Texts, rows *lake.Rows, i int) event.Interaction {
	text := func(c int) string { return texts.Value(rows.Texts[c][i]) }
	return event.Interaction{
		ID: rows.Longs[lake.EventID][i], OccurredAt: rows.Occurred(i), ReceivedAt: rows.Received(i),
		Kind:  event.Kind(slices.Index(event.Kinds(), text(lake.Kind))),
		Email: event.EmailID(rows.Longs[lake.EmailID][i]), Recipient: event.RecipientID(rows.Longs[lake.RecipientID][i]), Component: rows.Component[i],
		Actor: event.Actor(slices.Index(event.Actors(), text(lake.Actor))), Reason: text(lake.Reason),
		Device: event.Device(slices.Index(event.Devices(), text(lake.Device))), Client: text(lake.Client), OS: text(lake.OS),
		Source:    event.Source(slices.Index(event.Sources(), text(lake.Source))),
		UserAgent: text(lake.UserAgent), Network: text(lake.Network),
	}
}

// judge relabels events, sorted, as a rewrite of all of them does.
func judge(in []event.Interaction) {
	for from := 0; from < len(in); {
		to := from + 1
		for to < len(in) && in[to].Email == in[from].Email && in[to].Recipient == in[from].Recipient {
			to++
		}
		hits := make([]classify.Hit, to-from)
		for i, e := range in[from:to] {
			hits[i] = classify.Hit{At: e.OccurredAt, Kind: e.Kind, Component: e.Component, Network: e.Network, Actor: e.Actor, Reason: e.Reason}
		}
		classify.Reclassify(hits)
		for i, h := range hits {
			in[from+i].Actor, in[from+i].Reason = h.Actor, h.Reason
		}
		from = to
	}
}

// drawn makes n events of July of few emails and recipients, so that rows of many
// files belong together.
func drawn(r *rand.Rand, n, emails, recipients int) []event.Interaction {
	in := make([]event.Interaction, n)
	for i := range in {
		at := event.At(july) + event.Micros(r.Int64N(27*24*3600))*1_000_000
		if r.IntN(3) == 0 {
			at = event.At(july) + event.Micros(r.Int64N(100))*1_000_000
		}
		in[i] = event.Interaction{
			ID: r.Int64(), OccurredAt: at, ReceivedAt: at + event.Micros(r.IntN(1e6)), Kind: event.Kind(1 + r.IntN(9)),
			Email: event.EmailID(1 + r.IntN(emails)), Recipient: event.RecipientID(1 + r.IntN(recipients)), Component: int32(r.IntN(6)),
			Actor: event.Actor(r.IntN(6)), Reason: []string{"", "", classify.ReasonProbableGateway}[r.IntN(3)], Device: event.Device(r.IntN(4)),
			Client: []string{"", "Gmail"}[r.IntN(2)], OS: "Windows", Source: event.Pixel,
			UserAgent: []string{"", fmt.Sprintf("agent %d", r.IntN(2000))}[r.IntN(2)], Network: []string{"", "10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"}[r.IntN(4)],
		}
	}
	return in
}

// TestMerge compares merges of random files with sorting everything in memory.
func TestMerge(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			defer func(n int) { rowGroup = n }(rowGroup)
			rowGroup = []int{20, 500, 5000, rowGroup}[r.IntN(4)]
			l := openLake(t, t.TempDir(), blob.Mem("merge"), nil)
			tbl, err := l.Table(t.Context(), "acme")
			must(t, err)
			var files []lake.File
			var all []event.Interaction
			for range 1 + r.IntN(6) {
				in := drawn(r, 1+r.IntN([]int{5, 3000, 60_000}[r.IntN(3)]), []int{1, 3, 500}[r.IntN(3)], []int{1, 4, 1000}[r.IntN(3)])
				all = append(all, in...)
				files = append(files, write(t, tbl, in))
			}
			p := Policy{Policy: registry.DefaultPolicy()}
			p.MaxAgeDays = []int{0, 40}[r.IntN(2)]
			p.OnWithdrawal = []registry.WithdrawalPolicy{registry.WithdrawalHides, registry.WithdrawalPurges}[r.IntN(2)]
			now := july.AddDate(0, 0, []int{20, 45, 60}[r.IntN(3)])
			for range r.IntN(4) {
				p.Refusals = append(p.Refusals, registry.Refusal{
					Recipient: event.RecipientID(1 + r.IntN(5)), Purposes: registry.Purposes(1 + r.IntN(15)), Since: event.At(july.AddDate(0, 0, r.IntN(20))),
				})
			}
			if r.IntN(3) == 0 {
				p.Erased = []event.RecipientID{event.RecipientID(1 + r.IntN(5))}
			}
			out, counts, err := workshop{}.merge(t.Context(), l, tbl, files, p.cull(now), []int64{0, 50_000}[r.IntN(2)], func(int64) {})
			must(t, err)
			slices.SortFunc(all, order)
			judge(all)
			want, expected := expect(&p, all, now)
			expected.Relabelled = counts.Relabelled
			var got []event.Interaction
			for _, f := range out {
				got = append(got, read(t, l, f)...)
			}
			if largest(all) > rowGroup { // was judged in parts
				for _, list := range [][]event.Interaction{got, want} {
					for i := range list {
						list[i].Actor, list[i].Reason = 0, ""
					}
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%d rows, want %d; or others", len(got), len(want))
			}
			if counts != expected {
				t.Errorf("counts %+v, want %+v", counts, expected)
			}
		})
	}
}

// largest is the largest number of rows of one recipient and email; in is sorted.
func largest(in []event.Interaction) (most int) {
	n := 0
	for i, e := range in {
		if i > 0 && (e.Email != in[i-1].Email || e.Recipient != in[i-1].Recipient) {
			n = 0
		}
		n++
		most = max(most, n)
	}
	return most
}

// expect is what a rewrite at now leaves of in, row by row as the rules are written.
func expect(p *Policy, in []event.Interaction, now time.Time) (out []event.Interaction, c Counts) {
	since := func(d int) event.Micros { return event.At(now.AddDate(0, 0, -d)) }
	latest := map[event.RecipientID]registry.Refusal{}
	for _, r := range p.Refusals {
		latest[r.Recipient] = r
	}
	for _, r := range p.Refusals {
		if wait := p.HideDays; p.OnWithdrawal == registry.WithdrawalPurges || r.Since <= since(wait) {
			latest[r.Recipient] = r
		}
	}
	for _, e := range in {
		c.Read++
		if e.UserAgent != "" && e.OccurredAt < since(30) {
			e.UserAgent = ""
			c.Agents++
		}
		r, refuses := latest[e.Recipient]
		refuses = refuses && r.Purposes.Has(registry.PurposeOf(e.Kind))
		switch {
		case slices.Contains(p.Erased, e.Recipient):
			c.Erased++
		case p.MaxAgeDays > 0 && e.OccurredAt < since(p.MaxAgeDays):
			c.Aged++
		case refuses && e.ReceivedAt > r.Since:
			c.WhileRefused++
		case refuses && (p.OnWithdrawal == registry.WithdrawalPurges || r.Since <= since(p.HideDays)):
			c.Refused++
		default:
			c.Written++
			out = append(out, e)
		}
	}
	return out, c
}

// BenchmarkMerge: 20 flushed files of 50,000 events, interleaved row by row.
func BenchmarkMerge(b *testing.B) {
	dir := b.TempDir()
	store, err := blob.Dir(filepath.Join(dir, "blobs"))
	must(b, err)
	l := openLake(b, dir, store, nil)
	tbl, err := l.Table(b.Context(), "acme")
	must(b, err)
	var files []lake.File
	var rows, flushed int64
	for i := range 20 {
		f := write(b, tbl, realistic(i, 50_000, 20))
		files, rows, flushed = append(files, f), rows+f.Rows, flushed+f.Bytes
	}
	p := Policy{Policy: registry.DefaultPolicy()}
	var size int64
	b.ReportAllocs()
	for b.Loop() {
		out, counts, err := workshop{}.merge(b.Context(), l, tbl, files, p.cull(july.AddDate(0, 0, 70)), 0, func(int64) {})
		must(b, err)
		if counts.Written != rows {
			b.Fatalf("%+v", counts)
		}
		size = 0
		for _, f := range out {
			size += f.Bytes
		}
	}
	events := float64(b.N) * float64(rows)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/events, "ns/event")
	b.ReportMetric(events/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(size)/float64(rows), "bytes/event")
	b.ReportMetric(float64(flushed)/float64(rows), "flushed-bytes/event")
}

// realistic makes the events of flush number i of total within July: emails go out
// over the month, most hits come in the hours after, each log group has 16 rows.
func realistic(i, n, total int) []event.Interaction {
	r := rand.New(rand.NewPCG(uint64(i), 9))
	span := int64(30*24*3600*1e6) / int64(total)
	agents := []struct{ ua, client, os string }{
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36", "Chrome", "Windows"},
		{"Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)", "Gmail", ""},
		{"Mozilla/5.0", "Apple Mail", ""},
		{"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148", "Apple Mail", "iOS"},
		{"Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Microsoft Outlook 16.0.17328; ms-office; MSOffice 16)", "Outlook", "Windows"},
	}
	in := make([]event.Interaction, n)
	for k := range in {
		at := event.At(july) + event.Micros(int64(i)*span+int64(k)*span/int64(n)+r.Int64N(1000))
		a := agents[r.IntN(len(agents))]
		// 30 emails a day to 2,000 people each; an email lives for about a day.
		day := int64(at-event.At(july)) / (24 * 3600 * 1e6)
		in[k] = event.Interaction{
			ID: event.OwnID(0, event.PositionOf(uint64(i*n+k)/16+1, k%16)), OccurredAt: at, ReceivedAt: at, Kind: event.Open,
			Email: event.EmailID(1 + day*30 + r.Int64N(30)), Recipient: event.RecipientID(1 + r.IntN(2000)),
			Actor: event.Human, Device: event.Desktop, Client: a.client, OS: a.os, Source: event.Pixel, UserAgent: a.ua,
		}
		if r.IntN(5) == 0 {
			in[k].Kind, in[k].Source, in[k].Component = event.Click, event.Redirect, int32(1+r.IntN(10))
		}
	}
	return in
}
