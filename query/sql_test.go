package query

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

func TestStatements(t *testing.T) {
	w := newWorld(t)
	db := w.open(nil)
	w.add(1, open1(1), open1(2), open1(3))
	w.flush(1, 2)
	w.add(2, open1(1))
	w.flush(2, 1)
	own, other := w.orgs[1].files[0], w.orgs[2].files[0]
	for _, c := range []struct {
		text   string
		code   string // empty: answered
		detail string // part of it
	}{
		{text: "SELECT count(*) FROM interactions"},
		{text: "select 1;"},
		{text: " SELECT 1 ;; -- done; really\n /* ; */ ; "},
		{text: "SELECT ';' AS a -- ;"},
		{text: "SELECT ';'"},
		{text: "FROM interactions SELECT kind ORDER BY 1"},
		{text: "VALUES (1), (2)"},
		{text: "WITH a AS (SELECT 1 AS x), b AS (SELECT * FROM a) SELECT * FROM b"},
		{text: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT * FROM n"},
		{text: "SELECT * FROM INTERACTIONS i JOIN Emails e USING (email_id), range(3) LEFT JOIN recipients r ON true, links"},
		{text: "SELECT unnest([1, 2]), (SELECT max(event_id) FROM interactions)"},
		{text: "SELECT 1 UNION SELECT 2 ORDER BY 1 LIMIT 1"},
		{text: "SELECT '1) FROM x --'"},

		{"", "sql_not_select", "this is none"},
		{"-- nothing", "sql_not_select", "this is none"},
		{"SELECT 1; SELECT 2", "sql_not_select", "2 statements"},
		{"SELECT 1; DROP TABLE catalog_emails", "sql_not_select", ""},
		{"COPY (SELECT 1) TO " + literal(own) + "", "sql_not_select", ""},
		{"ATTACH '/tmp/x.db'", "sql_not_select", ""},
		{"INSERT INTO catalog_emails VALUES (1)", "sql_not_select", ""},
		{"DELETE FROM hot_1", "sql_not_select", ""},
		{"CREATE TABLE t AS SELECT 1", "sql_not_select", ""},
		{"SET threads = 1", "sql_not_select", ""},
		{"PRAGMA database_list", "sql_not_select", ""},
		{"", "sql_not_select", ""},
		{"CALL enable_logging()", "sql_not_select", ""},
		{"INSTALL httpfs", "sql_not_select", ""},
		{"LOAD json", "sql_not_select", ""},
		{"EXPLAIN SELECT 1", "sql_not_select", ""},

		{"SELEC 1", "sql_invalid", `Parser Error: syntax error at or near "SELEC" (line 1, column 1)`},
		{"SELECT 1 +", "sql_invalid", "end of input (line 1, column 11)"},
		{"SELECT 1) UNION ALL (SELECT 2", "sql_invalid", "line 1, column 9"},
		{"SELECT 1 /* open", "sql_invalid", "unterminated"},
		{"SELECT 'open", "sql_invalid", "unterminated"},
		{"SELECT email_id,\n  'ü', nosuch\nFROM interactions", "sql_invalid", `"nosuch" not found in FROM clause! Candidate bindings`},
		{"SELECT email_id,\n  'ü', nosuch\nFROM interactions", "sql_invalid", "(line 2, column 8)"},
		{"SELECT nosuch(1)", "sql_forbidden", "The function nosuch is not available. (line 1, column 8)"},
		{"WITH interactions AS (SELECT 1 AS mine) SELECT mine FROM interactions", "sql_forbidden", "that name is taken"},
		{"DESCRIBE interactions", "sql_forbidden", "SHOW REF is not available"},
		{"SUMMARIZE SELECT email_id FROM interactions", "sql_forbidden", "SHOW REF is not available"},
		{"SELECT kind + 1 FROM interactions", "sql_invalid", "Error"},
		{"SELECT 'a'::INTEGER", "sql_invalid", "Conversion Error"},
		{"SELECT pos FROM interactions", "sql_invalid", "pos"},
		{"SELECT $1", "sql_invalid", "parameters"},
		{"SELECT ?", "sql_invalid", "parameters"},
		{"SELECT 1 \x00", "sql_invalid", "NUL"},
		{"SELECT '" + strings.Repeat("x", maxStatement) + "'", "sql_invalid", "longer"},

		{"SELECT * FROM hot_1", "sql_forbidden", "There is no table hot_1; there are interactions, emails, recipients, links, attachments, templates, engagement, days. (line 1, column 15)"},
		{"SELECT * FROM main.emails", "sql_forbidden", ""},
		{"SELECT * FROM information_schema.tables", "sql_forbidden", ""},
		{"SELECT * FROM catalog_recipients", "sql_forbidden", ""},
		{"SELECT * FROM " + literal(own) + "", "sql_forbidden", ""},
		{"SELECT * FROM read_parquet(" + literal(own) + ")", "sql_forbidden", "read_parquet"},
		{"SELECT * FROM read_parquet(" + literal(other) + ")", "sql_forbidden", ""},
		{"SELECT * FROM parquet_metadata(" + literal(other) + ")", "sql_forbidden", ""},
		{"SELECT * FROM read_text('/etc/passwd')", "sql_forbidden", ""},
		{"SELECT * FROM '/etc/passwd'", "sql_forbidden", ""},
		{"SELECT (SELECT count(*) FROM read_csv('/etc/passwd'))", "sql_forbidden", ""},
		{"SELECT * FROM glob('/etc/*')", "sql_forbidden", ""},
		{"SELECT * FROM query('SELECT 1')", "sql_forbidden", ""},
		{"SELECT * FROM duckdb_settings()", "sql_forbidden", ""},
		{"WITH a AS (SELECT * FROM sniff_csv('/etc/passwd')) SELECT * FROM a", "sql_forbidden", ""},
	} {
		res, err := db.SQL(t.Context(), Statement{Org: 1, Text: c.text})
		if err == nil {
			res.Close()
			if c.code != "" {
				t.Errorf("%.80s: answered, want %s", c.text, c.code)
			}
			continue
		}
		if p := problem.Of(err); p.Code != c.code || !strings.Contains(p.Detail, c.detail) {
			t.Errorf("%.80s: %v, want %s … %s", c.text, err, c.code, c.detail)
		}
	}
	if got := ask(t, db, 1, census)[0]["n"]; got != int64(3) {
		t.Errorf("after all that there are %v events", got)
	}
}

// The instance refuses by itself what the gate would not let through.
func TestInstanceIsLocked(t *testing.T) {
	w := newWorld(t)
	db := w.open(nil)
	w.add(1, open1(1))
	w.flush(1, 1)
	w.add(2, open1(1))
	w.flush(2, 1)
	ask(t, db, 1, census)
	duck := db.mu.stores[1].duck
	own, other := w.orgs[1].files[0], w.orgs[2].files[0]
	if _, err := duck.ExecContext(t.Context(), "SELECT * FROM read_parquet("+literal(own)+")"); err != nil {
		t.Errorf("its own file: %v", err)
	}
	outside := filepath.Join(t.TempDir(), "out.csv")
	for _, text := range []string{
		"SELECT * FROM read_parquet(" + literal(other) + ")",
		"SELECT * FROM read_parquet(" + literal(filepath.Join(w.root, "o'1", "..", "o'2", "000001.parquet")) + ")",
		"SELECT * FROM " + literal(other),
		"SELECT * FROM read_text('/etc/passwd')",
		"SELECT * FROM glob('/etc/*')",
		"COPY (SELECT 1) TO " + literal(outside),
		"ATTACH " + literal(outside+".db"),
		"INSTALL httpfs",
		"LOAD httpfs",
		"SET enable_external_access = true",
		"SET allowed_directories = ['/']",
		"SET temp_directory = '/etc'",
		"SET memory_limit = '100GB'",
		"RESET lock_configuration",
		"CREATE PERSISTENT SECRET s (TYPE http)",
	} {
		if _, err := duck.ExecContext(t.Context(), text); err == nil {
			t.Errorf("%s: done", text)
		}
	}
}

func TestLimit(t *testing.T) {
	w := newWorld(t)
	db := w.open(func(o *Options) { o.MaxRows, o.MaxBytes = 5000, 1<<20 })
	for _, c := range []struct {
		limit, rows, want int
		truncated         bool
	}{
		{3, 2, 2, false}, {3, 3, 3, false}, {3, 4, 3, true}, {1, 1_000_000, 1, true},
		{3000, 3001, 3000, true}, {0, 5000, 5000, false}, {1 << 40, 5001, 5000, true}, {2048, 2049, 2048, true},
	} {
		text := strings.ReplaceAll("SELECT range AS i FROM range(N) ORDER BY i DESC", "N", strconv.Itoa(c.rows))
		res, err := db.SQL(t.Context(), Statement{Org: 1, Text: text, Limit: c.limit})
		if err != nil {
			t.Fatal(err)
		}
		if res.Rows() != c.want || res.Truncated() != c.truncated {
			t.Errorf("limit %d of %d: %d rows, truncated %v", c.limit, c.rows, res.Rows(), res.Truncated())
		}
		for i, row := range rowsOf(t, res, nil) {
			if row["i"] != int64(c.rows-1-i) {
				t.Fatalf("limit %d of %d: row %d is %v: the order is lost", c.limit, c.rows, i, row["i"])
			}
		}
	}
	for text, code := range map[string]string{
		"SELECT list(range) FROM range(1000000)": "result_too_large",
	} {
		if _, err := db.SQL(t.Context(), Statement{Org: 1, Text: text}); problem.Of(err).Code != code {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := db.SQL(t.Context(), Statement{Org: 1, Text: "SELECT 1", Limit: -1}); problem.Of(err).Code != "parameter_invalid" {
		t.Errorf("got %v", err)
	}
}

func TestMemoryLimit(t *testing.T) {
	w := newWorld(t)
	db := w.open(func(o *Options) { o.MemoryLimit = 64 << 20 })
	const text = "SELECT len(list(range)) FROM range(100000000)"
	if _, err := db.SQL(t.Context(), Statement{Org: 1, Text: text}); problem.Of(err).Code != "query_out_of_memory" {
		t.Errorf("got %v", err)
	}
	if got := ask(t, db, 1, census)[0]["n"]; got != int64(0) {
		t.Errorf("afterwards: %v", got)
	}
}

// A file that is missing, damaged or out of place is our mistake, not the caller's.
func TestBadFileIsInternal(t *testing.T) {
	for name, spoil := range map[string]func(string) error{
		"missing": os.Remove,
		"cut":     func(path string) error { return os.Truncate(path, 100) },
		"noise":   func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("PAR1", 99)), 0o600) },
		"outside": nil,
	} {
		w := newWorld(t)
		db := w.open(nil)
		w.add(1, open1(1))
		w.flush(1, 1)
		if spoil == nil {
			w.orgs[1].files[0] = filepath.Join(t.TempDir(), "000001.parquet")
			spoil = func(path string) error { return writeFile(path, []event.Interaction{open1(1)}) }
		}
		if err := spoil(w.orgs[1].files[0]); err != nil {
			t.Fatal(err)
		}
		_, err := db.SQL(t.Context(), Statement{Org: 1, Text: census})
		if p := problem.Of(err); err == nil || p.Code != "internal" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Depth must neither end the process nor pass the gate unseen.
func TestDeepStatements(t *testing.T) {
	db := newWorld(t).open(nil)
	deep := func(n int, open, middle, end string) string {
		return "SELECT " + strings.Repeat(open, n) + middle + strings.Repeat(end, n)
	}
	for _, text := range []string{
		deep(20_000, "(", "1", ")"), deep(20_000, "-", "1", ""), deep(20_000, "1+", "1", ""), deep(5_000, "(SELECT ", "1", ")"),
		deep(10_000, "[", "1", "]"), deep(5_000, "NOT ", "true", ""), deep(2_000, "CASE WHEN ", "true", " THEN true END"),
		deep(300, "1 UNION ALL SELECT ", "1", ""), deep(8_000, "abs(", "1", ")"), deep(3_000, "1 FROM (SELECT ", "1", ")"),
		deep(3_400, "1 UNION ALL SELECT ", "1 +", ""), deep(500, "1 FROM (SELECT ", "1", ")"),
	} {
		res, err := db.SQL(t.Context(), Statement{Org: 1, Text: text})
		if err == nil {
			res.Close()
		} else if code := problem.Of(err).Code; code != "sql_invalid" {
			t.Errorf("%.40s: %.300v", text, err)
		}
	}
}

func TestSourceErrorIsPassedOn(t *testing.T) {
	w := newWorld(t)
	db := w.open(func(o *Options) {
		o.Source = SourceFunc(func(context.Context, event.OrgID) (View, error) {
			return nil, problem.New(404, "org_not_found", "none")
		})
	})
	if _, err := db.SQL(t.Context(), Statement{Org: 1, Text: census}); problem.Of(err).Code != "org_not_found" {
		t.Errorf("got %v", err)
	}
	if _, err := db.KPI(t.Context(), Request{Org: 1, Name: "email_summary"}); problem.Of(err).Code != "org_not_found" || errors.Unwrap(err) == nil {
		t.Errorf("got %v", err)
	}
}
