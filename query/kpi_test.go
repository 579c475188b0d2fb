package query

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"mailwake/engine/problem"
)

// What the head of a file says of its columns is what DuckDB returns.
func TestCatalogueIsTrue(t *testing.T) {
	w := newWorld(t)
	db := w.open(nil)
	var names []string
	types := map[string]string{"bigint": "int64", "integer": "int32", "double": "float64", "varchar": "utf8", "boolean": "bool", "timestamp": "timestamp[us]"}
	for _, k := range db.KPIs() {
		names = append(names, k.Name)
		res, err := db.KPI(t.Context(), Request{Org: 1, Persons: true, Name: k.Name})
		if err != nil {
			t.Fatal(err)
		}
		var want, got []string
		for _, c := range k.Columns {
			want = append(want, c.Name+" "+types[c.Type])
		}
		for _, f := range res.Schema().Fields() {
			got = append(got, fmt.Sprintf("%s %s", f.Name, f.Type))
		}
		res.Close()
		if !slices.Equal(got, want) {
			t.Errorf("%s returns\n%s\nand its head says\n%s", k.Name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	for _, asked := range sceneQuestions(&scene{}) {
		names = slices.DeleteFunc(names, func(n string) bool { return n == asked.kpi })
	}
	if len(names) > 0 {
		t.Errorf("the oracle is not asked about %v", names)
	}
}

func TestParameters(t *testing.T) {
	w := newWorld(t)
	db := w.open(nil)
	for _, c := range []struct {
		kpi, params, code string
	}{
		{"nothing", "", "kpi_not_found"},
		{"../doc", "", "kpi_not_found"},
		{"organisation_summary", "email=1", "parameter_unknown"},
		{"email_summary", "emial=1", "parameter_unknown"},
		{"email_summary", "email=", "parameter_invalid"},
		{"email_summary", "email=0", "parameter_invalid"},
		{"email_summary", "email=-1", "parameter_invalid"},
		{"email_summary", "email=1 OR true", "parameter_invalid"},
		{"email_summary", "email=9223372036854775808", "parameter_invalid"},
		{"email_summary", "limit=1000001", "parameter_invalid"},
		{"email_timeline", "bucket=year", "parameter_invalid"},
		{"email_timeline", "zone=Mars/Olympus", "parameter_invalid"},
		{"email_timeline", "zone=';", "parameter_invalid"},
		{"email_timeline", "zone=Asia/Kathmandu", ""},
		{"email_summary", "email=9223372036854775807", ""},
		{"email_summary", "limit=1", ""},
	} {
		params := map[string]string{}
		if name, value, ok := strings.Cut(c.params, "="); ok {
			params[name] = value
		}
		res, err := db.KPI(t.Context(), Request{Org: 1, Persons: true, Name: c.kpi, Params: params})
		switch {
		case err == nil && c.code != "":
			t.Errorf("%s %s: answered", c.kpi, c.params)
		case err != nil && problem.Of(err).Code != c.code:
			t.Errorf("%s %s: %v", c.kpi, c.params, err)
		}
		if res != nil {
			res.Close()
		}
	}
}

func TestParseKPI(t *testing.T) {
	const head = "-- title: T\n-- meaning: M\n--   goes on\n-- formula: F\n-- unit: U\n-- source: S\n-- people: one\n-- column a bigint: A\n"
	k, err := parseKPI("x", head+"-- param limit count = 5: most\n-- param b choice = hour (hour day): width\n-- param id id: needed\n\nSELECT $id, $limit, $b, $id")
	if err != nil {
		t.Fatal(err)
	}
	if k.Meaning != "M goes on" || k.sql != "SELECT $3, $1, $2, $3" || !k.Params[0].Optional || k.Params[2].Optional || !slices.Equal(k.Params[1].Choices, []string{"hour", "day"}) {
		t.Errorf("got %+v", k)
	}
	if _, err := k.bind(nil, surroundings{}); problem.Of(err).Code != "parameter_missing" {
		t.Errorf("got %v", err)
	}
	args, err := k.bind(map[string]string{"id": "7"}, surroundings{})
	if err != nil || !slices.Equal(args, []any{int64(5), "hour", int64(7)}) {
		t.Errorf("got %v, %v", args, err)
	}
	for name, text := range map[string]string{
		"no title":       "-- meaning: M\nSELECT 1",
		"unknown line":   head + "-- colour: red\nSELECT 1",
		"no form":        head + "--nothing\nSELECT 1",
		"type of column": head + "-- column b text: B\nSELECT 1",
		"type of param":  head + "-- param b string: B\nSELECT $b",
		"not used":       head + "-- param b id: B\nSELECT 1",
		"not declared":   head + "SELECT $b",
	} {
		if k, err := parseKPI("x", text); err == nil {
			t.Errorf("%s: parsed %q", name, k.sql)
		}
	}
}
