package ingest

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
	"mailwake/engine/wal"
)

// Org is an organisation as the API shows it.
type Org struct {
	Name         string     `json:"name" doc:"Name, as in paths."`
	Title        string     `json:"title" doc:"Name as people write it."`
	State        string     `json:"state" enum:"enabled,disabled,terminated" doc:"Whether emails can be followed, and collected data is collected and readable."`
	CreatedAt    time.Time  `json:"created_at"`
	TerminatedAt *time.Time `json:"terminated_at,omitempty" doc:"When the subscription ended."`
	PurgeAt      *time.Time `json:"purge_at,omitempty" doc:"From when on everything of the organisation is deleted, unless it resubscribes before."`
	Policy       Policy     `json:"policy"`
}

// Policy is an organisation's choice of how consent and age are dealt with.
type Policy struct {
	Unknown      string `json:"unknown" enum:"opt_out,opt_in" doc:"What holds for who has not answered: opt_out follows until refused, opt_in only once allowed."`
	OnRefusal    string `json:"on_refusal" enum:"block,follow_others" doc:"What one refusing recipient does to an email: block it, or follow the others and send that one the plain mail."`
	OnWithdrawal string `json:"on_withdrawal" enum:"hide,purge" doc:"What a refusal does to what was collected before: hide it at once and purge it after hide_days, or purge it at the next compaction."`
	HideDays     int    `json:"hide_days" doc:"Days from hiding to purging."`
	MaxAgeDays   int    `json:"max_age_days" doc:"Age in days at which interactions are purged; 0: no limit."`
	Zone         string `json:"zone" doc:"IANA name of the time zone of reports." example:"Europe/Berlin"`
	SmartReplies bool   `json:"smart_replies" doc:"Whether replies without a token are matched by what is in them."`
}

// PolicyPatch changes the fields of a policy that it has.
type PolicyPatch struct {
	Unknown      *string `json:"unknown,omitempty" enum:"opt_out,opt_in"`
	OnRefusal    *string `json:"on_refusal,omitempty" enum:"block,follow_others"`
	OnWithdrawal *string `json:"on_withdrawal,omitempty" enum:"hide,purge"`
	HideDays     *int    `json:"hide_days,omitempty" minimum:"0" maximum:"36500"`
	MaxAgeDays   *int    `json:"max_age_days,omitempty" minimum:"0" maximum:"36500"`
	Zone         *string `json:"zone,omitempty" maxLength:"64" example:"Europe/Berlin"`
	SmartReplies *bool   `json:"smart_replies,omitempty"`
}

// OrgPatch is the request to change an organisation.
type OrgPatch struct {
	Policy PolicyPatch `json:"policy" doc:"Fields left out stay as they are."`
}

// NewOrg is the request to provision an organisation.
type NewOrg struct {
	Name  string `json:"name" doc:"Lower-case letters, digits and hyphens." maxLength:"63" example:"acme"`
	Title string `json:"title,omitempty" doc:"Name as people write it." maxLength:"200" example:"Acme Ltd"`
}

func orgOf(o registry.Org) Org {
	p := o.Policy
	return Org{
		Name: o.Name, Title: o.Title, State: string(o.State), CreatedAt: o.CreatedAt.Time(),
		TerminatedAt: timeOf(o.TerminatedAt), PurgeAt: timeOf(o.PurgeAt),
		Policy: Policy{
			Unknown: string(p.Unknown), OnRefusal: string(p.OnRefusal), OnWithdrawal: string(p.OnWithdrawal),
			HideDays: p.HideDays, MaxAgeDays: p.MaxAgeDays, Zone: p.Zone, SmartReplies: p.SmartReplies,
		},
	}
}

// apply returns p with the fields that the patch has.
func (patch *PolicyPatch) apply(p registry.Policy) registry.Policy {
	set(&p.Unknown, (*registry.UnknownPolicy)(patch.Unknown))
	set(&p.OnRefusal, (*registry.RefusalPolicy)(patch.OnRefusal))
	set(&p.OnWithdrawal, (*registry.WithdrawalPolicy)(patch.OnWithdrawal))
	set(&p.HideDays, patch.HideDays)
	set(&p.MaxAgeDays, patch.MaxAgeDays)
	set(&p.Zone, patch.Zone)
	set(&p.SmartReplies, patch.SmartReplies)
	return p
}

