package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// takeRecipients returns a recipient for each address, in order; an address that
// is new to the organisation gets the next id. keys are the addresses' keys. The
// texts of the answer are those of people.
func takeRecipients(ctx context.Context, tx bun.Tx, org event.OrgID, people []NewRecipient, keys []string, now event.Micros) ([]Recipient, error) {
	known, err := knownRecipients(ctx, tx, org, keys)
	if err != nil {
		return nil, err
	}
	next, err := takeRecipientIDs(ctx, tx, org, len(keys)-len(known))
	if err != nil {
		return nil, err
	}
	var fresh []recipientRow
	out := make([]Recipient, len(keys))
	for i, p := range people {
		out[i] = Recipient{Org: org, Address: strings.TrimSpace(p.Address), Name: p.Name, Person: p.Person, CreatedAt: now}
		if old, ok := known[keys[i]]; ok {
			out[i].ID, out[i].CreatedAt = old.ID, old.CreatedAt
			continue
		}
		out[i].ID = next
		next++
		fresh = append(fresh, recipientRow{Recipient: out[i], AddressKey: keys[i]})
	}
	return out, insertAll(ctx, tx, fresh)
}

// takeRecipientIDs moves the organisation's counter by n and returns the first of
// the n ids.
func takeRecipientIDs(ctx context.Context, tx bun.Tx, org event.OrgID, n int) (event.RecipientID, error) {
	if n == 0 {
		return 0, nil
	}
	var last event.RecipientID
	err := tx.NewRaw("UPDATE organisations SET last_recipient_id = last_recipient_id + ? WHERE id = ? RETURNING last_recipient_id", n, org).
		Scan(ctx, &last)
	if err != nil {
		return 0, fmt.Errorf("take recipient ids: %w", err)
	}
	if last > maxRecipientID {
		return 0, problem.New(507, "addresses_exhausted", "The organisation has as many addresses as there can be; use another organisation.")
	}
	return last - event.RecipientID(n) + 1, nil
}

// knownRecipients returns those of the addresses that have an id already.
func knownRecipients(ctx context.Context, db bun.IDB, org event.OrgID, keys []string) (map[string]Recipient, error) {
	known := map[string]Recipient{}
	for part := range slices.Chunk(keys, rowsPerStatement) {
		var rows []recipientRow
		if err := lookUp(db, org, part).Scan(ctx, &rows); err != nil {
			return nil, fmt.Errorf("look up recipients: %w", err)
		}
		for _, row := range rows {
			known[row.AddressKey] = row.Recipient
		}
	}
	return known, nil
}

// lookUp joins the addresses from the left, one index search each. With IN (…)
// SQLite reads all recipients of the organisation once the list has some twenty
// members; CROSS JOIN keeps it from changing the order.
func lookUp(db bun.IDB, org event.OrgID, keys []string) *bun.RawQuery {
	args := make([]any, 0, len(keys)+1)
	for _, key := range keys {
		args = append(args, key)
	}
	return db.NewRaw("WITH wanted (address_key) AS (VALUES (?)"+strings.Repeat(", (?)", len(keys)-1)+`)
		SELECT r.id, r.created_at, r.address_key FROM wanted CROSS JOIN recipients AS r
		WHERE r.org_id = ? AND r.address_key = wanted.address_key`, append(args, org)...)
}
