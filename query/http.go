package query

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// HTTPOptions wires the HTTP interface.
type HTTPOptions struct {
	DB *DB
	// Org resolves an organisation's name for the caller; its errors are answered as
	// they are. Authorisation is a middleware's, before handlers run.
	Org func(ctx context.Context, name string) (event.OrgID, error)
	// Persons says whether the caller may see single recipients in answers; nil is
	// nobody.
	Persons func(ctx context.Context, org event.OrgID) bool
	// NoteRead hears of each read that may show persons, before it runs; an error
	// refuses it. Nil is for tests.
	NoteRead func(ctx context.Context, read registry.Read) error
}

// Headers of answers with rows.
const (
	rowsHeader      = "Mailwake-Rows"
	truncatedHeader = "Mailwake-Truncated"
)

// analysts may read KPIs: those of RoleAggregateAnalyst see figures of many only.
var analysts = []registry.Role{registry.RoleAnalyst, registry.RoleAggregateAnalyst}

// Problems that operations answer, beside those of the whole API.
var (
	rowProblems = []string{
		"feature_disabled", "format_unknown", "format_unsupported", "result_too_large", "query_closed", "query_out_of_memory",
		"registry_busy", "registry_unavailable",
	}
	kpiProblems = append([]string{"kpi_not_found", "kpi_about_persons", "query_timeout", "parameter_invalid", "parameter_missing", "parameter_unknown"}, rowProblems...)
	sqlProblems = append([]string{"parameter_invalid", "sql_invalid", "sql_not_select", "sql_forbidden", "sql_failed", "sql_timeout", "sql_worker_ended"}, rowProblems...)
)

// Register adds the operations list-kpis, get-kpi and run-sql to api. Handlers
// return problems as they are; the API's error hook gives them their form.
func Register(api huma.API, o HTTPOptions) {
	huma.Register(api, huma.Operation{
		OperationID: "list-kpis", Method: http.MethodGet, Path: "/v1/orgs/{org}/kpis", Tags: []string{"query"},
		Metadata: map[string]any{"roles": analysts, "problems": []string{"feature_disabled"}},
		Summary:  "List the KPIs with their parameters and columns",
	}, o.list)
	huma.Register(api, huma.Operation{
		OperationID: "get-kpi", Method: http.MethodGet, Path: "/v1/orgs/{org}/kpis/{name}", Tags: []string{"query"},
		Metadata: map[string]any{"roles": analysts, "problems": kpiProblems},
		Summary:  "Compute a KPI as of now",
		Description: "Parameters of the KPI are query parameters; the catalogue lists them. An answer's ETag is the same until anything that it depends on changes. " +
			"With a key that may not see persons, figures are rounded to multiples of k (10 unless the server says otherwise) at places that are secret and stay the same, " +
			"only some below 3k and none below k are shown, rates are of these, and what may be a single person's is null: times, and numbers of events.",
		Responses: kpiResponses(),
	}, o.kpi)
	o.registerSQL(api)
	o.registerExport(api)
}

// rowResponses describes an answer with rows in every format.
func rowResponses() map[string]*huma.Response {
	content := map[string]*huma.MediaType{}
	for _, f := range formats {
		content[f.types[0]] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	}
	content["application/json"].Schema = &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeObject}}
	return map[string]*huma.Response{"200": {Description: "The rows, in the format asked for by Accept or format.", Content: content}}
}

func kpiResponses() map[string]*huma.Response {
	responses := rowResponses()
	responses["304"] = &huma.Response{Description: "If-None-Match has the ETag of the answer."}
	return responses
}

type listInput struct {
	Org string `path:"org" doc:"name of the organisation"`
}

type listOutput struct{ Body []KPI }

// readable resolves the name of an organisation whose data may be read; nothing
// else is said of any other.
func (o HTTPOptions) readable(ctx context.Context, name string) (event.OrgID, error) {
	org, err := o.Org(ctx, name)
	if err != nil {
		return 0, err
	}
	return org, o.DB.Readable(org)
}

func (o HTTPOptions) list(ctx context.Context, in *listInput) (*listOutput, error) {
	if _, err := o.readable(ctx, in.Org); err != nil {
		return nil, err
	}
	return &listOutput{Body: o.DB.KPIs()}, nil
}

type kpiInput struct {
	Org    string `path:"org" doc:"name of the organisation"`
	Name   string `path:"name" doc:"name of the KPI"`
	Format string `query:"format" doc:"json, ndjson, csv, arrow, parquet or table; before Accept"`
	Accept string `header:"Accept"`
	Seen   string `header:"If-None-Match" doc:"ETags of answers that the caller has"`

	query url.Values
}

// Resolve keeps the query, whose names depend on the KPI.
func (in *kpiInput) Resolve(ctx huma.Context) []error {
	u := ctx.URL()
	in.query = u.Query()
	return nil
}

func (o HTTPOptions) kpi(ctx context.Context, in *kpiInput) (*huma.StreamResponse, error) {
	org, err := o.readable(ctx, in.Org)
	if err != nil {
		return nil, err
	}
	format, err := chosen(in.Format, in.Accept)
	if err != nil {
		return nil, err
	}
	params := map[string]string{}
	for name, values := range in.query {
		if name == "format" {
			continue
		}
		if len(values) != 1 {
			return nil, problem.New(400, "parameter_invalid", "The parameter %q is given %d times.", name, len(values))
		}
		params[name] = values[0]
	}
	r := Request{Org: org, Name: in.Name, Params: params, Persons: o.Persons != nil && o.Persons(ctx, org)}
	if err := o.note(ctx, r); err != nil {
		return nil, err
	}
	r.Seen = tagsOf(in.Seen, format)
	res, err := o.DB.KPI(ctx, r)
	if err != nil {
		return nil, err
	}
	answer := notModified
	if !res.Unchanged() {
		if answer, err = stream(res, format); err != nil {
			return nil, err
		}
	}
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		if res.Tag != "" {
			ctx.SetHeader("ETag", `W/"`+res.Tag+"-"+string(format)+`"`)
		}
		ctx.SetHeader("Cache-Control", "private, no-cache")
		answer.Body(ctx)
	}}, nil
}

// notModified answers a caller who has the answer.
var notModified = &huma.StreamResponse{Body: func(ctx huma.Context) {
	ctx.SetHeader("Vary", "Accept")
	ctx.SetStatus(http.StatusNotModified)
}}

// tagsOf returns the tags of an If-None-Match header that are of this format. An
// ETag is weak: the same rows, perhaps in other bytes.
func tagsOf(header string, format Format) []string {
	var tags []string
	for part := range strings.SplitSeq(header, ",") {
		part = strings.Trim(strings.TrimPrefix(strings.TrimSpace(part), "W/"), `"`)
		if tag, ok := strings.CutSuffix(part, "-"+string(format)); ok {
			tags = append(tags, tag)
		}
	}
	return tags
}

// note tells NoteRead of a KPI about single persons. One that will be refused for
// its parameters is noted too.
func (o HTTPOptions) note(ctx context.Context, r Request) error {
	k, err := o.DB.find(r.Name)
	if err != nil || !k.aboutPersons() || !r.Persons || o.NoteRead == nil {
		return err
	}
	id := func(name string) int64 {
		n, err := strconv.ParseInt(r.Params[name], 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	return o.NoteRead(ctx, registry.Read{
		Org: r.Org, What: "kpi " + k.Name, Recipient: event.RecipientID(id("recipient")), Email: event.EmailID(id("email")),
	})
}

func chosen(name, accept string) (Format, error) {
	if name != "" {
		return ParseFormat(name)
	}
	return Negotiate(accept), nil
}
