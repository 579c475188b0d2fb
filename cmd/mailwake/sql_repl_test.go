package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The prompt's statements, commands and completion, against a real server.
func TestREPL(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := serve(t, dir, nil)
	defer p.stop()
	if out, err := binary(t.Context(), nil, "org", "create", "default", "--data", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var out, bad bytes.Buffer
	cmd := &sqlCmd{clientFlags: clientFlags{serverFlags: serverFlags{Data: dir}, Org: "default"}, rowFlags: rowFlags{Format: "table"}}
	c, err := cmd.client()
	if err != nil {
		t.Fatal(err)
	}
	r := newREPL(cmd, &env{out: &out, err: &bad}, c)
	if err := r.learn(t.Context()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "out.csv")
	var history []string
	for _, step := range []struct{ line, out, bad, rest string }{
		{"  ", "", "", ""},
		{"select 40 + 2", "", "", "select 40 + 2\n"},
		{"  as answer;", "answer\n──────\n    42\n", "", ""},
		{".timer off", "", "", ""},
		{"select nosuch;", "", "sql_invalid", ""},
		{".format csv", "", "", ""},
		{"select 1 as a;", "a\n1\n", "", ""},
		{".output " + file, "", "", ""},
		{"select 2 as b;", "", "", ""},
		{".format nothing", "", "format_unknown", ""},
		{".schema days", "recipients_active", "", ""},
		{".schema nothing", "", "there is no table nothing", ""},
		{".kpis", "organisation_summary", "", ""},
		{".kpi organisation_summary", "emails_followed", "", ""},
		{".kpi email_timeline bucket=day", "bucket_start", "", ""},
		{".kpi x", "", "kpi_not_found", ""},
		{".kpi x y", "", "no parameter=value", ""},
		{".help", "Ctrl-D", "", ""},
		{".nothing", "", ".help lists", ""},
	} {
		out.Reset()
		bad.Reset()
		before := ""
		if strings.HasPrefix(step.line, "  as") {
			before = "select 40 + 2\n"
		}
		rest, leave := r.enter(t.Context(), before, step.line, func(s string) { history = append(history, s) })
		if leave || rest != step.rest || !strings.Contains(out.String(), step.out) || !strings.Contains(bad.String(), step.bad) || step.bad == "" && bad.Len() > 0 {
			t.Errorf("%s: rest %q, out %q, bad %q", step.line, rest, out.String(), bad.String())
		}
	}
	if _, leave := r.enter(t.Context(), "", ".quit", func(string) {}); !leave {
		t.Error("it does not leave")
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "b\n2\n" {
		t.Errorf("the file holds %q, %v", text, err)
	}
	if !slices.Contains(history, "select 40 + 2 as answer;") {
		t.Errorf("the history is %q", history)
	}
	for begun, want := range map[string]string{"SELECT recip": "recipient_id", "from intera": "interactions", "select regexp_ex": "regexp_extract", ".kpi organ": "organisation_summary", "select opens_h": "opens_human", ".ki": "", "": ""} {
		_, words, _ := r.complete(begun, len(begun))
		if want == "" != (len(words) == 0) || want != "" && !slices.Contains(words, want) {
			t.Errorf("%q completes to %q", begun, words)
		}
	}
}

// One statement from the command line, and what it says of mistakes.
func TestSQLCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := serve(t, dir, nil)
	defer p.stop()
	run := func(args ...string) (string, error) {
		out, err := binary(t.Context(), nil, append(args, "--data", dir)...).CombinedOutput()
		return string(out), err
	}
	if out, err := run("org", "create", "default"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, c := range []struct{ args, out string }{
		{"select 1 as a", "a\n─\n1\n"},
		{".schema", "engagement: "},
		{"select * from catalog_emails", "sql_forbidden"},
		{"select 1 +", "line 1, column 11"},
	} {
		out, err := run("sql", c.args)
		if !strings.Contains(out, c.out) || (err == nil) != !strings.HasPrefix(c.out, "sql_") && !strings.HasPrefix(c.out, "line") {
			t.Errorf("%s: %v %s", c.args, err, out)
		}
	}
}

func TestStatementEnds(t *testing.T) {
	for text, want := range map[string]bool{
		"select 1;": true, "select 1; -- x": true, "select 1; /* x */ ": true, "select 1 -- x;": false, "select ';": false, "select ';';": true,
		"select 1 /* ;": false, `select ";`: false, "select 1 -- it's\n;": true, "select $$;": false, "select $$'$$;": true, "-- x": false, "": false,
	} {
		if got := ended(text); got != want {
			t.Errorf("%q ends: %v", text, got)
		}
	}
}
