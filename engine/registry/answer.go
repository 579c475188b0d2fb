package registry

import (
	"context"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
)

// idsPerStatement keeps the list of one json_each around 100 kB.
const idsPerStatement = 10_000

// reanswer works out anew what follows for these recipients from all preferences
// that reach them, stores what differs and puts it into the draft.
func reanswer(ctx context.Context, tx bun.Tx, next *draft, org event.OrgID, recipients []event.RecipientID, now event.Micros) error {
	slices.Sort(recipients)
	recipients = slices.Compact(recipients)
	changed := 0
	for part := range slices.Chunk(recipients, idsPerStatement) {
		answers, err := workOut(ctx, tx, org, part)
		if err != nil {
			return err
		}
		n, err := putAnswers(ctx, tx, next, org, part, answers, now)
		if err != nil {
			return err
		}
		changed += n
	}
	if changed == 0 {
		return nil
	}
	sets := next.consentOf(org)
	err := tx.NewRaw("UPDATE organisations SET consent_version = consent_version + 1 WHERE id = ? RETURNING consent_version", org).
		Scan(ctx, &sets.version)
	if err != nil {
		return fmt.Errorf("count change of consent: %w", err)
	}
	return nil
}

// CROSS JOIN keeps SQLite from any order but from the list to what is wanted.
const (
	answersQuery = `SELECT r.id, r.allowed, CASE r.erased_at WHEN 0 THEN r.denied ELSE 15 END,
			coalesce(p.allowed, 0), coalesce(p.denied, 0) | coalesce(a.denied, 0)
		FROM json_each(?) AS wanted
		CROSS JOIN recipients AS r ON r.org_id = ? AND r.id = wanted.value
		LEFT JOIN person_addresses AS pa ON pa.org_id = r.org_id AND pa.recipient_id = r.id
		LEFT JOIN people AS p ON p.org_id = pa.org_id AND p.id = pa.person_id
		LEFT JOIN people AS a ON a.org_id = p.org_id AND a.id = p.account_id`
	reachedQuery = `SELECT pa.recipient_id FROM json_each(?) AS wanted
			CROSS JOIN person_addresses AS pa ON pa.org_id = ? AND pa.person_id = wanted.value
		UNION ALL SELECT pa.recipient_id FROM json_each(?) AS wanted
			CROSS JOIN people AS c ON c.org_id = ? AND c.account_id = wanted.value
			CROSS JOIN person_addresses AS pa ON pa.org_id = c.org_id AND pa.person_id = c.id`
)

// workOut joins, for each recipient, its own preference, those of everybody who
// has the address, and their accounts' refusals.
func workOut(ctx context.Context, db bun.IDB, org event.OrgID, recipients []event.RecipientID) (map[event.RecipientID]Answers, error) {
	rows, err := db.QueryContext(ctx, answersQuery, jsonList(recipients), org)
	if err != nil {
		return nil, fmt.Errorf("work out preferences: %w", err)
	}
	defer rows.Close()
	out := make(map[event.RecipientID]Answers, len(recipients))
	for rows.Next() {
		var id event.RecipientID
		var own, person Answers
		if err := rows.Scan(&id, &own.Allowed, &own.Denied, &person.Allowed, &person.Denied); err != nil {
			return nil, fmt.Errorf("work out preferences: %w", err)
		}
		out[id] = out[id].strictest(own).strictest(person)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("work out preferences: %w", err)
	}
	return out, nil
}

// putAnswers stores the answers that differ from the draft's and returns how many.
func putAnswers(ctx context.Context, tx bun.Tx, next *draft, org event.OrgID, recipients []event.RecipientID, answers map[event.RecipientID]Answers, now event.Micros) (changed int, err error) {
	update, err := tx.PrepareContext(ctx, `UPDATE recipients SET answered_at = CASE WHEN answer & ? = ? THEN answered_at ELSE ? END, answer = ?
		WHERE org_id = ? AND id = ?`)
	if err != nil {
		return 0, fmt.Errorf("prepare to store answers: %w", err)
	}
	defer func() { _ = update.Close() }()
	for _, id := range recipients {
		is, was := answers[id], next.consent[org-1].answers(id)
		if is == was {
			continue
		}
		if _, err := update.ExecContext(ctx, int64(AllPurposes), int64(is.Denied), int64(now), is.packed(), int64(org), int64(id)); err != nil {
			return 0, fmt.Errorf("store answers: %w", err)
		}
		next.consentOf(org).put(id, was, is)
		changed++
	}
	return changed, nil
}

// addressesOf returns the recipients that these people's preferences reach: their
// own addresses, and those of the contacts of the accounts among them; some twice.
func addressesOf(ctx context.Context, db bun.IDB, org event.OrgID, people []PersonID) (out []event.RecipientID, err error) {
	for part := range slices.Chunk(people, idsPerStatement) {
		list := jsonList(part)
		var ids []event.RecipientID
		err := db.NewRaw(reachedQuery, list, org, list, org).Scan(ctx, &ids)
		if err != nil {
			return nil, fmt.Errorf("find people's addresses: %w", err)
		}
		out = append(out, ids...)
	}
	return out, nil
}
