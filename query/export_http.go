package query

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"mailwake/engine/registry"
)

func (o HTTPOptions) registerExport(api huma.API) {
	content := map[string]*huma.MediaType{}
	for _, f := range []Format{NDJSON, Parquet} {
		content[f.ContentType()] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	}
	huma.Register(api, huma.Operation{
		OperationID: "export", Method: http.MethodGet, Path: "/v1/orgs/{org}/export", Tags: []string{"query"},
		Metadata: map[string]any{"roles": []registry.Role{registry.RoleAdmin}, "problems": []string{
			"feature_disabled", "format_unknown", "query_timeout", "query_closed", "registry_busy", "registry_unavailable"}},
		Summary: "Export all interactions",
		Description: "In no particular order, without those of recipients who do not allow it. A terminated organisation's are exported too until they are purged. " +
			"An answer that breaks off is not whole.",
		Responses: map[string]*huma.Response{"200": {Description: "The interactions.", Content: content}},
	}, o.export)
}

type exportInput struct {
	Org    string `path:"org" doc:"name of the organisation"`
	Format string `query:"format" doc:"ndjson or parquet" default:"ndjson"`
}

func (o HTTPOptions) export(ctx context.Context, in *exportInput) (*huma.StreamResponse, error) {
	org, err := o.Org(ctx, in.Org)
	if err != nil {
		return nil, err
	}
	format := Format(in.Format)
	if err := exportFormat(format); err != nil {
		return nil, err
	}
	if o.NoteRead != nil {
		if err := o.NoteRead(ctx, registry.Read{Org: org, What: "export"}); err != nil {
			return nil, err
		}
	}
	e, err := o.DB.Export(ctx, org)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		defer e.Close()
		ctx.SetHeader("Content-Type", format.ContentType())
		ctx.SetStatus(http.StatusOK)
		if err := e.Write(ctx.BodyWriter(), format); err != nil {
			// As with rows: a broken connection says that the answer is not whole.
			panic(http.ErrAbortHandler)
		}
	}}, nil
}
