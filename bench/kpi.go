package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// KPIOptions configure KPI.
type KPIOptions struct {
	WorldOptions
	Runs int           // of each KPI on each engine; default 20
	Each time.Duration // ends the runs of a KPI on one engine sooner; default 10 s
}

// maxKPIRuns bounds the runs of one KPI.
const maxKPIRuns = 10_000

func (o *KPIOptions) setDefaults(cores int) error {
	defaultTo(&o.Runs, 20)
	defaultTo(&o.Each, 10*time.Second)
	return errors.Join(
		o.WorldOptions.setDefaults(cores),
		within("runs", o.Runs, 1, maxKPIRuns),
		within("time of each KPI", o.Each, time.Millisecond, maxDuration),
	)
}

// asked is a KPI with its parameters, as all engines are asked.
type asked struct {
	name   string
	params map[string]string
}

// label is what its row is called.
func (a asked) label() string {
	for _, p := range []string{"email", "recipient"} {
		if a.params[p] != "" {
			return a.name + ", one " + p
		}
	}
	return a.name
}

// catalogue lists what is asked about a world: summaries of one email and one
// person, and what a dashboard of the organisation shows.
func catalogue(p *worldPlan) []asked {
	biggest := slices.MaxFunc(p.mails, func(a, b mail) int { return a.size - b.size })
	one := fmt.Sprint(biggest.id)
	now := worldStart.AddDate(0, 0, worldDays+liveDays).Format(time.RFC3339)
	return []asked{
		{"email_summary", map[string]string{"email": one}},
		{"email_list", nil},
		{"organisation_summary", nil},
		{"recipient_activity", map[string]string{"recipient": fmt.Sprint(p.People / 2)}},
		{"email_timeline", map[string]string{"email": one, "bucket": "hour", "zone": "UTC"}},
		{"link_table", map[string]string{"email": one}},
		{"time_to_first", map[string]string{"email": one, "now": now}},
		{"device_mix", map[string]string{"by": "client"}},
		{"heat_map", map[string]string{"zone": "UTC"}},
		{"machine_share", map[string]string{"by": "reason"}},
		{"template_table", nil},
		{"followed_comparison", nil},
		{"attachment_table", map[string]string{"email": one}},
		{"weekly_cohorts", map[string]string{"zone": "UTC"}},
		{"recency_frequency_grid", map[string]string{"now": now}},
		{"recipient_best_hour", map[string]string{"recipient": "5", "zone": "UTC"}},
		{"recipient_score", map[string]string{"now": now}},
	}
}

// KPI measures each KPI of a warm server over a world of events, beside DuckDB
// alone over the very same Parquet files and ClickHouse over the same rows. An
// engine's times count only if its answers are the server's. The first query after
// the restart in between is measured, too.
func KPI(ctx context.Context, o KPIOptions) (s Sheet, err error) {
	if err := o.setDefaults(runtime.NumCPU()); err != nil {
		return s, err
	}
	k := kpiBench{o: &o, sheet: &s, say: o.progress()}
	defer k.say.end()
	dir, remove, err := o.folder()
	if err != nil {
		return s, err
	}
	defer remove()
	s = Sheet{Bench: "kpi", Title: "KPIs beside DuckDB over the same files and ClickHouse over the same rows"}
	if k.plan, err = o.world(); err != nil {
		return s, err
	}
	s.set("world", fmt.Sprintf("%s events of %s emails and %s people, seed %d", number(o.Events), number(len(k.plan.mails)), number(k.plan.People), o.Seed))
	s.set("runs", fmt.Sprintf("%d of each KPI, less if they take over %v; the first one warms up and is not counted", o.Runs, o.Each))
	if err := k.build(ctx, dir); err != nil {
		return s, err
	}
	n, err := o.mailwake(ctx, dir)
	if err != nil {
		return s, err
	}
	defer n.kill()
	if err := k.measure(ctx, n); err != nil {
		return s, n.Explain(err)
	}
	k.summarise()
	return s, nil
}

// kpiBench is one run of KPI.
type kpiBench struct {
	o       *KPIOptions
	sheet   *Sheet
	plan    *worldPlan
	say     progress
	catalog string   // folder with the catalogue's tables
	files   []string // Parquet files of the server's table
	total   int64
}

// build makes the server's tables, and ends the server again.
func (k *kpiBench) build(ctx context.Context, dir string) error {
	n, total, err := k.o.populated(ctx, dir, k.plan, k.say)
	if err != nil {
		return err
	}
	defer n.kill()
	k.total = total
	if k.sheet.Machine, err = machineOf(dir); err != nil {
		return err
	}
	k.say.step("flushing and saving the catalogue")
	k.catalog = filepath.Join(filepath.Dir(dir), "catalog")
	if err := os.MkdirAll(k.catalog, 0o700); err != nil {
		return err
	}
	if err := errors.Join(n.api.flush(ctx), n.api.saveCatalog(ctx, k.catalog), k.maintain(ctx, n)); err != nil {
		return n.Explain(err)
	}
	if _, err := n.drain(k.o.StopLimit); err != nil {
		return err
	}
	k.files, err = k.o.tableFiles(ctx, dir)
	return err
}

// maintain runs what maintenance there is: events are classified with what came
// after them, small files merged. Peers get the files that this leaves.
func (k *kpiBench) maintain(ctx context.Context, n *node) error {
	k.say.step("maintaining")
	before, err := n.Usage()
	if err != nil {
		return err
	}
	if err := n.api.maintenance(ctx, "run"); err != nil {
		return err
	}
	after, err := n.Usage()
	k.sheet.add("maintenance after loading, CPU per event", "mailwake", float64((after.CPU-before.CPU).Nanoseconds())/float64(k.total), "ns")
	return err
}

