package query

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"mailwake/engine/blob"
	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/engine/registry"
	"mailwake/engine/rollup"
)

// BenchmarkRollups asks KPIs over compacted data files, as the keeper leaves them,
// with rollups and of DuckDB over all events of the same files. It has 200,000
// events, or as many as MAILWAKE_EVENTS says. Answers must be equal before times count.
func BenchmarkRollups(b *testing.B) {
	n := 200_000
	if s := os.Getenv("MAILWAKE_EVENTS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	w := newWorld(b)
	g := generate(b, w, n)
	large := func(o *Options) {
		o.MemoryLimit, o.Timeout = 4<<30, time.Hour
		o.Folders = func(event.OrgID) ([]string, error) { return []string{filepath.Join(w.root, "lake")}, nil }
	}
	with := w.open(large)
	without := w.open(func(o *Options) { large(o); o.RollupDir = "" })
	first := time.Now()
	answered(b, with, "organisation_summary", nil)
	with.readyAll(b.Context())
	fmt.Printf("%d events in %d files (%.1f bytes each), %d emails, %d recipients; made rollups (%.1f bytes per event) and state in %v\n",
		g.events, len(w.org(1).files), float64(sizeOf(b, filepath.Join(w.root, "lake")))/float64(g.events), g.emails, g.recipients,
		float64(sizeOf(b, filepath.Join(w.root, "rollups")))/float64(g.events), time.Since(first).Round(time.Millisecond))
	again := w.open(large)
	first = time.Now()
	answered(b, again, "organisation_summary", nil)
	fmt.Printf("the first answer after a restart took %v", time.Since(first).Round(time.Millisecond))
	again.readyAll(b.Context())
	fmt.Printf(", rollups were loaded after %v\n", time.Since(first).Round(time.Millisecond))
	for _, c := range []struct {
		name   string
		params func(*rand.Rand) map[string]string
	}{
		{"organisation_summary", none},
		{"email_summary", g.email},
		{"email_summary", none},
		{"email_list", none},
		{"recipient_activity", g.recipient},
		{"recipient_activity", g.email},
		{"recipient_activity", none},
		{"email_timeline", g.email},
		{"link_table", g.email},
		{"time_to_first", g.email},
		{"device_mix", none},
		{"heat_map", none},
		{"machine_share", none},
		{"template_table", none},
		{"weekly_cohorts", none},
		{"recipient_best_hour", g.recipient},
		{"recipient_score", none},
	} {
		sample := c.params(rand.New(rand.NewPCG(1, 1)))
		kind := "all"
		for p := range sample {
			kind = p
		}
		for _, db := range []struct {
			name string
			*DB
		}{{"rollups", with}, {"events", without}} {
			b.Run(fmt.Sprintf("%s/%s/%s", c.name, kind, db.name), func(b *testing.B) {
				begin := time.Now()
				want := answered(b, db.DB, c.name, sample)
				first := time.Since(begin)
				if got := answered(b, with, c.name, sample); !reflect.DeepEqual(got, want) {
					b.Fatalf("%s %v: %v with rollups, %v", c.name, sample, got, want)
				}
				r := rand.New(rand.NewPCG(5, 6))
				var took []time.Duration
				for b.Loop() {
					from := time.Now()
					answered(b, db.DB, c.name, c.params(r))
					took = append(took, time.Since(from))
				}
				slices.Sort(took)
				b.ReportMetric(float64(first)/1e6, "first-ms")
				b.ReportMetric(float64(took[len(took)/2])/1e6, "p50-ms")
				b.ReportMetric(float64(took[len(took)*99/100])/1e6, "p99-ms")
			})
		}
	}
}

func none(*rand.Rand) map[string]string { return nil }

func answered(b *testing.B, db *DB, name string, params map[string]string) []map[string]any {
	b.Helper()
	res, err := db.KPI(b.Context(), Request{Org: 1, Persons: true, Name: name, Params: params})
	return rowsOf(b, res, err)
}

func sizeOf(b *testing.B, dir string) (size int64) {
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".parquet" || err == nil && filepath.Ext(path) == rollup.Suffix {
			info, _ := d.Info()
			size += info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return size
}

// generated is what generate made.
type generated struct {
	events, emails, recipients int
	b                          *testing.B
	r                          *rand.Rand
	texts                      *lake.Texts
	table                      *lake.Table
	months                     map[int]*month
	paths                      []lake.File
}

func (g *generated) email(r *rand.Rand) map[string]string {
	return map[string]string{"email": strconv.Itoa(1 + r.IntN(g.emails))}
}

func (g *generated) recipient(r *rand.Rand) map[string]string {
	return map[string]string{"recipient": strconv.Itoa(1 + r.IntN(g.recipients))}
}

// month is a data file being written.
type month struct {
	in   *lake.Receiver
	out  *lake.Encoder
	rows lake.Rows
}

// generate writes about n events of half a year into files of one month each:
// emails to 1 recipient and to tens of thousands, opened less with each day, by
// people and machines.
func generate(b *testing.B, w *world, n int) *generated {
	b.Helper()
	root := filepath.Join(w.root, "lake")
	store, err := blob.Dir(root)
	if err != nil {
		b.Fatal(err)
	}
	l, err := lake.Open(b.Context(), lake.Options{Store: store, CatalogPath: filepath.Join(w.root, "catalog.db")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	g := &generated{b: b, r: rand.New(rand.NewPCG(9, 9)), recipients: max(100, n/100), texts: lake.NewTexts(), months: map[int]*month{}}
	if g.table, err = l.Table(b.Context(), "acme"); err != nil {
		b.Fatal(err)
	}
	o := w.org(1)
	begin := event.At(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	for g.events < n {
		g.emails++
		// A tenth of the emails have nine tenths of the recipients.
		size := min(g.recipients, int(math.Exp(g.r.Float64()*g.r.Float64()*math.Log(50_000))))
		g.mail(size, begin+event.Micros(float64(180*dayMicros)*float64(g.events)/float64(n)))
		o.emails = append(o.emails, registry.Email{ID: event.EmailID(g.emails), Subject: "Subject", Template: []string{"", "news", "welcome"}[g.emails%3], Follow: "on"})
	}
	for _, m := range g.months {
		g.write(m)
		if err := m.out.Finish(b.Context()); err != nil {
			b.Fatal(err)
		}
		g.paths = append(g.paths, m.in.Files()...)
	}
	for _, f := range g.paths {
		path, _ := blob.LocalPath(store, f.Path)
		o.files = append(o.files, path)
	}
	for id := range g.recipients {
		o.recipients = append(o.recipients, registry.Recipient{ID: event.RecipientID(id + 1), Address: "a@example.com"})
	}
	return g
}

func (g *generated) mail(size int, at event.Micros) {
	stride := g.recipients / size
	for i := range size {
		id := int64(1 + i*stride + g.r.IntN(stride))
		g.add(at, id, "sent", "human", 0)
		opens := g.r.IntN(5) - 1
		delay := event.Micros(g.r.ExpFloat64() * float64(dayMicros))
		for range opens {
			actor := []string{"human", "proxy", "prefetch"}[g.r.IntN(3)]
			g.add(at+delay, id, "open", actor, 0)
			if g.r.IntN(6) == 0 {
				g.add(at+delay+30e6, id, "click", actor, int32(1+g.r.IntN(5)))
			}
			delay += 60e6 + event.Micros(g.r.ExpFloat64()*float64(dayMicros)/4)
		}
	}
}

func (g *generated) add(at event.Micros, recipient int64, kind, actor string, component int32) {
	g.events++
	m := g.months[at.Month()]
	if m == nil {
		in := g.table.Receive()
		m = &month{in: in, out: lake.NewEncoder(in, g.texts, lake.EncoderOptions{Rules: 1})}
		g.months[at.Month()] = m
	}
	for column, v := range [...]int64{lake.EventID: int64(g.events), lake.OccurredAt: int64(at), lake.Delay: 1000, lake.EmailID: int64(g.emails), lake.RecipientID: recipient} {
		m.rows.Longs[column] = append(m.rows.Longs[column], v)
	}
	m.rows.Component = append(m.rows.Component, component)
	for column, s := range [...]string{lake.Kind: kind, lake.Actor: actor, lake.Reason: "browser", lake.Device: "mobile", lake.Client: "Apple Mail", lake.OS: "iOS", lake.Source: "pixel", lake.UserAgent: "", lake.Network: ""} {
		m.rows.Texts[column] = append(m.rows.Texts[column], g.texts.Code(s))
	}
	if m.rows.Len() == lake.RowGroupRows {
		g.write(m)
	}
}

func (g *generated) write(m *month) {
	if err := m.out.Write(g.b.Context(), &m.rows); err != nil {
		g.b.Fatal(err)
	}
	m.rows.Truncate(0)
}
