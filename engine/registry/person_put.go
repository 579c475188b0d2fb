package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// PutPerson creates the person with p's kind and external id or replaces what is
// known of them: name, account and the list of addresses. Org, ID and CreatedAt of
// p are ignored. Preferences stay. When it returns, every later Decide obeys what
// the addresses now inherit. Problems: org_not_found, feature_disabled (terminated
// only), person_invalid, person_account_invalid, address_invalid, too_many_addresses.
func (r *Registry) PutPerson(ctx context.Context, org event.OrgID, p Person) (Person, error) {
	people, err := r.PutPeople(ctx, org, []Person{p})
	if e, ok := errors.AsType[*ChangeError](err); ok {
		return Person{}, e.Err
	}
	if err != nil {
		return Person{}, err
	}
	return people[0], nil
}

// PutPeople does the work of PutPerson for many people, one after the other, in
// one transaction: all of them or none. A fault of one is a *ChangeError with its
// index. The answer is in the order of people. Problems: those of PutPerson, too_many_people.
func (r *Registry) PutPeople(ctx context.Context, org event.OrgID, people []Person) ([]Person, error) {
	if len(people) > MaxPeople {
		return nil, problem.New(422, "too_many_people", "The list has %d people, the limit is %d; split it.", len(people), MaxPeople)
	}
	in := make([]newPerson, len(people))
	for i, p := range people {
		var err error
		if in[i], err = checkPerson(p); err != nil {
			return nil, &ChangeError{i, err}
		}
	}
	err := r.change(ctx, "put people", func(tx bun.Tx, next *draft) error {
		o, ok := next.Org(org)
		if !ok {
			return orgNotFound()
		}
		if o.State == OrgTerminated {
			return o.CheckEnabled()
		}
		return putPeople(ctx, tx, next, org, in, r.now())
	})
	if err != nil {
		return nil, err
	}
	out := make([]Person, len(in))
	for i := range in {
		out[i] = in[i].Person
	}
	return out, nil
}

// newPerson is a valid Person whose addresses are trimmed and without repetition.
type newPerson struct {
	Person
	keys []string // of the addresses
	ids  []event.RecipientID
}

func checkPerson(p Person) (newPerson, error) {
	invalid := func(field, fault string) (newPerson, error) {
		return newPerson{}, problem.New(422, "person_invalid", "The person's %s %s.", field, fault)
	}
	if p.Kind != Contact && p.Kind != Lead && p.Kind != Account {
		return invalid("kind", "must be contact, lead or account")
	}
	if fault := textFault(p.ExternalID, MaxExternalIDBytes, false); fault != "" {
		return invalid("external id", fault)
	}
	if fault := textFault(p.Name, MaxNameBytes, true); fault != "" {
		return invalid("name", fault)
	}
	if p.Account != 0 && p.Kind != Contact {
		return newPerson{}, problem.New(422, "person_account_invalid", "Only a contact belongs to an account.")
	}
	if len(p.Addresses) > MaxAddresses {
		return newPerson{}, problem.New(422, "too_many_addresses", "The person has %d addresses, the limit is %d.", len(p.Addresses), MaxAddresses)
	}
	in := newPerson{Person: p}
	in.Addresses = nil
	for i, a := range p.Addresses {
		a = strings.TrimSpace(a)
		key, fault := addressKey(a)
		if fault != "" {
			return newPerson{}, problem.New(422, "address_invalid", "Address %d (counted from 0) %s.", i, fault)
		}
		if !slices.Contains(in.keys, key) {
			in.keys, in.Addresses = append(in.keys, key), append(in.Addresses, a)
		}
	}
	return in, nil
}

// putPeople does the work of PutPeople within tx and completes people.
func putPeople(ctx context.Context, tx bun.Tx, next *draft, org event.OrgID, people []newPerson, now event.Micros) error {
	if err := findAddresses(ctx, tx, org, people, now); err != nil {
		return err
	}
	var affected []event.RecipientID
	for i := range people {
		p := &people[i]
		p.Org = org
		touched, err := putPerson(ctx, tx, p, now)
		if err != nil {
			return indexed(i, err)
		}
		affected = append(affected, touched...)
	}
	return reanswer(ctx, tx, next, org, affected, now)
}

// findAddresses gives all addresses of people their recipients.
func findAddresses(ctx context.Context, tx bun.Tx, org event.OrgID, people []newPerson, now event.Micros) error {
	var fresh []NewRecipient
	var keys []string
	place := map[string]int{}
	for _, p := range people {
		for i, key := range p.keys {
			if _, seen := place[key]; seen {
				continue
			}
			place[key] = len(keys)
			to := NewRecipient{Address: p.Addresses[i], Name: p.Name}
			if p.Kind != Account {
				to.Person = p.ExternalID
			}
			keys, fresh = append(keys, key), append(fresh, to)
		}
	}
	recipients, err := takeRecipients(ctx, tx, org, fresh, keys, now)
	if err != nil {
		return err
	}
	for i := range people {
		for _, key := range people[i].keys {
			people[i].ids = append(people[i].ids, recipients[place[key]].ID)
		}
	}
	return nil
}

