package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
)

// laterChanges returns what has to follow a piece's changes, which have their
// subjects, so that none of them undoes what was asked for after them but stored
// before: a refusal given while an import is running must outlast the import's older
// permission. The ledger gets both, the older one first, and then the later one
// again, with its own time and proof.
func laterChanges(ctx context.Context, tx bun.Tx, piece *pieceRow, changes []newPreference) ([]newPreference, error) {
	var last int64
	if err := tx.NewRaw("SELECT last_proof_id FROM organisations WHERE id = ?", piece.Org).Scan(ctx, &last); err != nil {
		return nil, fmt.Errorf("read last proof: %w", err)
	}
	if last <= piece.Proof {
		return nil, nil
	}
	entries, err := laterEntries(ctx, tx, piece, changes)
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	leads := map[Subject]Answers{} // to what the changes lead
	touched := map[Subject]Purposes{}
	for _, c := range changes {
		leads[c.Subject] = leads[c.Subject].with(c.Purposes, c.State)
		touched[c.Subject] |= c.Purposes
	}
	var out []newPreference
	settled := map[Subject]Purposes{}
	for i := range slices.Backward(entries) { // the last one about a purpose counts
		e := &entries[i]
		s := e.subject()
		c := newPreference{PreferenceChange: PreferenceChange{Subject: s, State: e.state(), Evidence: fmt.Sprintf("entry %d again", e.Seq)}}
		for _, p := range purposes() {
			if Purposes(e.Purposes).Has(p) && touched[s].Has(p) && !settled[s].Has(p) && leads[s].For(p) != c.State {
				c.Purposes |= p.bit()
			}
		}
		settled[s] |= Purposes(e.Purposes)
		if c.Purposes != 0 {
			c.given = &given{&proofRow{Org: e.Org, ID: e.Proof}, event.Micros(e.At)}
			out = append(out, c)
		}
	}
	for _, c := range out {
		if err := tx.NewSelect().Model(c.given.proof).WherePK().Scan(ctx); err != nil {
			return nil, fmt.Errorf("read proof: %w", err)
		}
	}
	return out, nil
}

// laterEntries returns the entries about the subjects of changes that are proven by
// what came after the piece was asked for, in order.
func laterEntries(ctx context.Context, tx bun.Tx, piece *pieceRow, changes []newPreference) ([]ledgerRow, error) {
	wanted := make([][2]any, 0, len(changes))
	seen := make(map[Subject]bool, len(changes))
	for _, c := range changes {
		if !seen[c.Subject] {
			seen[c.Subject] = true
			wanted = append(wanted, [2]any{c.Subject.Kind, c.Subject.ID})
		}
	}
	list, err := json.Marshal(wanted)
	if err != nil {
		return nil, err
	}
	var entries []ledgerRow
	err = tx.NewRaw(`SELECT cl.* FROM json_each(?) AS wanted
		CROSS JOIN consent_ledger AS cl INDEXED BY consent_ledger_by_subject ON cl.org_id = ? AND cl.subject_kind = wanted.value ->> 0
			AND cl.subject_id = wanted.value ->> 1 AND cl.seq > ?
		WHERE cl.proof_id > ?`, string(list), piece.Org, piece.Since, piece.Proof).Scan(ctx, &entries)
	if err != nil {
		return nil, fmt.Errorf("look for later preferences: %w", err)
	}
	slices.SortFunc(entries, func(a, b ledgerRow) int { return cmp.Compare(a.Seq, b.Seq) })
	return entries, nil
}

func (e *ledgerRow) subject() Subject { return Subject{SubjectKind(e.SubjectKind), e.SubjectID} }

func (e *ledgerRow) state() Preference {
	state, _ := ParsePreference(e.State)
	return state
}
