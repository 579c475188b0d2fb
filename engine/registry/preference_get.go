package registry

import (
	"context"
	"database/sql"
	"errors"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// Preferences returns what is recorded for a subject and what follows from it.
// Problems: person_not_found, recipient_not_found, preference_subject_invalid.
func (r *Registry) Preferences(ctx context.Context, org event.OrgID, of Subject) (PreferenceState, error) {
	out := PreferenceState{Subject: of}
	query, addresses := "", ""
	switch of.Kind {
	case SubjectPerson:
		query = `SELECT p.allowed, p.denied, coalesce(a.denied, 0) FROM people AS p
			LEFT JOIN people AS a ON a.org_id = p.org_id AND a.id = p.account_id WHERE p.org_id = ? AND p.id = ?`
		addresses = `SELECT r.id, r.address, r.answer FROM person_addresses AS pa
			JOIN recipients AS r ON r.org_id = pa.org_id AND r.id = pa.recipient_id
			WHERE pa.org_id = ? AND pa.person_id = ? ORDER BY pa.ordinal`
	case SubjectRecipient:
		query = "SELECT allowed, denied, 0 FROM recipients WHERE org_id = ? AND id = ?"
		addresses = "SELECT id, address, answer FROM recipients WHERE org_id = ? AND id = ?"
	default:
		return PreferenceState{}, problem.New(422, "preference_subject_invalid", "A preference belongs to a person or a recipient.")
	}
	// One transaction, so that the parts belong together.
	tx, err := r.reader.BeginTx(ctx, nil)
	if err != nil {
		return PreferenceState{}, storeError("read preferences", err)
	}
	defer func() { _ = tx.Rollback() }()
	err = tx.QueryRowContext(ctx, query, int64(org), of.ID).Scan(&out.Own.Allowed, &out.Own.Denied, &out.Inherited)
	if errors.Is(err, sql.ErrNoRows) {
		return PreferenceState{}, noSubject(of.Kind)
	} else if err != nil {
		return PreferenceState{}, storeError("read preferences", err)
	}
	var rows []struct {
		ID      event.RecipientID `bun:"id"`
		Address string            `bun:"address"`
		Answer  int               `bun:"answer"`
	}
	if err := tx.NewRaw(addresses, org, of.ID).Scan(ctx, &rows); err != nil {
		return PreferenceState{}, storeError("read preferences", err)
	}
	for _, row := range rows {
		out.Addresses = append(out.Addresses, AddressAnswers{row.ID, row.Address, unpacked(row.Answer)})
	}
	return out, nil
}
