package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/uptrace/bun"
)

// checkLedgers verifies the ledger of every organisation.
func (r *Registry) checkLedgers(ctx context.Context) (faults []string, err error) {
	for o := range r.Snapshot().Orgs() {
		_, err := r.VerifyLedger(ctx, o.ID)
		if bad, ok := errors.AsType[*LedgerError](err); ok {
			faults = append(faults, fmt.Sprintf("Entry %d of the consent ledger of organisation %d %s", bad.Seq, bad.Org, bad.Fault))
		} else if err != nil {
			return faults, err
		}
	}
	return faults, nil
}

// SQLite has no aggregate that joins bits; there are four of them.
const (
	joinedDenied  = "max(denied & 1) | max(denied & 2) | max(denied & 4) | max(denied & 8)"
	joinedAllowed = "max(allowed & 1) | max(allowed & 2) | max(allowed & 4) | max(allowed & 8)"
)

// lastEntries has, for each subject, the preference that its last entry leads to.
const lastEntries = `(SELECT org_id, subject_kind, subject_id, max(seq),
		CASE state WHEN 'allowed' THEN was_allowed | purposes ELSE was_allowed & ~purposes END AS allowed,
		CASE state WHEN 'denied' THEN was_denied | purposes ELSE was_denied & ~purposes END AS denied
	FROM consent_ledger GROUP BY org_id, subject_kind, subject_id)`

// checkConsent holds what is stored of people and preferences to the ledger, and
// what follows from them to a second way of working it out.
func (r *Registry) checkConsent(ctx context.Context) (faults []string, err error) {
	for _, c := range []struct{ fault, query string }{
		{"The preference of recipient %d in organisation %d is not what the consent ledger says", `SELECT r.id, r.org_id FROM recipients AS r
			LEFT JOIN ` + lastEntries + ` AS l ON l.org_id = r.org_id AND l.subject_kind = 'recipient' AND l.subject_id = r.id
			WHERE r.allowed <> coalesce(l.allowed, 0) OR r.denied <> coalesce(l.denied, 0)`},
		{"The preference of person %d in organisation %d is not what the consent ledger says", `SELECT p.id, p.org_id FROM people AS p
			LEFT JOIN ` + lastEntries + ` AS l ON l.org_id = p.org_id AND l.subject_kind = 'person' AND l.subject_id = p.id
			WHERE p.allowed <> coalesce(l.allowed, 0) OR p.denied <> coalesce(l.denied, 0)`},
		{"The answer of recipient %d in organisation %d does not follow from the preferences", `SELECT id, org_id FROM (
			SELECT org_id, id, max(answer) AS answer, ` + joinedDenied + ` AS denied, ` + joinedAllowed + ` AS allowed FROM (
				SELECT org_id, id, answer, CASE erased_at WHEN 0 THEN denied ELSE 15 END AS denied, allowed FROM recipients
				UNION ALL SELECT pa.org_id, pa.recipient_id, 0, p.denied | coalesce(a.denied, 0), p.allowed FROM person_addresses AS pa
					JOIN people AS p ON p.org_id = pa.org_id AND p.id = pa.person_id
					LEFT JOIN people AS a ON a.org_id = p.org_id AND a.id = p.account_id)
			GROUP BY org_id, id) WHERE answer <> denied + 16 * (allowed & ~denied)`},
		{"The account of person %d in organisation %d is no account", `SELECT p.id, p.org_id FROM people AS p
			JOIN people AS a ON a.org_id = p.org_id AND a.id = p.account_id WHERE a.kind <> 'account'`},
		{"The counter of people is below the id %d in organisation %d", `SELECT p.id, p.org_id FROM people AS p
			JOIN organisations AS o ON o.id = p.org_id WHERE p.id > o.last_person_id`},
		{"The counter of proofs is below the id %d in organisation %d", `SELECT p.id, p.org_id FROM consent_proofs AS p
			JOIN organisations AS o ON o.id = p.org_id WHERE p.id > o.last_proof_id`},
		{"The counter of changes is below that of email %d in organisation %d", `SELECT e.id, e.org_id FROM emails AS e
			JOIN organisations AS o ON o.id = e.org_id WHERE e.change > o.last_email_change`},
		{"Of the audit trail only %d entries are left in organisation %d", `SELECT count(*), org_id FROM org_events GROUP BY org_id HAVING count(*) <> max(seq)`},
		{"The audit trail, with %d entries, of organisation %d does not lead to its state", `SELECT count(e.seq), o.id FROM organisations AS o
			LEFT JOIN org_events AS e ON e.org_id = o.id
			GROUP BY o.id HAVING o.state IS NOT (SELECT after FROM org_events WHERE org_id = o.id AND action <> 'policy' ORDER BY seq DESC LIMIT 1)`},
	} {
		var rows []struct {
			ID  int64 `bun:"id"`
			Org int64 `bun:"org_id"`
		}
		if err := r.reader.NewRaw("WITH found (id, org_id) AS (?) SELECT id, org_id FROM found LIMIT ?", bun.Safe(c.query), maxFindings).Scan(ctx, &rows); err != nil {
			return faults, err
		}
		for _, row := range rows {
			faults = append(faults, fmt.Sprintf(c.fault, row.ID, row.Org))
		}
	}
	return faults, nil
}
