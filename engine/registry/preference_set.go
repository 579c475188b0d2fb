package registry

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// ChangeError is a fault of one of many changes; it unwraps to its problem.
type ChangeError struct {
	Index int // of the change, from 0
	Err   error
}

// Error names the index and the fault.
func (e *ChangeError) Error() string {
	return fmt.Sprintf("change %d (counted from 0): %v", e.Index, e.Err)
}

// Unwrap returns the fault.
func (e *ChangeError) Unwrap() error { return e.Err }

// indexed says which change a problem is about; other errors are nobody's.
func indexed(i int, err error) error {
	if _, ok := errors.AsType[*problem.Error](err); ok {
		return &ChangeError{i, err}
	}
	return err
}

// SetPreferences is the only way a preference changes: all of the changes or none,
// one ledger entry each, those of one subject in order, also where one changes
// nothing. It works in every state of the organisation. When it returns, every later
// Decide and RegisterEmail obeys. Many changes are applied in pieces, so that others
// can write in between: what they set stays, since it was asked for later. Should the
// store fail then, the rest is applied after the next change of a preference, or when
// the registry is opened. A fault of one change
// is a *ChangeError with its index. Problems: org_not_found, proof_invalid,
// actor_invalid, too_many_changes, and of single changes preference_invalid,
// preference_subject_invalid, address_invalid, person_not_found, recipient_not_found.
func (r *Registry) SetPreferences(ctx context.Context, org event.OrgID, changes []PreferenceChange, proof Proof) error {
	in, err := checked(changes, proof)
	if err != nil {
		return err
	}
	if len(in) > pieceChanges {
		place, err := r.TakePlace(ctx, org)
		if err != nil {
			return err
		}
		defer place.Leave()
		return place.set(ctx, in, proof)
	}
	err = r.change(ctx, "set preferences", func(tx bun.Tx, next *draft) error {
		if _, ok := next.Org(org); !ok {
			return orgNotFound()
		}
		return setPreferences(ctx, tx, next, org, in, proof, r.now())
	})
	if err == nil {
		r.applyLeft(ctx)
	}
	return err
}

// checked prepares changes in which nothing is seen to be wrong without the store.
func checked(changes []PreferenceChange, proof Proof) ([]newPreference, error) {
	if err := proof.check(); err != nil {
		return nil, err
	}
	if err := checkCount(len(changes)); err != nil {
		return nil, err
	}
	in := make([]newPreference, len(changes))
	for i, c := range changes {
		in[i] = newPreference{PreferenceChange: c}
		if err := in[i].check(); err != nil {
			return nil, &ChangeError{i, err}
		}
	}
	return in, nil
}

// newPreference is a PreferenceChange on its way into the store.
type newPreference struct {
	PreferenceChange
	key   string // of Address
	was   Answers
	given *given // if not as the changes it is among
}

// given says when, and shown by what, a preference was given.
type given struct {
	proof *proofRow
	at    event.Micros
}

func (c *newPreference) check() error {
	if c.Purposes == 0 || c.Purposes&^AllPurposes != 0 || c.State > Denied {
		return problem.New(422, "preference_invalid", "A preference is for one or more of open, click, attachment and reply, and is unknown, allowed or denied.")
	}
	if fault := textFault(c.Evidence, MaxEvidenceBytes, true); fault != "" {
		return problem.New(422, "preference_invalid", "The evidence %s.", fault)
	}
	ways := 0
	for _, given := range []bool{c.Subject != Subject{}, c.Person != PersonKey{}, c.Address != ""} {
		if given {
			ways++
		}
	}
	if ways != 1 || c.Address == "" && c.Person == (PersonKey{}) && c.Subject.Kind != SubjectPerson && c.Subject.Kind != SubjectRecipient {
		return problem.New(422, "preference_subject_invalid", "A preference belongs to one subject: a person, a recipient or an address.")
	}
	if c.Address != "" {
		var fault string
		c.Address = strings.TrimSpace(c.Address)
		if c.key, fault = addressKey(c.Address); fault != "" {
			return addressInvalid(fault)
		}
	}
	return nil
}

func (p *Proof) check() error {
	if err := p.Actor.check(); err != nil {
		return err
	}
	for _, f := range []struct {
		field, text string
		limit       int
		optional    bool
	}{
		{"source", p.Source, MaxSourceBytes, false},
		{"form version", p.FormVersion, MaxFormBytes, true},
		{"locale", p.Locale, MaxLocaleBytes, true},
		{"evidence", p.Evidence, MaxEvidenceBytes, true},
	} {
		if fault := textFault(f.text, f.limit, f.optional); fault != "" {
			return problem.New(422, "proof_invalid", "The proof's %s %s.", f.field, fault)
		}
	}
	if len(p.Text) > MaxProofTextBytes || !utf8.ValidString(p.Text) || strings.Contains(p.Text, "\x00") {
		return problem.New(422, "proof_invalid", "The proof's text must be UTF-8 of at most %d bytes.", MaxProofTextBytes)
	}
	return nil
}

