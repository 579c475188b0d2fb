package ingest

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
	"mailwake/engine/wal"
)

// Org is an organisation as the API shows it.
type Org struct {
	Name      string    `json:"name" doc:"Name, as in paths."`
	Title     string    `json:"title" doc:"Name as people write it."`
	State     string    `json:"state" enum:"enabled,disabled,terminated" doc:"Whether emails can be followed and interactions are collected."`
	CreatedAt time.Time `json:"created_at"`
}

// NewOrg is the request to provision an organisation.
type NewOrg struct {
	Name  string `json:"name" doc:"Lower-case letters, digits and hyphens." maxLength:"63" example:"acme"`
	Title string `json:"title,omitempty" doc:"Name as people write it." maxLength:"200" example:"Acme Ltd"`
}

func orgOf(o registry.Org) Org {
	return Org{Name: o.Name, Title: o.Title, State: string(o.State), CreatedAt: o.CreatedAt.Time()}
}

// OrgPath is the organisation in a path. It is exported because huma looks into
// exported embedded fields only.
type OrgPath struct {
	Org string `path:"org" doc:"Name of the organisation." example:"acme"`
}

type body[T any] struct{ Body T }

// Flusher moves what is buffered of an organisation into its table.
type Flusher interface {
	Flush(ctx context.Context, org event.OrgID) error
}

// RegisterOrgs adds the operations on organisations. They are for administrators.
func RegisterOrgs(api huma.API, reg *registry.Registry, engine Flusher) {
	huma.Register(api, huma.Operation{
		OperationID: "create-org", Method: http.MethodPost, Path: "/v1/orgs", Tags: []string{"organisations"}, DefaultStatus: http.StatusCreated,
		Summary: "Provision an organisation", Errors: []int{401, 403, 409, 422},
	}, func(ctx context.Context, in *body[NewOrg]) (*body[Org], error) {
		o, err := reg.CreateOrg(ctx, registry.NewOrg{Name: in.Body.Name, Title: in.Body.Title})
		return &body[Org]{orgOf(o)}, err
	})
	huma.Register(api, huma.Operation{
		OperationID: "list-orgs", Method: http.MethodGet, Path: "/v1/orgs", Tags: []string{"organisations"},
		Summary: "List the organisations", Errors: []int{401, 403},
	}, func(_ context.Context, _ *struct{}) (*body[[]Org], error) {
		all := []Org{}
		for _, o := range reg.Orgs() {
			all = append(all, orgOf(o))
		}
		return &body[[]Org]{all}, nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "get-org", Method: http.MethodGet, Path: "/v1/orgs/{org}", Tags: []string{"organisations"},
		Summary: "Show an organisation", Errors: []int{401, 403, 404},
	}, func(_ context.Context, in *OrgPath) (*body[Org], error) {
		o, err := reg.OrgByName(in.Org)
		return &body[Org]{orgOf(o)}, err
	})
	huma.Register(api, huma.Operation{
		OperationID: "flush-org", Method: http.MethodPost, Path: "/v1/orgs/{org}/flush", Tags: []string{"organisations"},
		Summary: "Move what is buffered into the organisation's table now", Errors: []int{401, 403, 404, 503},
	}, func(ctx context.Context, in *OrgPath) (*body[Flushed], error) {
		o, err := reg.OrgByName(in.Org)
		if err != nil {
			return nil, err
		}
		if err := engine.Flush(ctx, o.ID); err != nil {
			return nil, problem.New(503, "storage_unavailable", "The storage did not take the data; it stays in the log and is tried again by itself.").Because(err)
		}
		return &body[Flushed]{Flushed{Flushed: true}}, nil
	})
}

// Flushed is the answer to a flush.
type Flushed struct {
	Flushed bool `json:"flushed" doc:"Everything recorded before the request is in the table."`
}

// unavailable turns the engine's refusals into problems.
func unavailable(err error) error {
	if errors.Is(err, wal.ErrFull) {
		return problem.New(503, "log_full", "The log has reached its limit because the storage does not take data; try again later.").Because(err)
	}
	if errors.Is(err, wal.ErrClosed) {
		return problem.New(503, "shutting_down", "The server is shutting down; try again soon.").Because(err)
	}
	return err
}
