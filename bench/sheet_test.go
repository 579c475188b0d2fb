package bench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func someSheet(value float64) *Sheet {
	s := &Sheet{Bench: "bulk", Title: "Rows"}
	s.add("Arrow", "mailwake", value, "/s")
	s.add("Arrow", "ClickHouse", 1e6, "/s")
	s.add("NDJSON", "ClickHouse", 2e5, "/s")
	s.Ratio, s.RatioOf = value/1e6, "mailwake over ClickHouse"
	s.stored(7, 7)
	s.atLeast("ratio", 1, s.Ratio)
	return s
}

// A report that was saved is rendered with its table, its plots and its checks.
func TestSave(t *testing.T) {
	dir := t.TempDir()
	if err := Save(dir, "bulk", someSheet(2.5e6)); err != nil {
		t.Fatal(err)
	}
	if err := Save(dir, "fresh", &FreshReport{Bench: "fresh"}); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"## bench bulk", "2,500,000 /s", "ratio 2.50: mailwake over ClickHouse", "stored = sent", "![Rows](bulk-1.svg)", "## bench fresh", "answer → KPI"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
	svg, err := os.ReadFile(filepath.Join(dir, "bulk-1.svg"))
	if err != nil || strings.Count(string(svg), "<rect") != 4 || !strings.Contains(string(svg), "NDJSON · ClickHouse") {
		t.Errorf("%v: %s", err, svg)
	}
}

// Reports of several sizes are shown together, too: a table and lines over the sizes.
func TestGrowth(t *testing.T) {
	dir := t.TempDir()
	for size, factor := range map[int64]float64{100_000_000: 100, 1_000_000: 1, 10_000_000: 10} {
		s := &Sheet{Bench: "kpi", Title: "KPIs"}
		s.add("email_list", "mailwake p50", 0.5*factor, "ms")
		s.add("email_list", "DuckDB p50", 40*factor, "ms")
		s.add("heat_map", "mailwake p50", 2, "ms")
		if err := Save(dir, Sized("kpi", size), s); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"mailwake 1 M  mailwake 10 M  mailwake 100 M  DuckDB 1 M", "## bench kpi, 10 M", "![KPIs](kpi-100000000-1.svg)", "](kpi-growth.svg)",
		"  email_list           0.5              5              50          40          400         4,000               –",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
	if at := strings.Index(string(page), "## bench kpi, 1 M"); at < 0 || at > strings.Index(string(page), "## bench kpi, 10 M") {
		t.Error("larger sizes come first")
	}
	svg, err := os.ReadFile(filepath.Join(dir, "kpi-growth.svg"))
	if err != nil || strings.Count(string(svg), "<polyline") != 5 || !strings.Contains(string(svg), "mailwake, median") {
		t.Errorf("%v: %s", err, svg)
	}
}

func TestCompare(t *testing.T) {
	a, b, other := t.TempDir(), t.TempDir(), t.TempDir()
	for dir, r := range map[string]Report{a: someSheet(2e6), b: someSheet(3e6)} {
		if err := Save(dir, "bulk", r); err != nil {
			t.Fatal(err)
		}
	}
	if err := Save(other, "fresh", &FreshReport{Bench: "fresh"}); err != nil {
		t.Fatal(err)
	}
	c, err := Compare(filepath.Join(a, "bulk.json"), filepath.Join(b, "bulk.json"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, f := range c.Figures {
		if (f.Name == "Arrow: mailwake" || f.Name == "ratio") && f.Ratio == 1.5 {
			found++
		}
	}
	if found != 2 {
		t.Errorf("figures %+v", c.Figures)
	}
	if _, err := Compare(filepath.Join(a, "bulk.json"), filepath.Join(other, "fresh.json")); err == nil || !strings.Contains(err.Error(), "is a report of") {
		t.Errorf("reports of two kinds: %v", err)
	}
}

func TestSameRows(t *testing.T) {
	const rows = `{"n":3,"at":"2026-07-01T12:00:00.5Z","rate":0.3333333333333333,"ok":true,"none":null,"day":"2026-07-01T00:00:00Z"}` + "\n"
	for text, want := range map[string]string{
		rows: "",
		`{"n":"3","at":"2026-07-01 12:00:00.500000","rate":0.33333333333333337,"ok":1,"none":null,"day":"2026-07-01"}`: "",
		strings.Replace(rows, "3,", "4,", 1):       "n is 3 and 4",
		strings.Replace(rows, "0.33", "0.34", 1):   "rate is",
		strings.Replace(rows, "12:00", "12:01", 1): "at is",
		strings.Replace(rows, "null", "0", 1):      "none is <nil> and 0",
		strings.Replace(rows, `"n":3,`, ``, 1):     "n is 3 and <nil>",
		strings.Repeat(rows, 2):                    "row 2: EOF",
		"":                                         "row 1: there is one and EOF",
	} {
		err := sameRows(rows, text)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// ClickHouse is asked for each KPI, by all its parameters.
func TestClickHouseKPIs(t *testing.T) {
	for _, a := range catalogue(planned(t, World{Seed: 1, Events: 10_000})) {
		text, err := clickhouseKPI(a)
		if err != nil || strings.Contains(text, "$") {
			t.Errorf("%s: %v, or a parameter is left: %s", a.name, err, text)
		}
	}
}