// setPreferences does the work of SetPreferences within tx.
func setPreferences(ctx context.Context, tx bun.Tx, next *draft, org event.OrgID, changes []newPreference, proof Proof, now event.Micros) error {
	if len(changes) == 0 {
		return nil
	}
	for i := range changes {
		changes[i].Evidence = orElse(changes[i].Evidence, proof.Evidence)
	}
	number, err := nextProof(ctx, tx, org)
	if err != nil {
		return err
	}
	shown, err := newProof(ctx, tx, org, number, proof)
	if err != nil {
		return err
	}
	if err := resolve(ctx, tx, org, changes, now); err != nil {
		return err
	}
	return storePreferences(ctx, tx, next, org, changes, given{&shown, now})
}

// storePreferences stores changes that have their subject and their own evidence.
func storePreferences(ctx context.Context, tx bun.Tx, next *draft, org event.OrgID, changes []newPreference, as given) error {
	states, err := loadAnswers(ctx, tx, org, changes)
	if err != nil {
		return err
	}
	for i := range changes {
		c := &changes[i]
		was, ok := states[c.Subject]
		if !ok {
			return &ChangeError{i, noSubject(c.Subject.Kind)}
		}
		c.was = was
		states[c.Subject] = was.with(c.Purposes, c.State)
	}
	if err := appendLedger(ctx, tx, org, changes, as); err != nil {
		return err
	}
	recipients, people, err := storeAnswers(ctx, tx, org, states)
	if err != nil {
		return err
	}
	reached, err := addressesOf(ctx, tx, org, people)
	if err != nil {
		return err
	}
	return reanswer(ctx, tx, next, org, append(recipients, reached...), as.at)
}

// subjectTables says where a subject's own preference is.
var subjectTables = map[SubjectKind]string{SubjectPerson: "people", SubjectRecipient: "recipients"}

// loadAnswers returns the own preferences of all subjects that exist.
func loadAnswers(ctx context.Context, tx bun.Tx, org event.OrgID, changes []newPreference) (map[Subject]Answers, error) {
	wanted := map[SubjectKind][]int64{}
	for _, c := range changes {
		wanted[c.Subject.Kind] = append(wanted[c.Subject.Kind], c.Subject.ID)
	}
	out := make(map[Subject]Answers, len(changes))
	for kind, ids := range wanted {
		slices.Sort(ids)
		for part := range slices.Chunk(slices.Compact(ids), idsPerStatement) {
			var rows []struct {
				ID      int64    `bun:"id"`
				Allowed Purposes `bun:"allowed"`
				Denied  Purposes `bun:"denied"`
			}
			err := tx.NewRaw("SELECT s.id, s.allowed, s.denied FROM json_each(?) AS wanted CROSS JOIN ? AS s ON s.org_id = ? AND s.id = wanted.value",
				jsonList(part), bun.Ident(subjectTables[kind]), org).Scan(ctx, &rows)
			if err != nil {
				return nil, fmt.Errorf("read preferences: %w", err)
			}
			for _, row := range rows {
				out[Subject{kind, row.ID}] = Answers{row.Allowed, row.Denied}
			}
		}
	}
	return out, nil
}

// storeAnswers writes the subjects' own preferences and returns the subjects.
func storeAnswers(ctx context.Context, tx bun.Tx, org event.OrgID, states map[Subject]Answers) (recipients []event.RecipientID, people []PersonID, err error) {
	statements := map[SubjectKind]*sql.Stmt{}
	for kind, table := range subjectTables {
		update, err := tx.PrepareContext(ctx, "UPDATE "+table+" SET allowed = ?, denied = ? WHERE org_id = ? AND id = ?")
		if err != nil {
			return nil, nil, fmt.Errorf("prepare to store preferences: %w", err)
		}
		defer func() { _ = update.Close() }()
		statements[kind] = update
	}
	// In the order of the tables: many random writes would go through far more pages.
	subjects := slices.SortedFunc(maps.Keys(states), func(a, b Subject) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
	})
	for _, s := range subjects {
		a := states[s]
		if _, err := statements[s.Kind].ExecContext(ctx, int64(a.Allowed), int64(a.Denied), int64(org), s.ID); err != nil {
			return nil, nil, fmt.Errorf("store preferences: %w", err)
		}
		if s.Kind == SubjectPerson {
			people = append(people, PersonID(s.ID))
		} else {
			recipients = append(recipients, event.RecipientID(s.ID))
		}
	}
	return recipients, people, nil
}
