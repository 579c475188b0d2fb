package main

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailwake/bench"
	"mailwake/engine/blob"
	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/retention"
)

// TestCompactionBesideIngest compacts many small files of one organisation while
// pixels of another are asked for at a fixed rate: KPIs are the same before,
// meanwhile and after, and no request is lost. MAILWAKE_BLOBS sets how many files
// of 20,000 events, and makes it a measurement (`make compaction`): the latencies
// before, beside and after the compaction are printed, by slices of time.
func TestCompactionBesideIngest(t *testing.T) {
	blobs, rows, rate, span, slices := 12, 400, 200.0, 300*time.Millisecond, 1
	if s := os.Getenv("MAILWAKE_BLOBS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		blobs, rows, rate, span, slices = n, 20_000, 1000, 2*time.Second, 3
	}
	dir := t.TempDir()
	p := serve(t, dir, nil)
	p.createOrg("acme")
	p.createOrg("live")
	p.follow("Compacted", `<p><a href="https://example.com/">link</a></p>`, 50)
	p.api(http.MethodPost, "/v1/orgs/acme/retention/pause", nil, new(map[string]any))
	stock(t, dir, blobs, rows)
	p.api(http.MethodPost, "/v1/orgs/acme/flush", nil, new(map[string]any))
	before, was := p.kpis(), p.maintenance()
	if was.Files <= blobs || was.Stored <= int64(blobs*rows) {
		t.Fatalf("%d files, %d rows", was.Files, was.Stored)
	}
	at := p.memory()

	g := p.pixels("live", rate)
	defer g.Close()
	var alone, beside latencies
	for range slices {
		alone.take(t, g, span)
	}
	ran, began := make(chan struct{}), time.Now()
	go func() {
		defer close(ran)
		p.api(http.MethodPost, "/v1/orgs/acme/retention/run", nil, new(map[string]any))
	}()
	beside.take(t, g, span)
	for running := true; running && slices > 1; {
		beside.take(t, g, span)
		select {
		case <-ran:
			running = false
		default:
		}
	}
	unlike(t, "meanwhile", p.kpis(), before)
	<-ran
	took := time.Since(began)
	unlike(t, "afterwards", p.kpis(), before)
	for range slices {
		alone.take(t, g, span)
	}
	is := p.maintenance()
	if is.Files >= was.Files || is.Stored != was.Stored || is.Rows.Relabelled != 0 {
		t.Errorf("%d files of %d rows became %d of %d; %d rows relabelled", was.Files, was.Stored, is.Files, is.Stored, is.Rows.Relabelled)
	}
	t.Logf("%d events in %d files: %.1f bytes per event became %.2f in %d files in %v; server's RSS was %s before, at most %s", was.Stored, was.Files,
		float64(was.Bytes)/float64(was.Stored), float64(is.Bytes)/float64(is.Stored), is.Files, took.Round(time.Millisecond), at, p.memory())
	t.Logf("pixels at %.0f/s, before and after the compaction: %s", rate, &alone)
	t.Logf("pixels at %.0f/s, beside it: %s", rate, &beside)
	p.stop()
}

// TestRollupsComeWithFiles: a compaction leaves the rollup of every file that it
// made, byte for byte what queries make of the file, and no others.
func TestRollupsComeWithFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := serve(t, dir, nil)
	p.createOrg("acme")
	p.api(http.MethodPost, "/v1/orgs/acme/retention/pause", nil, new(map[string]any))
	stock(t, dir, 12, 400)
	read := func() map[string]string {
		t.Helper()
		found := map[string]string{}
		paths, err := filepath.Glob(filepath.Join(dir, "rollups", "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			found[filepath.Base(path)] = string(data)
		}
		return found
	}
	p.api(http.MethodPost, "/v1/orgs/acme/retention/run", nil, new(map[string]any))
	made := read()
	if n := p.maintenance().Files; n == 0 || len(made) != n {
		t.Errorf("%d rollups of %d files", len(made), n)
	}
	before := p.kpis()
	p.stop()
	if err := os.RemoveAll(filepath.Join(dir, "rollups")); err != nil {
		t.Fatal(err)
	}
	p = serve(t, dir, nil)
	unlike(t, "made anew", p.kpis(), before)
	if !maps.Equal(read(), made) {
		t.Error("queries make other rollups of the same files")
	}
	p.stop()
}

// latencies are those of several slices of time.
type latencies struct {
	all    bench.Result
	slices []float64 // p99 in ms of each
}

func (l *latencies) take(t *testing.T, g *bench.Generator, span time.Duration) {
	t.Helper()
	r := loadFor(t, g, span)
	l.slices = append(l.slices, ms(&r, 99))
	if l.all.Latency == nil {
		l.all = r
	} else {
		l.all.Latency.Merge(r.Latency)
	}
}

func ms(r *bench.Result, quantile float64) float64 {
	return float64(r.Latency.ValueAtQuantile(quantile)) / 1e6
}

func (l *latencies) String() string {
	return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms, p99 of slices %.2f", ms(&l.all, 50), ms(&l.all, 99), l.slices)
}

