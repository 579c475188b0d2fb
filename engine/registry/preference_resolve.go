package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// resolve gives all changes their subject.
func resolve(ctx context.Context, tx bun.Tx, org event.OrgID, changes []newPreference, now event.Micros) error {
	if err := resolveAddresses(ctx, tx, org, changes, now); err != nil {
		return err
	}
	return resolvePeople(ctx, tx, org, changes)
}

func noSubject(kind SubjectKind) *problem.Error {
	if kind == SubjectPerson {
		return personNotFound()
	}
	return recipientNotFound()
}

// resolveAddresses gives changes of an address their subject.
func resolveAddresses(ctx context.Context, tx bun.Tx, org event.OrgID, changes []newPreference, now event.Micros) error {
	var to []NewRecipient
	var keys []string
	place := map[string]int{}
	for _, c := range changes {
		if _, seen := place[c.key]; c.key != "" && !seen {
			place[c.key] = len(keys)
			keys, to = append(keys, c.key), append(to, NewRecipient{Address: c.Address})
		}
	}
	recipients, err := takeRecipients(ctx, tx, org, to, keys, now)
	if err != nil {
		return err
	}
	for i := range changes {
		if c := &changes[i]; c.key != "" {
			c.Subject = OfRecipient(recipients[place[c.key]].ID)
		}
	}
	return nil
}

// personIDs looks up the people that changes name by external id; those that there
// are not have id 0.
func personIDs(ctx context.Context, tx bun.Tx, org event.OrgID, changes []newPreference) (map[PersonKey]PersonID, error) {
	var keys []PersonKey
	seen := map[PersonKey]PersonID{}
	for _, c := range changes {
		if _, ok := seen[c.Person]; c.Person != (PersonKey{}) && !ok {
			seen[c.Person] = 0
			keys = append(keys, c.Person)
		}
	}
	for part := range slices.Chunk(keys, idsPerStatement) {
		list := make([][2]string, len(part))
		for i, k := range part {
			list[i] = [2]string{string(k.Kind), k.ExternalID}
		}
		text, err := json.Marshal(list)
		if err != nil {
			return nil, err
		}
		var rows []personRow
		err = tx.NewRaw(`SELECT p.id, p.kind, p.external_id FROM json_each(?) AS wanted
			CROSS JOIN people AS p ON p.org_id = ? AND p.kind = wanted.value ->> 0 AND p.external_id = wanted.value ->> 1`,
			string(text), org).Scan(ctx, &rows)
		if err != nil {
			return nil, fmt.Errorf("look up people: %w", err)
		}
		for _, p := range rows {
			seen[PersonKey{p.Kind, p.ExternalID}] = p.ID
		}
	}
	return seen, nil
}

// resolvePeople gives changes of a person's external id their subject.
func resolvePeople(ctx context.Context, tx bun.Tx, org event.OrgID, changes []newPreference) error {
	people, err := personIDs(ctx, tx, org, changes)
	if err != nil {
		return err
	}
	for i := range changes {
		c := &changes[i]
		if c.Person == (PersonKey{}) {
			continue
		}
		if people[c.Person] == 0 {
			return &ChangeError{i, personNotFound()}
		}
		c.Subject = OfPerson(people[c.Person])
	}
	return nil
}
