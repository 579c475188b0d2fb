package query

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/humatest"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// told is a problem as the wiring of the private plane gives it to huma.
type told struct {
	Code, Detail string
	status       int
}

func (e told) Error() string  { return e.Code }
func (e told) GetStatus() int { return e.status }

func newAPI(t *testing.T) (*world, humatest.TestAPI) {
	t.Helper()
	w := newWorld(t)
	_, api := humatest.New(t, huma.DefaultConfig("test", "1"))
	Register(api, HTTPOptions{DB: w.open(nil), Persons: func(context.Context, event.OrgID) bool { return true }, Org: func(_ context.Context, name string) (event.OrgID, error) {
		if name != "acme" {
			return 0, problem.New(404, "org_not_found", "There is no organisation %q.", name)
		}
		return 1, nil
	}})
	return w, api
}

func TestHTTP(t *testing.T) {
	w, api := newAPI(t)
	w.org(1).emails = []registry.Email{{ID: 1, Subject: "=cmd"}, {ID: 2, Subject: "two"}}
	w.add(1, open1(1), open1(7), open1(8))
	for _, c := range []struct {
		path, accept, kind, body string
	}{
		{"email_summary?email=1", "", "application/json", `"email_id":1,"subject":"=cmd"`},
		{"email_summary?email=1", "text/csv", "text/csv; charset=utf-8", "\n1,'=cmd,"},
		{"email_summary?email=1&format=ndjson", "text/csv", "application/x-ndjson", `{"email_id":1,`},
		{"email_summary?limit=1", "application/x-ndjson", "application/x-ndjson", `{"email_id":2,`},
		{"email_timeline?bucket=day&zone=UTC&format=table", "", "text/plain; charset=utf-8", "bucket_start"},
		{"organisation_summary", "application/vnd.apache.parquet", "application/vnd.apache.parquet", "PAR1"},
		{"organisation_summary", "application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.stream", "openers_human"},
	} {
		res := api.Get("/v1/orgs/acme/kpis/"+c.path, "Accept: "+c.accept)
		if res.Code != 200 || res.Header().Get("Content-Type") != c.kind || !strings.Contains(res.Body.String(), c.body) {
			t.Errorf("%s %s: %d %v %.200s", c.path, c.accept, res.Code, res.Header(), res.Body)
		}
	}
	res := api.Post("/v1/orgs/acme/sql", map[string]any{"sql": "SELECT event_id FROM interactions ORDER BY 1", "limit": 2})
	if res.Code != 200 || res.Header().Get("Mailwake-Truncated") != "true" || res.Header().Get("Mailwake-Rows") != "2" || res.Body.String() != "[\n{\"event_id\":1},\n{\"event_id\":7}\n]\n" {
		t.Errorf("sql: %d %v %s", res.Code, res.Header(), res.Body)
	}
	list := api.Get("/v1/orgs/acme/kpis")
	var kpis []KPI
	if err := json.Unmarshal(list.Body.Bytes(), &kpis); err != nil || len(kpis) < 15 || kpis[0].Name != "attachment_table" || kpis[0].Params[0].Name != "email" || kpis[0].Columns[0].Type != "bigint" {
		t.Errorf("list: %d %v %v", list.Code, kpis, err)
	}
	if strings.Contains(list.Body.String(), "SELECT") {
		t.Error("the catalogue shows its SQL")
	}
}

func TestHTTPProblems(t *testing.T) {
	_, api := newAPI(t)
	before := huma.NewErrorWithContext
	defer func() { huma.NewErrorWithContext = before }()
	huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
		if len(errs) == 1 && problem.Of(errs[0]).Code != "internal" {
			p := problem.Of(errs[0])
			return told{p.Code, p.Detail, p.Status}
		}
		return before(ctx, status, msg, errs...)
	}
	sql := func(text string) any { return map[string]any{"sql": text} }
	for _, c := range []struct {
		method, path string
		body         any
		status       int
		code         string
	}{
		{http.MethodGet, "/v1/orgs/other/kpis", nil, 404, "org_not_found"},
		{http.MethodGet, "/v1/orgs/other/kpis/email_summary", nil, 404, "org_not_found"},
		{http.MethodPost, "/v1/orgs/other/sql", sql("SELECT 1"), 404, "org_not_found"},
		{http.MethodGet, "/v1/orgs/acme/kpis/nothing", nil, 404, "kpi_not_found"},
		{http.MethodGet, "/v1/orgs/acme/kpis/email_summary?emial=1", nil, 400, "parameter_unknown"},
		{http.MethodGet, "/v1/orgs/acme/kpis/email_summary?email=1&email=2", nil, 400, "parameter_invalid"},
		{http.MethodGet, "/v1/orgs/acme/kpis/email_summary?format=xml", nil, 400, "format_unknown"},
		{http.MethodPost, "/v1/orgs/acme/sql", sql("DROP TABLE x"), 400, "sql_not_select"},
		{http.MethodPost, "/v1/orgs/acme/sql", sql("SELECT * FROM '/etc/passwd'"), 403, "sql_forbidden"},
		{http.MethodPost, "/v1/orgs/acme/sql?format=parquet", sql("SELECT INTERVAL 1 DAY AS i"), 406, "format_unsupported"},
		{http.MethodPost, "/v1/orgs/acme/sql", map[string]any{"query": 1}, 422, ""},
	} {
		var args []any
		if c.body != nil {
			args = append(args, c.body)
		}
		res := api.Do(c.method, c.path, args...)
		if res.Code != c.status || !strings.Contains(res.Body.String(), c.code) {
			t.Errorf("%s %s: %d %s", c.method, c.path, res.Code, res.Body)
		}
	}
}

func TestOpenAPIListsFormats(t *testing.T) {
	_, api := newAPI(t)
	for path, item := range api.OpenAPI().Paths {
		op := item.Get
		if op == nil {
			op = item.Post
		}
		if strings.HasSuffix(path, "/kpis") || strings.HasSuffix(path, "/export") || strings.HasSuffix(path, "/schema") {
			continue
		}
		if got := len(op.Responses["200"].Content); got != len(formats) {
			t.Errorf("%s names %d formats", path, got)
		}
	}
}
