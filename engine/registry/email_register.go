package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
)

// rowsPerStatement keeps a bulk statement's text around 100 kB for usual rows:
// larger ones gain nothing, and parsing needs memory in proportion.
const rowsPerStatement = 500

// RegisterEmail stores a followed email in one transaction and gives it its ids.
// An address that the organisation has written to before keeps its recipient id;
// the first name and person stored for it stay. The recipients of the answer are
// in the order of the request, with the texts of the request. Problems:
// sender_invalid, subject_invalid, template_invalid, too_many_links, link_invalid,
// recipients_missing, too_many_recipients, recipient_invalid,
// recipient_duplicate, too_many_attachments, attachment_duplicate,
// attachment_unknown, org_not_found, org_disabled, org_terminated.
func (r *Registry) RegisterEmail(ctx context.Context, org event.OrgID, in NewEmail) (EmailDetail, error) {
	keys, err := in.prepare()
	if err != nil {
		return EmailDetail{}, err
	}
	var out EmailDetail
	err = r.write(ctx, "register email", func(tx bun.Tx) (err error) {
		out, err = registerEmail(ctx, tx, org, &in, keys, r.now())
		return err
	})
	if err != nil {
		return EmailDetail{}, err
	}
	return out, nil
}

// registerEmail does the work of RegisterEmail within tx.
func registerEmail(ctx context.Context, tx bun.Tx, org event.OrgID, in *NewEmail, keys []string, now event.Micros) (EmailDetail, error) {
	known, err := knownRecipients(ctx, tx, org, keys)
	if err != nil {
		return EmailDetail{}, err
	}
	email, lastRecipient, err := takeEmailIDs(ctx, tx, org, len(keys)-len(known))
	if err != nil {
		return EmailDetail{}, err
	}
	nextRecipient := lastRecipient - event.RecipientID(len(keys)-len(known)) + 1

	out := EmailDetail{Email: Email{
		Org: org, ID: email, From: in.From, Subject: in.Subject, Template: in.Template, Follow: FollowOn, CreatedAt: now,
	}}
	var fresh []recipientRow
	joins := make([]emailRecipientRow, len(keys))
	for i, p := range in.Recipients {
		person := Recipient{
			Org: org, Address: strings.TrimSpace(p.Address), Name: p.Name, Person: p.Person, CreatedAt: now,
		}
		if old, ok := known[keys[i]]; ok {
			person.ID, person.CreatedAt = old.ID, old.CreatedAt
		} else {
			person.ID = nextRecipient
			nextRecipient++
			fresh = append(fresh, recipientRow{Recipient: person, AddressKey: keys[i]})
		}
		out.Recipients = append(out.Recipients, person)
		joins[i].EmailRecipient = EmailRecipient{Org: org, Email: email, Recipient: person.ID}
	}
	var links []linkRow
	for i, url := range in.Links {
		link := Link{Org: org, Email: email, Ordinal: int32(i + 1), URL: url}
		out.Links = append(out.Links, link)
		links = append(links, linkRow{Link: link})
	}
	// Parents before children: foreign keys are checked by statement.
	if err := insertAll(ctx, tx, []emailRow{{Email: out.Email}}); err != nil {
		return EmailDetail{}, err
	}
	if err := insertAll(ctx, tx, fresh); err != nil {
		return EmailDetail{}, err
	}
	if err := insertAll(ctx, tx, joins); err != nil {
		return EmailDetail{}, err
	}
	if err := insertAll(ctx, tx, links); err != nil {
		return EmailDetail{}, err
	}
	out.Attachments, err = attachToEmail(ctx, tx, org, email, in.Attachments, out.Follow == FollowOn)
	return out, err
}

// knownRecipients returns those of the addresses that have an id already.
func knownRecipients(ctx context.Context, tx bun.Tx, org event.OrgID, keys []string) (map[string]Recipient, error) {
	known := map[string]Recipient{}
	for part := range slices.Chunk(keys, rowsPerStatement) {
		var rows []recipientRow
		if err := lookUp(tx, org, part).Scan(ctx, &rows); err != nil {
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

// takeEmailIDs moves the organisation's counters by one email and by as many new
// recipients, and returns where they stand then.
func takeEmailIDs(ctx context.Context, tx bun.Tx, org event.OrgID, recipients int) (event.EmailID, event.RecipientID, error) {
	var row orgRow
	err := tx.NewRaw(`UPDATE organisations
		SET last_email_id = last_email_id + 1, last_recipient_id = last_recipient_id + ?
		WHERE id = ? RETURNING state, last_email_id, last_recipient_id`, recipients, org).Scan(ctx, &row)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, 0, orgNotFound()
	case err != nil:
		return 0, 0, fmt.Errorf("take ids: %w", err)
	case row.State == OrgTerminated:
		return 0, 0, orgTerminated()
	case row.State != OrgEnabled:
		return 0, 0, orgDisabled()
	}
	return row.LastEmail, row.LastRecipient, nil
}

func insertAll[T any](ctx context.Context, tx bun.Tx, rows []T) error {
	for part := range slices.Chunk(rows, rowsPerStatement) {
		if _, err := tx.NewInsert().Model(&part).Exec(ctx); err != nil {
			return fmt.Errorf("insert rows: %w", err)
		}
	}
	return nil
}
