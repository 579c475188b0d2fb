package retention

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"mailwake/engine/event"
)

// OrgPath is the organisation in a path. It is exported because huma looks into
// exported embedded fields only.
type OrgPath struct {
	Org string `path:"org" doc:"Name of the organisation." example:"acme"`
}

type body[T any] struct{ Body T }

// Planned is the answer to a question for the plan.
type Planned struct {
	At    time.Time `json:"at"`
	Steps []Step    `json:"steps" doc:"What maintenance will do, in the order of time. Nothing was changed."`
}

// Register adds the operations on maintenance; org finds an organisation by name.
// They are for administrators.
func Register(api huma.API, k *Keeper, org func(name string) (event.OrgID, error)) {
	tags := []string{"retention"}
	problems := map[string]any{"problems": []string{"org_not_found"}}
	leads := map[string]any{"problems": []string{"org_not_found", codeElsewhere, codeFailed}}
	status := func(ctx context.Context, id event.OrgID) (*body[*Status], error) {
		st, err := k.Status(ctx, id)
		return &body[*Status]{st}, err
	}
	huma.Register(api, huma.Operation{
		OperationID: "get-retention", Method: http.MethodGet, Path: "/v1/orgs/{org}/retention", Tags: tags, Metadata: problems,
		Summary: "Show how the maintenance of an organisation's data is going",
	}, func(ctx context.Context, in *OrgPath) (*body[*Status], error) {
		id, err := org(in.Org)
		if err != nil {
			return nil, err
		}
		return status(ctx, id)
	})
	huma.Register(api, huma.Operation{
		OperationID: "plan-retention", Method: http.MethodGet, Path: "/v1/orgs/{org}/retention/plan", Tags: tags, Metadata: problems,
		Summary: "Show what maintenance will rewrite and delete, when, and why",
	}, func(ctx context.Context, in *OrgPath) (*body[Planned], error) {
		id, err := org(in.Org)
		if err != nil {
			return nil, err
		}
		steps, err := k.Plan(ctx, id)
		return &body[Planned]{Planned{k.opts.Now(), steps}}, err
	})
	act := func(name, summary string, metadata map[string]any, do func(context.Context, event.OrgID) error) {
		huma.Register(api, huma.Operation{
			OperationID: name + "-retention", Method: http.MethodPost, Path: "/v1/orgs/{org}/retention/" + name, Tags: tags, Metadata: metadata, Summary: summary,
		}, func(ctx context.Context, in *OrgPath) (*body[*Status], error) {
			id, err := org(in.Org)
			if err == nil {
				err = do(ctx, id)
			}
			if err != nil {
				return nil, err
			}
			return status(ctx, id)
		})
	}
	act("run", "Run all maintenance of an organisation now; the answer comes when it is done", leads, k.Sweep)
	act("pause", "Start no maintenance of an organisation by itself until resumed or restarted", problems, k.Pause)
	act("resume", "Go on with maintenance", problems, k.Resume)
}
