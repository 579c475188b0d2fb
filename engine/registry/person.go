package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// PersonID names a person within its organisation; dense from 1.
type PersonID int64

// PersonKind is the kind of record that a person is in the sender's system.
type PersonKind string

// Kinds of people.
const (
	Contact PersonKind = "contact"
	Lead    PersonKind = "lead"
	Account PersonKind = "account" // a company; its refusals hold for its contacts too
)

// PersonKey is how the sender's system names a person: the external id is unique
// among the people of one kind in an organisation.
type PersonKey struct {
	Kind       PersonKind
	ExternalID string
}

// Person is a contact, lead or account of an organisation.
type Person struct {
	Org        event.OrgID
	ID         PersonID // given by PutPerson
	Kind       PersonKind
	ExternalID string
	Name       string   // may be empty
	Account    PersonID // of a contact: the account it belongs to; 0 is none
	// Addresses are the person's email addresses, spelt as each was when first seen.
	// An address may be that of several people.
	Addresses []string
	CreatedAt event.Micros
}

type personRow struct {
	bun.BaseModel `bun:"table:people,alias:p"`
	Org           event.OrgID  `bun:"org_id,pk"`
	ID            PersonID     `bun:"id,pk"`
	Kind          PersonKind   `bun:"kind"`
	ExternalID    string       `bun:"external_id"`
	Name          string       `bun:"name"`
	Account       PersonID     `bun:"account_id,nullzero"`
	CreatedAt     event.Micros `bun:"created_at"`
	Allowed       Purposes     `bun:"allowed"`
	Denied        Purposes     `bun:"denied"`
}

type personAddressRow struct {
	bun.BaseModel `bun:"table:person_addresses,alias:pa"`
	Org           event.OrgID       `bun:"org_id,pk"`
	Person        PersonID          `bun:"person_id,pk"`
	Recipient     event.RecipientID `bun:"recipient_id,pk"`
	Ordinal       int               `bun:"ordinal"`
}

// PeoplePage selects a page of People.
type PeoplePage struct {
	Kind  PersonKind // "" is all kinds
	After PersonID   // ids above it
	Limit int        // 0 is 100, never more than 1,000
}

// Person returns a person by id. Problem: person_not_found.
func (r *Registry) Person(ctx context.Context, org event.OrgID, id PersonID) (Person, error) {
	return r.onePerson(ctx, org, func(q *bun.SelectQuery) { q.Where("p.id = ?", id) })
}

// possible reports whether anybody can have the key. Others must not get into a
// statement, whose text a NUL would end.
func (k PersonKey) possible() bool {
	return textFault(k.ExternalID, MaxExternalIDBytes, false) == "" && textFault(string(k.Kind), MaxExternalIDBytes, false) == ""
}

// PersonByExternalID returns a person by the sender's id. Problem: person_not_found.
func (r *Registry) PersonByExternalID(ctx context.Context, org event.OrgID, key PersonKey) (Person, error) {
	if !key.possible() {
		return Person{}, personNotFound()
	}
	return r.onePerson(ctx, org, func(q *bun.SelectQuery) { q.Where("p.kind = ? AND p.external_id = ?", key.Kind, key.ExternalID) })
}

func (r *Registry) onePerson(ctx context.Context, org event.OrgID, where func(*bun.SelectQuery)) (Person, error) {
	people, err := r.people(ctx, org, where)
	if err == nil && len(people) == 0 {
		err = personNotFound()
	}
	if err != nil {
		return Person{}, err
	}
	return people[0], nil
}

// People lists the organisation's people by id.
func (r *Registry) People(ctx context.Context, org event.OrgID, page PeoplePage) ([]Person, error) {
	if page.Limit <= 0 {
		page.Limit = defaultListing
	}
	return r.people(ctx, org, func(q *bun.SelectQuery) {
		q.Where("p.id > ?", page.After).Limit(int64(min(page.Limit, maxListing)))
		if page.Kind != "" {
			q.Where("p.kind = ?", page.Kind)
		}
	})
}