func (k *kpiBench) measure(ctx context.Context, n *node) error {
	if err := n.api.maintenance(ctx, "pause"); err != nil { // peers have the files of now
		return err
	}
	list := catalogue(k.plan)
	start := time.Now()
	if _, err := n.api.kpi(ctx, list[0]); err != nil {
		return err
	}
	k.sheet.add("first query after a restart, disk warm", "mailwake", time.Since(start).Seconds()*1e3, "ms")
	stored, err := n.api.countAll(ctx)
	if err != nil {
		return err
	}
	k.say.step("waiting until the server is at rest")
	if err := n.rest(ctx, time.Second); err != nil {
		return err
	}
	k.sheet.stored(k.total, stored)
	k.sheet.set("files", len(k.files))
	answers := map[string]string{}
	err = k.engine(ctx, "mailwake", list, answers, func(a asked) (string, float64, error) {
		start := time.Now()
		text, err := n.api.kpi(ctx, a)
		return string(text), time.Since(start).Seconds(), err
	})
	if err != nil {
		return err
	}
	if err := k.againstDuckDB(ctx, list, answers); err != nil {
		return err
	}
	return k.againstChDB(ctx, list, answers)
}

func (k *kpiBench) againstDuckDB(ctx context.Context, list []asked, answers map[string]string) error {
	p, err := k.o.duckdb(ctx, k.files, k.catalog, k.sheet.Machine.MemoryMiB/2)
	if err != nil {
		return err
	}
	defer func() { _ = p.close() }() // all its answers were read
	k.sheet.peer("DuckDB", "the library that mailwake links, all cores, half of the memory, the same SQL over read_parquet of the server's files; its file and metadata caches on")
	return k.engine(ctx, "DuckDB", list, answers, func(a asked) (string, float64, error) {
		answer, err := p.ask(map[string]any{"kpi": a.name, "params": a.params})
		return answer.Text, answer.Seconds, err
	})
}

// engine runs the list on one engine and compares its answers with those of the
// first engine.
func (k *kpiBench) engine(ctx context.Context, name string, list []asked, answers map[string]string, ask func(asked) (string, float64, error)) error {
	for i, a := range list {
		k.say.step("%s: %d of %d, %s", name, i+1, len(list), a.label())
		if err := ctx.Err(); err != nil {
			return err
		}
		text, _, err := ask(a)
		first, ok := answers[a.name]
		if err != nil && ok { // a peer's mistake, or ours in its SQL, costs its figure only
			k.sheet.Checks = append(k.sheet.Checks, Check{name + " = mailwake: " + a.label(), "equal rows", fmt.Sprintf("%.100s", err), false})
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %s: %w", name, a.label(), err)
		}
		if !ok && text == "" {
			return fmt.Errorf("%s: %s has no rows, so that nothing could be compared", name, a.label())
		}
		if !ok {
			answers[a.name] = text
		} else if err := sameRows(first, text); err != nil {
			k.sheet.Checks = append(k.sheet.Checks, Check{name + " = mailwake: " + a.label(), "equal rows", err.Error(), false})
			continue
		}
		h := hdrhistogram.New(int64(time.Microsecond), int64(time.Hour), 3) // peers take minutes over 100 million events
		for begun := time.Now(); h.TotalCount() < int64(k.o.Runs) && (time.Since(begun) < k.o.Each || h.TotalCount() == 0); {
			_, seconds, err := ask(a)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", name, a.label(), err)
			}
			if err := h.RecordValue(int64(seconds * 1e9)); err != nil {
				return err
			}
		}
		k.sheet.add(a.label(), name+" p50", float64(h.ValueAtPercentile(50))/1e6, "ms")
		k.sheet.add(a.label(), name+" p99", float64(h.ValueAtPercentile(99))/1e6, "ms")
	}
	return nil
}

// summarise divides the medians of the peers by the server's.
func (k *kpiBench) summarise() {
	s, worst := k.sheet, 0.0
	for _, a := range catalogue(k.plan) {
		own := s.value(a.label(), "mailwake p50")
		for _, peer := range []string{"DuckDB", "ClickHouse"} {
			if v := s.value(a.label(), peer+" p50"); v > 0 && own > 0 {
				s.add(a.label(), peer+" / mailwake", v/own, "×")
				if r := v / own; worst == 0 || r < worst {
					worst = r
				}
			}
		}
	}
	s.Ratio, s.RatioOf = worst, "the smallest of all: a peer's p50 over mailwake's, of a KPI whose rows were equal"
	s.atLeast("each KPI against each peer, p50", 10, worst)
	s.atMost("email_summary, one email, p50", 10, s.value("email_summary, one email", "mailwake p50"), "ms")
	s.atMost("recipient_activity, one recipient, p50", 10, s.value("recipient_activity, one recipient", "mailwake p50"), "ms")
	s.atMost("organisation_summary, p50", 100, s.value("organisation_summary", "mailwake p50"), "ms")
}

// kpi asks the server and returns rows as lines of JSON.
func (c *client) kpi(ctx context.Context, a asked) ([]byte, error) {
	query := url.Values{"format": {"ndjson"}}
	for name, value := range a.params {
		query.Set(name, value)
	}
	return c.call(ctx, http.MethodGet, "/v1/orgs/"+org+"/kpis/"+a.name+"?"+query.Encode(), nil)
}
