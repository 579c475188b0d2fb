package ingest

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// Person is a contact, lead or account as the API shows it.
type Person struct {
	PersonID   int64     `json:"person_id" doc:"Number within the organisation."`
	Kind       string    `json:"kind" enum:"contact,lead,account"`
	ExternalID string    `json:"external_id" doc:"The sender's own id; unique among the people of one kind."`
	Name       string    `json:"name,omitempty"`
	Account    string    `json:"account,omitempty" doc:"External id of the account that a contact belongs to."`
	Addresses  []string  `json:"addresses" doc:"Email addresses, spelt as each was when first seen."`
	CreatedAt  time.Time `json:"created_at"`
}

// PersonFields is what is known of a person; a PUT replaces all of it.
type PersonFields struct {
	Name      string   `json:"name,omitempty" maxLength:"256"`
	Account   string   `json:"account,omitempty" maxLength:"256" doc:"External id of an account that is known already; for contacts only."`
	Addresses []string `json:"addresses,omitempty" maxItems:"100" doc:"One address may belong to several people."`
}

// PersonPath is a person in a path.
type PersonPath struct {
	OrgPath
	Kind       string `path:"kind" enum:"contact,lead,account"`
	ExternalID string `path:"external_id" maxLength:"256" doc:"The sender's own id of the person." example:"c-17"`
}

func (p *PersonPath) key() registry.PersonKey {
	return registry.PersonKey{Kind: registry.PersonKind(p.Kind), ExternalID: p.ExternalID}
}

type putPersonInput struct {
	PersonPath
	Body PersonFields
}

type peopleInput struct {
	OrgPath
	Kind  string `query:"kind" enum:"contact,lead,account" doc:"Only people of this kind."`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"People at most."`
	After int64  `query:"after" minimum:"0" doc:"Only people with a higher number: the last one of the page before."`
}

var (
	peopleTags = []string{"people"}
	// crm may keep people and their preferences: whoever sends knows whom to.
	crm = []registry.Role{registry.RoleSender}
	// persons may be seen by those who send to them and those who analyse them.
	seePersons = []registry.Role{registry.RoleSender, registry.RoleAnalyst}
)

// RegisterPeople adds the operations on contacts, leads and accounts. Every read is
// noted in the access log before it is answered.
func RegisterPeople(api huma.API, reg *registry.Registry) {
	huma.Register(api, huma.Operation{
		OperationID: "put-person", Method: http.MethodPut, Path: "/v1/orgs/{org}/people/{kind}/{external_id}", Tags: peopleTags,
		Summary:     "Create a person, or replace what is known of one",
		Description: "Preferences set for the person or for their addresses stay.",
		Metadata: map[string]any{"roles": crm, "problems": append([]string{
			"feature_disabled", "person_invalid", "person_account_invalid", "address_invalid", "too_many_addresses", "addresses_exhausted"}, changes...)},
	}, func(ctx context.Context, in *putPersonInput) (*body[Person], error) {
		org, err := reg.OrgByName(in.Org)
		if err != nil {
			return nil, err
		}
		p := registry.Person{Kind: registry.PersonKind(in.Kind), ExternalID: in.ExternalID, Name: in.Body.Name, Addresses: in.Body.Addresses}
		if in.Body.Account != "" {
			if p.Account, err = accountID(ctx, reg, org.ID, in.Body.Account); err != nil {
				return nil, err
			}
		}
		if p, err = reg.PutPerson(ctx, org.ID, p); err != nil {
			return nil, err
		}
		return &body[Person]{personOf(p, in.Body.Account)}, nil
	})
	registerPeopleReads(api, reg)
}

// registerPeopleReads adds the operations that show people.
func registerPeopleReads(api huma.API, reg *registry.Registry) {
	huma.Register(api, huma.Operation{
		OperationID: "get-person", Method: http.MethodGet, Path: "/v1/orgs/{org}/people/{kind}/{external_id}", Tags: peopleTags,
		Summary:  "Show a person",
		Metadata: map[string]any{"roles": seePersons, "problems": append([]string{"feature_disabled", "person_not_found"}, changes...)},
	}, func(ctx context.Context, in *PersonPath) (*body[Person], error) {
		org, err := readable(reg, in.Org)
		if err != nil {
			return nil, err
		}
		p, err := reg.PersonByExternalID(ctx, org.ID, in.key())
		if err != nil {
			return nil, err
		}
		out, err := peopleOf(ctx, reg, org.ID, []registry.Person{p})
		if err != nil {
			return nil, err
		}
		return &body[Person]{out[0]}, reg.NoteRead(ctx, registry.Read{Org: org.ID, What: "person", Person: p.ID})
	})
	huma.Register(api, huma.Operation{
		OperationID: "list-people", Method: http.MethodGet, Path: "/v1/orgs/{org}/people", Tags: peopleTags,
		Summary:  "List people by number",
		Metadata: map[string]any{"roles": seePersons, "problems": append([]string{"feature_disabled"}, changes...)},
	}, func(ctx context.Context, in *peopleInput) (*body[[]Person], error) {
		org, err := readable(reg, in.Org)
		if err != nil {
			return nil, err
		}
		people, err := reg.People(ctx, org.ID, registry.PeoplePage{
			Kind: registry.PersonKind(in.Kind), After: registry.PersonID(in.After), Limit: in.Limit,
		})
		if err != nil {
			return nil, err
		}
		out, err := peopleOf(ctx, reg, org.ID, people)
		if err != nil {
			return nil, err
		}
		return &body[[]Person]{out}, reg.NoteRead(ctx, registry.Read{Org: org.ID, What: "people"})
	})
}

// readable returns the organisation if its collected data may be read.
func readable(reg *registry.Registry, name string) (registry.Org, error) {
	org, err := reg.OrgByName(name)
	if err != nil {
		return registry.Org{}, err
	}
	return org, org.CheckEnabled()
}

func accountID(ctx context.Context, reg *registry.Registry, org event.OrgID, externalID string) (registry.PersonID, error) {
	account, err := reg.PersonByExternalID(ctx, org, registry.PersonKey{Kind: registry.Account, ExternalID: externalID})
	if isProblem(err, "person_not_found") {
		return 0, problem.New(422, "person_account_invalid", "There is no account with this external id; put the account first.")
	}
	return account.ID, err
}

// peopleOf shows people with the external ids of their accounts.
func peopleOf(ctx context.Context, reg *registry.Registry, org event.OrgID, people []registry.Person) ([]Person, error) {
	accounts := map[registry.PersonID]string{}
	out := make([]Person, len(people))
	for i, p := range people {
		name, ok := accounts[p.Account]
		if p.Account != 0 && !ok {
			account, err := reg.Person(ctx, org, p.Account)
			if err != nil {
				return nil, err
			}
			name = account.ExternalID
			accounts[p.Account] = name
		}
		out[i] = personOf(p, name)
	}
	return out, nil
}

func personOf(p registry.Person, account string) Person {
	if p.Addresses == nil {
		p.Addresses = []string{}
	}
	return Person{
		PersonID: int64(p.ID), Kind: string(p.Kind), ExternalID: p.ExternalID, Name: p.Name, Account: account,
		Addresses: p.Addresses, CreatedAt: p.CreatedAt.Time(),
	}
}
