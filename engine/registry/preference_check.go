package registry

import (
	"context"
	"slices"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// CheckPreferences tells found what SetPreferences would refuse of each change, in
// the order of the changes, and changes nothing. What it finds holds as of now only.
// Problems: org_not_found, too_many_changes.
func (r *Registry) CheckPreferences(ctx context.Context, org event.OrgID, changes []PreferenceChange, found func(*ChangeError)) error {
	if _, ok := r.Snapshot().Org(org); !ok {
		return orgNotFound()
	}
	if err := checkCount(len(changes)); err != nil {
		return err
	}
	in := make([]newPreference, 0, len(changes))
	faults := map[int]error{}
	for i, c := range changes {
		p := newPreference{PreferenceChange: c}
		if err := p.check(); err != nil {
			faults[i], p = err, newPreference{}
		}
		in = append(in, p)
	}
	_, err := r.faults(ctx, org, in, faults, found)
	return err
}

// faults tells found what stands against each change: what was seen of it at first
// sight, or that whom it is about is not there. It returns the people that are named.
func (r *Registry) faults(ctx context.Context, org event.OrgID, in []newPreference, seen map[int]error, found func(*ChangeError)) (map[PersonKey]PersonID, error) {
	tx, err := r.reader.BeginTx(ctx, nil)
	if err != nil {
		return nil, storeError("check preferences", err)
	}
	defer func() { _ = tx.Rollback() }()
	people, err := personIDs(ctx, tx, org, in)
	if err != nil {
		return nil, storeError("check preferences", err)
	}
	known, err := loadAnswers(ctx, tx, org, slices.DeleteFunc(slices.Clone(in), func(c newPreference) bool { return c.Subject == Subject{} }))
	if err != nil {
		return nil, storeError("check preferences", err)
	}
	for i := range in {
		if err := faultOf(&in[i], seen[i], people, known); err != nil {
			found(&ChangeError{i, err})
		}
	}
	return people, nil
}

// faultOf returns what is wrong with a change: seen at first sight, or that whom
// it is about is not there. An address need not be: it is created.
func faultOf(c *newPreference, seen error, people map[PersonKey]PersonID, known map[Subject]Answers) error {
	_, exists := known[c.Subject]
	switch {
	case seen != nil:
		return seen
	case c.Person != PersonKey{} && people[c.Person] == 0:
		return personNotFound()
	case c.Subject != Subject{} && !exists:
		return noSubject(c.Subject.Kind)
	}
	return nil
}

func checkCount(n int) error {
	if n > MaxChanges {
		return problem.New(422, "too_many_changes", "There are %d changes, the limit is %d; split them.", n, MaxChanges)
	}
	return nil
}

// After is the subject's own preference, for all purposes, once the entry was made.
func (e *LedgerEntry) After() Answers { return e.Previous.with(e.Purposes, e.State) }
