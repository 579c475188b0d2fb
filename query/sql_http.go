package query

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"mailwake/engine/registry"
)

// tableRows bounds a result that is written as aligned text, which has to be seen
// whole before its first line.
const tableRows = 10_000

// readers may run statements: those of RoleAggregateAnalyst see totals only.
var readers = []registry.Role{registry.RoleAnalyst, registry.RoleAggregateAnalyst}

func (o HTTPOptions) registerSQL(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "run-sql", Method: http.MethodPost, Path: "/v1/orgs/{org}/sql", Tags: []string{"query"},
		Metadata: map[string]any{"roles": readers, "problems": sqlProblems},
		Summary:  "Run one SELECT over the published tables",
		Description: "A result cut off at the limit has the header " + truncatedHeader + ": true. Of a large result, which is sent while it is made, " +
			rowsHeader + " and " + truncatedHeader + " are trailers; an answer that breaks off is not whole.",
		Responses: rowResponses(),
	}, o.sql)
	huma.Register(api, huma.Operation{
		OperationID: "get-sql-schema", Method: http.MethodGet, Path: "/v1/orgs/{org}/sql/schema", Tags: []string{"query"},
		Metadata: map[string]any{"roles": readers, "problems": []string{"feature_disabled"}},
		Summary:  "List the tables and functions that statements of this key may name",
	}, o.sqlSchema)
}

type schemaInput struct {
	Org string `path:"org" doc:"name of the organisation"`
}

type schemaOutput struct{ Body SQLSchema }

// SQLSchema is what statements may name.
type SQLSchema struct {
	Tables    []TableDoc `json:"tables"`
	Functions []string   `json:"functions" doc:"names of functions, sorted"`
}

func (o HTTPOptions) sqlSchema(ctx context.Context, in *schemaInput) (*schemaOutput, error) {
	org, err := o.readable(ctx, in.Org)
	if err != nil {
		return nil, err
	}
	out := SQLSchema{Tables: TotalsSchema(), Functions: functionNames()}
	if o.Persons != nil && o.Persons(ctx, org) {
		out.Tables = Schema()
	}
	return &schemaOutput{Body: out}, nil
}

// functionNames are the functions that have a name of letters.
func functionNames() []string {
	var names []string
	for name := range functions {
		if plainName.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

type sqlInput struct {
	Org    string `path:"org" doc:"name of the organisation"`
	Format string `query:"format" doc:"json, ndjson, csv, arrow, parquet or table; before Accept"`
	Accept string `header:"Accept"`
	Body   struct {
		SQL   string `json:"sql" doc:"one SELECT" example:"SELECT kind, count(*) AS n FROM interactions GROUP BY kind"`
		Limit int    `json:"limit,omitempty" doc:"most rows returned; 0 is 10,000"`
	}
}

func (o HTTPOptions) sql(ctx context.Context, in *sqlInput) (*huma.StreamResponse, error) {
	org, err := o.readable(ctx, in.Org)
	if err != nil {
		return nil, err
	}
	format, err := chosen(in.Format, in.Accept)
	if err != nil {
		return nil, err
	}
	st := Statement{Org: org, Persons: o.Persons != nil && o.Persons(ctx, org), Text: in.Body.SQL, Limit: in.Body.Limit}
	if format == Table {
		st.Limit = min(st.Limit, tableRows)
	}
	if st.Persons && o.NoteRead != nil {
		if err := o.NoteRead(ctx, registry.Read{Org: org, What: "sql"}); err != nil {
			return nil, err
		}
	}
	res, err := o.DB.SQL(ctx, st)
	if err != nil {
		return nil, err
	}
	return stream(res, format)
}

// stream writes a result as it comes. Of one that is whole the number of rows is a
// header, of any other a trailer.
func stream(res *Result, format Format) (*huma.StreamResponse, error) {
	if err := res.writable(format); err != nil {
		res.Close()
		return nil, err
	}
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		defer res.Close()
		ctx.SetHeader("Content-Type", format.ContentType())
		ctx.SetHeader("Vary", "Accept")
		whole := res.Whole()
		if whole {
			countRows(ctx, res)
		} else {
			ctx.SetHeader("Trailer", rowsHeader+", "+truncatedHeader)
		}
		ctx.SetStatus(http.StatusOK)
		if err := res.Write(ctx.BodyWriter(), format); err != nil {
			// The status is out: only a broken connection tells the client that the
			// answer is not whole.
			panic(http.ErrAbortHandler)
		}
		if !whole {
			countRows(ctx, res)
		}
	}}, nil
}

func countRows(ctx huma.Context, res *Result) {
	ctx.SetHeader(rowsHeader, strconv.Itoa(res.Rows()))
	ctx.SetHeader(truncatedHeader, strconv.FormatBool(res.Truncated()))
}