// PeopleByAddress returns those who have this address, by id; none is no error.
// Problem: address_invalid.
func (r *Registry) PeopleByAddress(ctx context.Context, org event.OrgID, address string) ([]Person, error) {
	key, fault := addressKey(strings.TrimSpace(address))
	if fault != "" {
		return nil, addressInvalid(fault)
	}
	return r.people(ctx, org, func(q *bun.SelectQuery) {
		q.Join("JOIN person_addresses AS own ON own.org_id = p.org_id AND own.person_id = p.id").
			Join("JOIN recipients AS r ON r.org_id = own.org_id AND r.id = own.recipient_id").
			Where("r.address_key = ?", key)
	})
}

// RecipientByAddress returns the recipient with this address. Problems:
// address_invalid, recipient_not_found.
func (r *Registry) RecipientByAddress(ctx context.Context, org event.OrgID, address string) (Recipient, error) {
	key, fault := addressKey(strings.TrimSpace(address))
	if fault != "" {
		return Recipient{}, addressInvalid(fault)
	}
	return r.oneRecipient(ctx, "address_key = ?", org, key)
}

// Recipient returns a recipient by id. Problem: recipient_not_found.
func (r *Registry) Recipient(ctx context.Context, org event.OrgID, id event.RecipientID) (Recipient, error) {
	return r.oneRecipient(ctx, "id = ?", org, id)
}

func (r *Registry) oneRecipient(ctx context.Context, where string, org event.OrgID, value any) (Recipient, error) {
	var row recipientRow
	err := r.reader.NewSelect().Model(&row).Where("org_id = ?", org).Where(where, value).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Recipient{}, recipientNotFound()
	} else if err != nil {
		return Recipient{}, storeError("read recipient", err)
	}
	return row.Recipient, nil
}

// people reads the people that where selects, in the order of their ids, with
// their addresses.
func (r *Registry) people(ctx context.Context, org event.OrgID, where func(*bun.SelectQuery)) ([]Person, error) {
	var rows []personRow
	q := r.reader.NewSelect().Model(&rows).Where("p.org_id = ?", org).Order("p.id")
	where(q)
	if err := q.Scan(ctx); err != nil {
		return nil, storeError("read people", err)
	}
	out := make([]Person, len(rows))
	place := make(map[PersonID]int, len(rows))
	ids := make([]PersonID, len(rows))
	for i, p := range rows {
		out[i] = Person{
			Org: p.Org, ID: p.ID, Kind: p.Kind, ExternalID: p.ExternalID, Name: p.Name, Account: p.Account, CreatedAt: p.CreatedAt,
		}
		ids[i], place[p.ID] = p.ID, i
	}
	var addresses []struct {
		Person  PersonID `bun:"person_id"`
		Address string   `bun:"address"`
	}
	err := r.reader.NewRaw(`SELECT pa.person_id, r.address FROM json_each(?) AS wanted
		CROSS JOIN person_addresses AS pa ON pa.org_id = ? AND pa.person_id = wanted.value
		CROSS JOIN recipients AS r ON r.org_id = pa.org_id AND r.id = pa.recipient_id
		ORDER BY pa.person_id, pa.ordinal`, jsonList(ids), org).Scan(ctx, &addresses)
	if err != nil {
		return nil, storeError("read people's addresses", err)
	}
	for _, a := range addresses {
		p := &out[place[a.Person]]
		p.Addresses = append(p.Addresses, a.Address)
	}
	return out, nil
}

// jsonList is a parameter for json_each, which is one text however many ids it holds.
func jsonList[T ~int64](ids []T) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%d", id)
	}
	b.WriteByte(']')
	return b.String()
}

func personNotFound() *problem.Error {
	return problem.New(404, "person_not_found", "There is no such person.")
}

func addressInvalid(fault string) *problem.Error {
	return problem.New(422, "address_invalid", "The address %s.", fault)
}