// stock puts files of events of the month before last into acme's table, as another
// process of the same folder does.
func stock(t *testing.T, dir string, blobs, rows int) {
	t.Helper()
	store, err := blob.Dir(filepath.Join(dir, "storage"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := lake.Open(t.Context(), lake.Options{Store: store, CatalogPath: filepath.Join(dir, "catalog.db"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	table, err := l.Table(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	from := event.At(time.Date(now.Year(), now.Month()-2, 1, 0, 0, 0, 0, time.UTC))
	var change lake.Change
	for i := range blobs {
		var c event.Columns
		for k := range rows {
			in := past(from, i, blobs, k, rows)
			if err := c.AddRow(event.AppendRow(nil, &in), 0); err != nil {
				t.Fatal(err)
			}
		}
		for batch := range c.Batches {
			f, err := table.Write(t.Context(), batch)
			batch.Release()
			if err != nil {
				t.Fatal(err)
			}
			change.Add = append(change.Add, f)
		}
	}
	if _, err := table.Commit(t.Context(), change); err != nil {
		t.Fatal(err)
	}
}

// past is event k of a flush: 30 emails go out a day, to 2,000 people each, and are
// opened within the day.
func past(from event.Micros, flush, flushes, k, rows int) event.Interaction {
	const day = 24 * 3600 * 1_000_000
	n := flush*rows + k
	r := rand.New(rand.NewPCG(uint64(n), 5)) //nolint:gosec // not a secret
	gap := 28 * day / (flushes * rows)
	at := from + event.Micros(n*gap+r.IntN(gap))
	clients := [][3]string{
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36", "Chrome", "Windows"},
		{"Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)", "Gmail", ""},
		{"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148", "Apple Mail", "iOS"},
	}
	c := clients[r.IntN(len(clients))]
	in := event.Interaction{
		Org: 1, ID: event.OwnID(7, event.PositionOf(uint64(n/16+1), n%16)), OccurredAt: at, ReceivedAt: at, Kind: event.Open,
		Email: event.EmailID(1 + int64(at-from)/day*30 + r.Int64N(30)), Recipient: event.RecipientID(1 + r.IntN(2000)),
		Actor: event.Human, Device: event.Desktop, UserAgent: c[0], Client: c[1], OS: c[2], Source: event.Pixel,
	}
	if r.IntN(5) == 0 {
		in.Kind, in.Source, in.Component = event.Click, event.Redirect, int32(1+r.IntN(10)) //nolint:gosec // small
	}
	return in
}

// maintenance is the state of acme's.
func (p *process) maintenance() (st retention.Status) {
	p.t.Helper()
	p.api(http.MethodGet, "/v1/orgs/acme/retention", nil, &st)
	return st
}

// pixels follows an email of the organisation and is ready to ask for its pixels.
func (p *process) pixels(org string, rate float64) *bench.Generator {
	p.t.Helper()
	req := followRequest{From: "sales@live.example", Subject: "Live", HTML: "<p>Hello</p>", Follow: "required"}
	for i := range 200 {
		req.To = append(req.To, followRecipient{Address: fmt.Sprintf("live%d@customer.example", i)})
	}
	var resp followResponse
	p.api(http.MethodPost, "/v1/orgs/"+org+"/emails", req, &resp)
	base, err := url.Parse(p.at.Public)
	if err != nil {
		p.t.Fatal(err)
	}
	l := bench.Load{Addr: netip.MustParseAddrPort(base.Host), Conns: 64, Threads: 1, Rate: rate}
	for _, m := range resp.Messages {
		path := strings.TrimPrefix(trackedIn(m.HTML, p.at.Public).pixel, p.at.Public)
		l.Requests = append(l.Requests, fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: Mozilla/5.0\r\nConnection: keep-alive\r\n\r\n", path, base.Host))
	}
	g, err := bench.Dial(l)
	if err != nil {
		p.t.Fatal(err)
	}
	return g
}

func loadFor(t *testing.T, g *bench.Generator, span time.Duration) bench.Result {
	t.Helper()
	r, err := g.Run(t.Context(), span)
	if err != nil || r.Answered == 0 || r.NotOK > 0 || r.Unsent > 0 {
		t.Fatalf("%d answers, %d not ok, %d not sent: %v", r.Answered, r.NotOK, r.Unsent, err)
	}
	return r
}

func unlike(t *testing.T, when string, got, want map[string]string) {
	t.Helper()
	if maps.Equal(got, want) {
		return
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s %s is\n%.300s, was\n%.300s", when, name, got[name], want[name])
		}
	}
}

// memory is what the server holds of memory now, and its largest amount.
func (p *process) memory() string {
	text, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "status"))
	var found []string
	for _, field := range []string{"VmRSS", "VmHWM"} {
		_, rest, _ := strings.Cut(string(text), field+":")
		line, _, _ := strings.Cut(rest, "\n")
		found = append(found, field+" "+strings.TrimSpace(line))
	}
	return strings.Join(found, ", ")
}
