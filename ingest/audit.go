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
)

// Audit is an organisation's audit trail.
type Audit struct {
	Changes []OrgChange `json:"changes" doc:"Every change of the organisation's state and policy, oldest first."`
	Reads   []Read      `json:"reads" doc:"Who looked at data about persons, newest first."`
}

// OrgChange is one change of an organisation's state or policy.
type OrgChange struct {
	At     time.Time `json:"at"`
	By     string    `json:"by" enum:"key,recipient,import,system" doc:"What kind of party made it."`
	KeyID  int64     `json:"key_id,omitempty"`
	Action string    `json:"action" enum:"provision,enable,disable,terminate,resubscribe,policy"`
	From   string    `json:"from,omitempty" doc:"State before; for policy, the policy before, as JSON."`
	To     string    `json:"to"`
}

// Read is one look at data about persons.
type Read struct {
	ID         int64     `json:"id"`
	At         time.Time `json:"at"`
	KeyID      int64     `json:"key_id"`
	What       string    `json:"what" doc:"What kind of data: people, person, preferences, ledger, kpi NAME, sql, …"`
	Kind       string    `json:"kind,omitempty" doc:"Of the person looked at."`
	ExternalID string    `json:"external_id,omitempty" doc:"Of the person looked at."`
	PersonID   int64     `json:"person_id,omitempty"`
	Recipient  int64     `json:"recipient_id,omitempty"`
	Email      int64     `json:"email_id,omitempty"`
}

type auditInput struct {
	OrgPath
	Limit  int   `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Reads at most."`
	Before int64 `query:"before" minimum:"0" doc:"Only reads with a lower id: the last one of the page before."`
}

// RegisterAudit adds the operation that shows an organisation's audit trail.
func RegisterAudit(api huma.API, reg *registry.Registry) {
	huma.Register(api, huma.Operation{
		OperationID: "audit-org", Method: http.MethodGet, Path: "/v1/orgs/{org}/audit", Tags: orgTags,
		Summary: "Show who changed the organisation and who looked at data about persons",
	}, func(ctx context.Context, in *auditInput) (*body[Audit], error) {
		org, err := reg.OrgByName(in.Org)
		if err != nil {
			return nil, err
		}
		history, err := reg.OrgHistory(ctx, org.ID)
		if err != nil {
			return nil, err
		}
		reads, err := reg.Reads(ctx, org.ID, in.Limit, in.Before)
		if err != nil {
			return nil, err
		}
		out := Audit{Changes: []OrgChange{}, Reads: []Read{}}
		for _, e := range history {
			out.Changes = append(out.Changes, OrgChange{
				At: e.At.Time(), By: string(e.Actor.Kind), KeyID: e.Actor.KeyID, Action: string(e.Action), From: e.From, To: e.To,
			})
		}
		for _, r := range reads {
			out.Reads = append(out.Reads, readOf(r))
		}
		return &body[Audit]{out}, nameSeen(ctx, reg, org.ID, out.Reads)
	})
}

func readOf(r registry.Read) Read {
	return Read{
		ID: r.ID, At: r.At.Time(), KeyID: r.KeyID, What: r.What,
		PersonID: int64(r.Person), Recipient: int64(r.Recipient), Email: int64(r.Email),
	}
}

// nameSeen adds the external ids of the persons looked at, where they are still known.
func nameSeen(ctx context.Context, reg *registry.Registry, org event.OrgID, reads []Read) error {
	names := map[int64]registry.PersonKey{}
	for i := range reads {
		id := reads[i].PersonID
		if id == 0 {
			continue
		}
		name, ok := names[id]
		if !ok {
			p, err := reg.Person(ctx, org, registry.PersonID(id))
			if err != nil && !isProblem(err, "person_not_found") {
				return err
			}
			name = registry.PersonKey{Kind: p.Kind, ExternalID: p.ExternalID}
			names[id] = name
		}
		reads[i].Kind, reads[i].ExternalID = string(name.Kind), name.ExternalID
	}
	return nil
}

func isProblem(err error, code string) bool {
	p, ok := errors.AsType[*problem.Error](err)
	return ok && p.Code == code
}