// putPerson stores one person and returns the addresses whose answers may have
// changed by it.
func putPerson(ctx context.Context, tx bun.Tx, p *newPerson, now event.Micros) (touched []event.RecipientID, err error) {
	if p.Account != 0 {
		is, err := tx.NewSelect().Model((*personRow)(nil)).
			Where("org_id = ? AND id = ? AND kind = ?", p.Org, p.Account, Account).Exists(ctx)
		if err != nil {
			return nil, fmt.Errorf("look up account: %w", err)
		}
		if !is {
			return nil, problem.New(422, "person_account_invalid", "The contact's account is no account of this organisation.")
		}
	}
	var old []personRow
	if err := tx.NewSelect().Model(&old).
		Where("org_id = ? AND kind = ? AND external_id = ?", p.Org, p.Kind, p.ExternalID).Scan(ctx); err != nil {
		return nil, fmt.Errorf("look up person: %w", err)
	}
	if len(old) == 0 {
		return p.ids, insertPerson(ctx, tx, p, now)
	}
	p.ID, p.CreatedAt = old[0].ID, old[0].CreatedAt
	if old[0].Name != p.Name || old[0].Account != p.Account {
		row := p.row()
		if _, err := tx.NewUpdate().Model(&row).Column("name", "account_id").WherePK().Exec(ctx); err != nil {
			return nil, fmt.Errorf("update person: %w", err)
		}
	}
	var had []event.RecipientID
	err = tx.NewSelect().Model((*personAddressRow)(nil)).Column("recipient_id").
		Where("org_id = ? AND person_id = ?", p.Org, p.ID).Order("ordinal").Scan(ctx, &had)
	if err != nil {
		return nil, fmt.Errorf("read person's addresses: %w", err)
	}
	if !slices.Equal(had, p.ids) {
		if _, err := tx.NewDelete().Model((*personAddressRow)(nil)).Where("org_id = ? AND person_id = ?", p.Org, p.ID).Exec(ctx); err != nil {
			return nil, fmt.Errorf("replace person's addresses: %w", err)
		}
		if err := insertAll(ctx, tx, p.addressRows()); err != nil {
			return nil, err
		}
	}
	return append(had, p.ids...), nil
}

func insertPerson(ctx context.Context, tx bun.Tx, p *newPerson, now event.Micros) error {
	err := tx.NewRaw("UPDATE organisations SET last_person_id = last_person_id + 1 WHERE id = ? RETURNING last_person_id", p.Org).
		Scan(ctx, &p.ID)
	if err != nil {
		return fmt.Errorf("take person id: %w", err)
	}
	p.CreatedAt = now
	row := p.row()
	if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
		return fmt.Errorf("insert person: %w", err)
	}
	return insertAll(ctx, tx, p.addressRows())
}

func (p *newPerson) row() personRow {
	return personRow{Org: p.Org, ID: p.ID, Kind: p.Kind, ExternalID: p.ExternalID, Name: p.Name, Account: p.Account, CreatedAt: p.CreatedAt}
}

func (p *newPerson) addressRows() []personAddressRow {
	rows := make([]personAddressRow, len(p.ids))
	for i, id := range p.ids {
		rows[i] = personAddressRow{Org: p.Org, Person: p.ID, Recipient: id, Ordinal: i + 1}
	}
	return rows
}

// linkPeople makes addresses that the sender says are a contact's or lead's theirs.
// Without it, a refusal of that person would not reach an address they are written
// to at.
func linkPeople(ctx context.Context, tx bun.Tx, next *draft, people []Recipient, now event.Micros) error {
	var names []string
	var recipients []event.RecipientID
	for _, p := range people {
		if p.Person != "" {
			names, recipients = append(names, p.Person), append(recipients, p.ID)
		}
	}
	if len(names) == 0 {
		return nil
	}
	org := people[0].Org
	list, err := json.Marshal(names)
	if err != nil {
		return err
	}
	var found []struct {
		Place  int      `bun:"place"`
		Person PersonID `bun:"person"`
	}
	err = tx.NewRaw(`SELECT wanted.key AS place, p.id AS person FROM json_each(?) AS wanted
		CROSS JOIN people AS p ON p.org_id = ? AND p.kind IN (?, ?) AND p.external_id = wanted.value`,
		string(list), org, Contact, Lead).Scan(ctx, &found)
	if err != nil {
		return fmt.Errorf("look up recipients' people: %w", err)
	}
	var touched []event.RecipientID
	for _, f := range found {
		var fresh []event.RecipientID
		err := tx.NewRaw(`INSERT INTO person_addresses (org_id, person_id, recipient_id, ordinal)
			SELECT ?, ?, ?, coalesce(max(ordinal), 0) + 1 FROM person_addresses WHERE org_id = ? AND person_id = ?
			ON CONFLICT DO NOTHING RETURNING recipient_id`, org, f.Person, recipients[f.Place], org, f.Person).Scan(ctx, &fresh)
		if err != nil {
			return fmt.Errorf("give person an address: %w", err)
		}
		touched = append(touched, fresh...)
	}
	return reanswer(ctx, tx, next, org, touched, now)
}
