package registry

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

func notBuilt(act string) error {
	return problem.New(500, "internal", "Something failed inside; the server's log says what.").Because(fmt.Errorf("%s: not built yet", act))
}

func (e *LedgerError) Error() string {
	return fmt.Sprintf("consent ledger of organisation %d, entry %d: %s", e.Org, e.Seq, e.Fault)
}

// Unwrap returns the problem ledger_damaged.
func (e *LedgerError) Unwrap() error {
	return problem.New(500, "ledger_damaged", "The consent ledger of organisation %d is not what was written, first at entry %d; restore it from a backup.", e.Org, e.Seq)
}

// LedgerHead returns where the organisation's ledger ends. Problem: org_not_found.
func (r *Registry) LedgerHead(ctx context.Context, org event.OrgID) (LedgerHead, error) {
	return LedgerHead{}, notBuilt("read ledger's head")
}

// SetPreferences is the only way a preference changes: all of the changes or none,
// one ledger entry each, in order. When it returns, every later Decide and
// RegisterEmail obeys. A fault of one change is a *ChangeError with its index.
// Problems: org_not_found, proof_invalid, actor_invalid, too_many_changes, and of
// single changes preference_invalid, subject_invalid, address_invalid,
// person_not_found, recipient_not_found.
func (r *Registry) SetPreferences(ctx context.Context, org event.OrgID, changes []PreferenceChange, proof Proof) error {
	return notBuilt("set preferences")
}

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

// Preferences returns what is recorded for a subject and what follows from it.
// Problems: person_not_found, recipient_not_found, subject_invalid.
func (r *Registry) Preferences(ctx context.Context, org event.OrgID, of Subject) (PreferenceState, error) {
	return PreferenceState{}, notBuilt("read preferences")
}

// PutPerson creates the person with p's kind and external id or replaces what is
// known of them: name, account and the list of addresses. Org and ID of p are
// ignored. A preference that others had set for the person or their addresses
// stays. When it returns, every later Decide obeys what the addresses now inherit.
// Problems: org_not_found, feature_disabled (terminated), person_invalid,
// person_account_invalid, address_invalid, too_many_addresses.
func (r *Registry) PutPerson(ctx context.Context, org event.OrgID, p Person) (Person, error) {
	people, err := r.PutPeople(ctx, org, []Person{p})
	if err != nil {
		return Person{}, err
	}
	return people[0], nil
}

// PutPeople does the work of PutPerson for many people in one transaction: all of
// them or none. A fault of one is a *ChangeError with its index.
func (r *Registry) PutPeople(ctx context.Context, org event.OrgID, people []Person) ([]Person, error) {
	return nil, notBuilt("put people")
}

func linkPeople(_ context.Context, _ bun.Tx, _ *draft, _ []Recipient, _ event.Micros) error {
	return nil
}
