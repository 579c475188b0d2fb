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

// ErasureID identifies an erasure within its organisation, from 1.
type ErasureID int64

// Whose says whom an erasure or an export is about: exactly one of its fields.
type Whose struct {
	Person    PersonID
	Key       PersonKey
	Recipient event.RecipientID
	Address   string
}

// Erasure is the removal of one person, or of one address without a person. It
// holds ids only.
type Erasure struct {
	Org        event.OrgID
	ID         ErasureID
	Person     PersonID            // 0: an address without a person's record
	Recipients []event.RecipientID // ascending; the person's addresses
	StartedAt  event.Micros        // nothing was collected of them since then
	FinishedAt event.Micros        // 0: under way
	By         Actor
	Steps      []RemovalStep // done so far, in the order of time
	Receipt    []byte        // JSON, signed; nil until it is finished
}

type erasureRow struct {
	bun.BaseModel `bun:"table:erasures,alias:e"`
	Org           event.OrgID  `bun:"org_id,pk"`
	ID            ErasureID    `bun:"id,pk"`
	Person        PersonID     `bun:"person_id"`
	StartedAt     event.Micros `bun:"started_at"`
	FinishedAt    event.Micros `bun:"finished_at"`
	By            Actor        `bun:"embed:actor_"`
	Receipt       []byte       `bun:"receipt"`
}

type erasureRecipientRow struct {
	bun.BaseModel `bun:"table:erasure_recipients,alias:er"`
	Org           event.OrgID       `bun:"org_id,pk"`
	Erasure       ErasureID         `bun:"erasure_id,pk"`
	Recipient     event.RecipientID `bun:"recipient_id,pk"`
}

// BeginErasure records that a person is to be erased. When it returns, every later
// Decide refuses all kinds of interaction of all of their addresses, for ever, and
// the ledger says so. Whoever is being erased already gives the erasure under way.
// The removal itself follows in steps: see NoteStep. It works in every state of the
// organisation. Problems: org_not_found, actor_invalid, whose_invalid,
// address_invalid, person_not_found, recipient_not_found, recipient_erased.
func (r *Registry) BeginErasure(ctx context.Context, org event.OrgID, who Whose, by Actor) (Erasure, error) {
	if err := by.check(); err != nil {
		return Erasure{}, err
	}
	var id ErasureID
	err := r.change(ctx, "begin erasure", func(tx bun.Tx, next *draft) error {
		if _, ok := next.Org(org); !ok {
			return orgNotFound()
		}
		person, recipients, err := who.find(ctx, tx, org)
		if err != nil {
			return err
		}
		if id, err = underWay(ctx, tx, org, person, recipients); err != nil || id != 0 {
			return err
		}
		row := erasureRow{Org: org, Person: person, StartedAt: r.now(), By: by, Receipt: []byte{}}
		if err := tx.NewRaw("SELECT coalesce(max(id), 0) + 1 FROM erasures WHERE org_id = ?", org).Scan(ctx, &row.ID); err != nil {
			return fmt.Errorf("number erasure: %w", err)
		}
		id = row.ID
		if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
			return fmt.Errorf("insert erasure: %w", err)
		}
		return refuseErased(ctx, tx, next, &row, recipients)
	})
	if err != nil {
		return Erasure{}, err
	}
	return r.Erasure(ctx, org, id)
}

// find returns the person, if there is a record, and the addresses.
func (w Whose) find(ctx context.Context, tx bun.IDB, org event.OrgID) (person PersonID, recipients []event.RecipientID, err error) {
	q := tx.NewSelect().Model((*recipientRow)(nil)).Column("id").Where("org_id = ?", org)
	switch {
	case w.Key != PersonKey{} && !w.Key.possible():
		return 0, nil, personNotFound()
	case w.Person != 0 || w.Key != PersonKey{}:
		people := tx.NewSelect().Model((*personRow)(nil)).Column("id").Where("org_id = ?", org)
		if w.Person != 0 {
			people.Where("id = ?", w.Person)
		} else {
			people.Where("kind = ? AND external_id = ?", w.Key.Kind, w.Key.ExternalID)
		}
		if err := people.Scan(ctx, &person); errors.Is(err, sql.ErrNoRows) {
			return 0, nil, personNotFound()
		} else if err != nil {
			return 0, nil, fmt.Errorf("find person: %w", err)
		}
		err := tx.NewSelect().Model((*personAddressRow)(nil)).Column("recipient_id").
			Where("org_id = ? AND person_id = ?", org, person).Order("recipient_id").Scan(ctx, &recipients)
		return person, recipients, err
	case w.Recipient != 0:
		q.Where("id = ?", w.Recipient)
	case w.Address != "":
		key, fault := addressKey(strings.TrimSpace(w.Address))
		if fault != "" {
			return 0, nil, addressInvalid(fault)
		}
		q.Where("address_key = ?", key)
	default:
		return 0, nil, problem.New(422, "whose_invalid", "Say whom: a person, a recipient or an address.")
	}
	if err := q.Scan(ctx, &recipients); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, nil, fmt.Errorf("find recipient: %w", err)
	}
	if len(recipients) == 0 {
		return 0, nil, recipientNotFound()
	}
	return 0, recipients, nil
}