func set[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
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

var orgTags = []string{"organisations"}

// anyRole may call operations that show nothing of persons.
var anyRole = []registry.Role{
	registry.RoleSender, registry.RoleIngest, registry.RoleAnalyst, registry.RoleAggregateAnalyst,
}

// RegisterOrgs adds the operations on organisations. They are for administrators,
// save that every key sees its own organisation.
func RegisterOrgs(api huma.API, reg *registry.Registry, engine Flusher) {
	huma.Register(api, huma.Operation{
		OperationID: "create-org", Method: http.MethodPost, Path: "/v1/orgs", Tags: orgTags, DefaultStatus: http.StatusCreated,
		Summary:  "Provision an organisation",
		Metadata: map[string]any{"problems": append([]string{"org_name_invalid", "org_title_invalid", "org_exists"}, changes...)},
	}, func(ctx context.Context, in *body[NewOrg]) (*body[Org], error) {
		o, err := reg.CreateOrg(ctx, registry.NewOrg{Name: in.Body.Name, Title: in.Body.Title, By: actor(ctx)})
		return &body[Org]{orgOf(o)}, err
	})
	huma.Register(api, huma.Operation{
		OperationID: "list-orgs", Method: http.MethodGet, Path: "/v1/orgs", Tags: orgTags,
		Summary: "List the organisations",
	}, func(_ context.Context, _ *struct{}) (*body[[]Org], error) {
		all := []Org{}
		for _, o := range reg.Orgs() {
			all = append(all, orgOf(o))
		}
		return &body[[]Org]{all}, nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "get-org", Method: http.MethodGet, Path: "/v1/orgs/{org}", Tags: orgTags,
		Summary: "Show an organisation", Metadata: map[string]any{"roles": anyRole},
	}, func(_ context.Context, in *OrgPath) (*body[Org], error) {
		o, err := reg.OrgByName(in.Org)
		return &body[Org]{orgOf(o)}, err
	})
	huma.Register(api, huma.Operation{
		OperationID: "flush-org", Method: http.MethodPost, Path: "/v1/orgs/{org}/flush", Tags: orgTags,
		Summary:  "Move what is buffered into the organisation's table now",
		Metadata: map[string]any{"problems": []string{"storage_unavailable"}},
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
	registerTransitions(api, reg)
	registerPolicy(api, reg)
}

// registerTransitions adds the steps of an organisation's life.
func registerTransitions(api huma.API, reg *registry.Registry) {
	for _, t := range []struct {
		action               registry.OrgAction
		summary, description string
	}{
		{registry.OrgEnable, "Switch following on again", "Everything collected before is readable again."},
		{registry.OrgDisable, "Switch following off", "New emails cannot be followed and interactions are no longer recorded, also of emails already sent, whose links go on working. What was collected stays, and cannot be read until following is switched on again."},
		{registry.OrgTerminate, "End the subscription", "As switched off; from purge_at on, everything of the organisation is deleted."},
		{registry.OrgResubscribe, "Take the subscription up again", "Until purge_at; everything is there again."},
	} {
		verb := string(t.action)
		huma.Register(api, huma.Operation{
			OperationID: verb + "-org", Method: http.MethodPost, Path: "/v1/orgs/{org}:" + verb, Tags: orgTags,
			Summary: t.summary, Description: t.description,
			Metadata: map[string]any{"problems": append([]string{"org_transition_invalid"}, changes...)},
		}, func(ctx context.Context, in *OrgPath) (*body[Org], error) {
			o, err := reg.OrgByName(in.Org)
			if err != nil {
				return nil, err
			}
			o, err = reg.ChangeOrg(ctx, o.ID, t.action, actor(ctx))
			return &body[Org]{orgOf(o)}, err
		})
	}
}

type patchInput struct {
	OrgPath
	Body OrgPatch
}

func registerPolicy(api huma.API, reg *registry.Registry) {
	var oneAtATime sync.Mutex // a patch reads the policy, then writes it
	huma.Register(api, huma.Operation{
		OperationID: "patch-org", Method: http.MethodPatch, Path: "/v1/orgs/{org}", Tags: orgTags,
		Summary:  "Change an organisation's policy",
		Metadata: map[string]any{"problems": append([]string{"policy_invalid"}, changes...)},
	}, func(ctx context.Context, in *patchInput) (*body[Org], error) {
		oneAtATime.Lock()
		defer oneAtATime.Unlock()
		o, err := reg.OrgByName(in.Org)
		if err != nil {
			return nil, err
		}
		o, err = reg.SetPolicy(ctx, o.ID, in.Body.Policy.apply(o.Policy), actor(ctx))
		return &body[Org]{orgOf(o)}, err
	})
}

// actor is who makes a change by the API.
func actor(ctx context.Context) registry.Actor {
	return registry.ByKey(registry.PrincipalOf(ctx).KeyID)
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
