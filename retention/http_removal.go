package retention

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// Removal is an erasure or a purge as the API shows it.
type Removal struct {
	ErasureID  int64            `json:"erasure_id,omitempty"`
	Org        string           `json:"org"`
	State      string           `json:"state" enum:"running,done" doc:"running: nothing is collected any more, and the removal goes on by itself."`
	StartedAt  time.Time        `json:"started_at"`
	FinishedAt *time.Time       `json:"finished_at,omitempty"`
	StepsDone  []string         `json:"steps_done"`
	StepsAll   int              `json:"steps_all"`
	Receipt    *json.RawMessage `json:"receipt,omitempty" doc:"Signed with the server's receipt key; keep it."`
	Page       string           `json:"page,omitempty" doc:"The receipt as people read it, in Markdown."`
}

func (r *Removal) fill(started, finished event.Micros, steps []registry.RemovalStep, receipt []byte, s *Signer) error {
	r.State, r.StartedAt, r.StepsDone = "running", started.Time(), []string{}
	for _, step := range steps {
		r.StepsDone = append(r.StepsDone, step.Step)
	}
	if finished == 0 {
		return nil
	}
	at := finished.Time()
	r.State, r.FinishedAt = "done", &at
	checked, err := CheckReceipt(receipt, s.Public())
	if err != nil {
		return err
	}
	raw := json.RawMessage(receipt)
	r.Receipt, r.Page = &raw, checked.Page()
	return nil
}

// WhoseBody says whom a request is about.
type WhoseBody struct {
	Kind       string `json:"kind,omitempty" enum:"contact,lead,account"`
	ExternalID string `json:"external_id,omitempty" maxLength:"256" doc:"With kind: a person by the sender's own id."`
	Recipient  int64  `json:"recipient_id,omitempty" minimum:"1" doc:"Instead: a recipient by number."`
	Address    string `json:"address,omitempty" maxLength:"320" doc:"Instead: a recipient by address."`
}

func (b *WhoseBody) whose() (w registry.Whose, err error) {
	ways := 0
	if b.Kind != "" || b.ExternalID != "" {
		ways++
		w.Key = registry.PersonKey{Kind: registry.PersonKind(b.Kind), ExternalID: b.ExternalID}
	}
	if b.Recipient != 0 {
		ways++
		w.Recipient = event.RecipientID(b.Recipient)
	}
	if b.Address != "" {
		ways++
		w.Address = b.Address
	}
	if ways != 1 {
		return w, problem.New(422, "whose_invalid", "Say whom, in one way: kind and external_id, recipient_id, or address.")
	}
	return w, nil
}

// PersonPath is a person in a path.
type PersonPath struct {
	OrgPath
	Kind       string `path:"kind" enum:"contact,lead,account"`
	ExternalID string `path:"external_id" maxLength:"256" doc:"The sender's own id of the person." example:"c-17"`
}

func (p *PersonPath) whose() (registry.Whose, error) {
	return registry.Whose{Key: registry.PersonKey{Kind: registry.PersonKind(p.Kind), ExternalID: p.ExternalID}}, nil
}

type whoseInput struct {
	OrgPath
	Body WhoseBody
}

// ErasurePath is an erasure in a path.
type ErasurePath struct {
	OrgPath
	ID int64 `path:"erasure" minimum:"1"`
}

// Texts are what a verification searches for besides rows and records.
type Texts struct {
	Texts []string `json:"texts,omitempty" maxItems:"100" doc:"Texts to search every byte for, such as the address, which the server does not know any more."`
}

type verifyInput struct {
	ErasurePath
	Body Texts
}

type removalsAPI struct {
	k   *Keeper
	org func(name string) (event.OrgID, error)
}

var (
	whoseProblems = []string{"org_not_found", "whose_invalid", "address_invalid", "person_not_found", "recipient_not_found", "recipient_erased", "registry_busy", "registry_unavailable"}
	removalTags   = []string{"retention"}
)

// RegisterRemovals adds the operations on erasures, exports of people and purges.
// They are for administrators.
func RegisterRemovals(api huma.API, k *Keeper, org func(name string) (event.OrgID, error)) {
	r := &removalsAPI{k, org}
	r.erasures(api)
	r.exports(api)
	huma.Register(api, huma.Operation{
		OperationID: "list-purges", Method: http.MethodGet, Path: "/v1/purges", Tags: removalTags,
		Summary: "List the deletions of whole organisations, with their certificates",
	}, func(ctx context.Context, _ *struct{}) (*body[[]Removal], error) {
		list, err := k.opts.Removals.Registry.Purges(ctx)
		out := make([]Removal, len(list))
		for i, p := range list {
			out[i] = Removal{Org: p.Name, StepsAll: len(purgeSteps)}
			if err == nil {
				err = out[i].fill(p.StartedAt, p.FinishedAt, p.Steps, p.Certificate, k.opts.Removals.Signer)
			}
		}
		return &body[[]Removal]{out}, err
	})
}

