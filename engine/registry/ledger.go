package registry

import (
	"context"
	"iter"

	"mailwake/engine/event"
)

// LedgerEntry is one preference as it was given. Entries are never changed.
type LedgerEntry struct {
	Seq         int64 // from 1, without gaps
	At          event.Micros
	Subject     Subject
	Purposes    Purposes
	State       Preference
	Previous    Answers // of the subject, for all purposes, before this entry
	Source      string
	FormVersion string
	Text        string
	Locale      string
	Actor       Actor
	Evidence    string
	Hash        [32]byte // over the previous entry's hash and all of the above
}

// LedgerHead is where an organisation's ledger ends. Kept elsewhere, it shows
// later whether the ledger was rewritten as a whole.
type LedgerHead struct {
	Entries int64
	Hash    [32]byte // of the last entry; zero without one
}

// LedgerError says which entry of a consent ledger is the first that is not as it
// was written. It unwraps to the problem ledger_damaged.
type LedgerError struct {
	Org   event.OrgID
	Seq   int64
	Fault string // what is wrong with it, without personal data
}

// Ledger yields the organisation's entries with a number above after, in order.
// It does not verify them; see VerifyLedger. An error ends the sequence.
func (r *Registry) Ledger(ctx context.Context, org event.OrgID, after int64) iter.Seq2[LedgerEntry, error] {
	return func(yield func(LedgerEntry, error) bool) { yield(LedgerEntry{}, notBuilt("read ledger")) }
}

// VerifyLedger reads the organisation's whole ledger and returns the number of its
// entries, or a *LedgerError that names the first bad one. Problem: org_not_found.
func (r *Registry) VerifyLedger(ctx context.Context, org event.OrgID) (entries int64, err error) {
	return 0, notBuilt("verify ledger")
}