// underWay returns the unfinished erasure of the same, 0 for none.
func underWay(ctx context.Context, tx bun.Tx, org event.OrgID, person PersonID, recipients []event.RecipientID) (ErasureID, error) {
	var erased []struct {
		Erasure  ErasureID    `bun:"erasure_id"`
		Person   PersonID     `bun:"person_id"`
		Finished event.Micros `bun:"finished_at"`
	}
	err := tx.NewRaw(`SELECT er.erasure_id, e.person_id, e.finished_at FROM json_each(?) AS wanted
		JOIN erasure_recipients AS er ON er.org_id = ? AND er.recipient_id = wanted.value
		JOIN erasures AS e ON e.org_id = er.org_id AND e.id = er.erasure_id
		UNION SELECT id, person_id, finished_at FROM erasures WHERE org_id = ? AND person_id = ? AND person_id <> 0`,
		jsonList(recipients), org, org, person).Scan(ctx, &erased)
	if err != nil {
		return 0, fmt.Errorf("look for erasures: %w", err)
	}
	for _, e := range erased {
		switch {
		case e.Finished == 0 && e.Person == person:
			return e.Erasure, nil
		case person == 0 && e.Finished != 0:
			return 0, problem.New(409, "recipient_erased", "This recipient was erased already, by erasure %d.", e.Erasure)
		case person == 0:
			return e.Erasure, nil // a person's, which has this address
		}
	}
	return 0, nil
}

// refuseErased marks the addresses and has the ledger say what that means for them.
func refuseErased(ctx context.Context, tx bun.Tx, next *draft, e *erasureRow, recipients []event.RecipientID) error {
	rows := make([]erasureRecipientRow, len(recipients))
	changes := make([]newPreference, len(recipients))
	for i, id := range recipients {
		rows[i] = erasureRecipientRow{Org: e.Org, Erasure: e.ID, Recipient: id}
		changes[i] = newPreference{PreferenceChange: PreferenceChange{Subject: OfRecipient(id), Purposes: AllPurposes, State: Denied}}
		sets := next.consentOf(e.Org)
		sets.erased = cloneBitmap(sets.erased)
		sets.erased.Add(uint32(id)) //nolint:gosec // bounded by maxRecipientID
	}
	if err := insertAll(ctx, tx, rows); err != nil {
		return err
	}
	_, err := tx.NewRaw("UPDATE recipients SET erased_at = ? WHERE org_id = ? AND id IN (SELECT value FROM json_each(?))",
		e.StartedAt, e.Org, jsonList(recipients)).Exec(ctx)
	if err != nil {
		return fmt.Errorf("mark erased: %w", err)
	}
	proof := Proof{Source: "erasure", Actor: BySystem(), Evidence: fmt.Sprintf("erasure %d", e.ID)}
	if err := setPreferences(ctx, tx, next, e.Org, changes, proof, e.StartedAt); err != nil {
		return err
	}
	sets := next.consentOf(e.Org)
	err = tx.NewRaw("UPDATE organisations SET consent_version = consent_version + 1 WHERE id = ? RETURNING consent_version", e.Org).Scan(ctx, &sets.version)
	if err != nil {
		return fmt.Errorf("count change of consent: %w", err)
	}
	return nil
}

// Erasure returns one erasure. Problem: erasure_not_found.
func (r *Registry) Erasure(ctx context.Context, org event.OrgID, id ErasureID) (Erasure, error) {
	all, err := r.erasures(ctx, func(q *bun.SelectQuery) { q.Where("e.org_id = ? AND e.id = ?", org, id) })
	if err == nil && len(all) == 0 {
		err = problem.New(404, "erasure_not_found", "There is no such erasure.")
	}
	if err != nil {
		return Erasure{}, err
	}
	return all[0], nil
}