func (r *removalsAPI) erasures(api huma.API) {
	erase := func(ctx context.Context, org string, whose func() (registry.Whose, error)) (*body[Removal], error) {
		id, err := r.org(org)
		if err != nil {
			return nil, err
		}
		who, err := whose()
		if err != nil {
			return nil, err
		}
		e, err := r.k.Erase(ctx, id, who, registry.ByKey(registry.PrincipalOf(ctx).KeyID))
		if err != nil && e.ID == 0 {
			return nil, err
		}
		if err != nil { // under way: the Keeper goes on with it
			r.k.opts.Logger.Warn("an erasure is not done yet and goes on later", "org", id, "erasure", e.ID, "error", err)
			if e, err = r.k.opts.Removals.Registry.Erasure(context.WithoutCancel(ctx), id, e.ID); err != nil {
				return nil, err
			}
		}
		return r.removal(org, e)
	}
	huma.Register(api, huma.Operation{
		OperationID: "erase-person", Method: http.MethodDelete, Path: "/v1/orgs/{org}/people/{kind}/{external_id}", Tags: removalTags,
		Summary:     "Erase a person",
		Description: "From the moment this is durable nothing is collected of their addresses any more. The answer comes when everything is removed, or with state running when that has to wait for readers.",
		Metadata:    map[string]any{"problems": whoseProblems},
	}, func(ctx context.Context, in *PersonPath) (*body[Removal], error) {
		return erase(ctx, in.Org, in.whose)
	})
	huma.Register(api, huma.Operation{
		OperationID: "erase", Method: http.MethodPost, Path: "/v1/orgs/{org}/erasures", Tags: removalTags,
		Summary:     "Erase a person, or an address without a person's record",
		Description: "As erase-person; names may have any characters, and addresses stay out of the server's log of requests.",
		Metadata:    map[string]any{"problems": whoseProblems},
	}, func(ctx context.Context, in *whoseInput) (*body[Removal], error) {
		return erase(ctx, in.Org, in.Body.whose)
	})
	r.looks(api)
}

// looks adds the operations that show and verify erasures.
func (r *removalsAPI) looks(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "list-erasures", Method: http.MethodGet, Path: "/v1/orgs/{org}/erasures", Tags: removalTags,
		Summary: "List erasures with their receipts, newest first, at most 1,000",
	}, func(ctx context.Context, in *OrgPath) (*body[[]Removal], error) {
		id, err := r.org(in.Org)
		if err != nil {
			return nil, err
		}
		list, err := r.k.opts.Removals.Registry.Erasures(ctx, id)
		out := make([]Removal, 0, len(list))
		for _, e := range list {
			one, err := r.removal(in.Org, e)
			if err != nil {
				return nil, err
			}
			out = append(out, one.Body)
		}
		return &body[[]Removal]{out}, err
	})
	huma.Register(api, huma.Operation{
		OperationID: "get-erasure", Method: http.MethodGet, Path: "/v1/orgs/{org}/erasures/{erasure}", Tags: removalTags,
		Summary: "Show an erasure with its receipt", Metadata: map[string]any{"problems": []string{"erasure_not_found"}},
	}, func(ctx context.Context, in *ErasurePath) (*body[Removal], error) {
		id, err := r.org(in.Org)
		if err != nil {
			return nil, err
		}
		e, err := r.k.opts.Removals.Registry.Erasure(ctx, id, registry.ErasureID(in.ID))
		if err != nil {
			return nil, err
		}
		return r.removal(in.Org, e)
	})
	huma.Register(api, huma.Operation{
		OperationID: "verify-erasure", Method: http.MethodPost, Path: "/v1/orgs/{org}/erasures/{erasure}/verify", Tags: removalTags,
		Summary: "Search everything again for what an erasure removed", Metadata: map[string]any{"problems": []string{"erasure_not_found", "storage_unavailable"}},
	}, func(ctx context.Context, in *verifyInput) (*body[*ErasureVerified], error) {
		id, err := r.org(in.Org)
		if err != nil {
			return nil, err
		}
		v, err := r.k.VerifyErasure(ctx, id, registry.ErasureID(in.ID), in.Body.Texts)
		return &body[*ErasureVerified]{v}, err
	})
}

func (r *removalsAPI) removal(org string, e registry.Erasure) (*body[Removal], error) {
	out := &body[Removal]{Removal{ErasureID: int64(e.ID), Org: org, StepsAll: len(eraseSteps)}}
	return out, out.Body.fill(e.StartedAt, e.FinishedAt, e.Steps, e.Receipt, r.k.opts.Removals.Signer)
}

func (r *removalsAPI) exports(api huma.API) {
	export := func(ctx context.Context, org string, whose func() (registry.Whose, error)) (*body[*PersonExport], error) {
		id, err := r.org(org)
		if err != nil {
			return nil, err
		}
		who, err := whose()
		if err != nil {
			return nil, err
		}
		out, note, err := r.k.Export(ctx, id, who)
		if err != nil {
			return nil, err
		}
		return &body[*PersonExport]{out}, r.k.opts.Removals.Registry.NoteRead(ctx, note)
	}
	huma.Register(api, huma.Operation{
		OperationID: "export-person", Method: http.MethodGet, Path: "/v1/orgs/{org}/people/{kind}/{external_id}/export", Tags: removalTags,
		Summary:     "Export everything held of a person",
		Description: "For requests for access; works in every state of the organisation, and is noted in the access log.",
		Metadata:    map[string]any{"problems": whoseProblems},
	}, func(ctx context.Context, in *PersonPath) (*body[*PersonExport], error) {
		return export(ctx, in.Org, in.whose)
	})
	huma.Register(api, huma.Operation{
		OperationID: "export-anyone", Method: http.MethodPost, Path: "/v1/orgs/{org}/exports", Tags: removalTags,
		Summary: "Export everything held of a person, or of an address without a person's record", Metadata: map[string]any{"problems": whoseProblems},
	}, func(ctx context.Context, in *whoseInput) (*body[*PersonExport], error) {
		return export(ctx, in.Org, in.Body.whose)
	})
}
