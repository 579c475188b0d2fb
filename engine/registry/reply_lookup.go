package registry

import (
	"context"
	"database/sql"
	"errors"
	netmail "net/mail"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// maxRecentEmails bounds what RecentEmailsTo returns: somebody who gets more
// mails than that within the time asked for answers one of the newest.
const maxRecentEmails = 200

// Replier is what is known about an address that seems to answer an email.
type Replier struct {
	Known     bool              // the email exists and its copy went to the recipient asked for
	IsSender  bool              // the address is the one the email came from
	Recipient event.RecipientID // the organisation's recipient with this address; 0: none
	GotEmail  bool              // that recipient got a copy of the email too
}

// Replier looks up who answers the copy of an email that went to recipient. An
// address that is none, or nobody's, is answered like an unknown one.
func (r *Registry) Replier(ctx context.Context, org event.OrgID, email event.EmailID, recipient event.RecipientID, address string) (Replier, error) {
	key, _ := addressKey(address) // "" is nobody's key
	var row struct {
		Sender    string
		Copy      bool
		Recipient event.RecipientID
		GotEmail  bool
	}
	err := r.reader.NewRaw(`SELECT e.sender,
			EXISTS (SELECT 1 FROM email_recipients WHERE org_id = e.org_id AND email_id = e.id AND recipient_id = ?) AS copy,
			coalesce(r.id, 0) AS recipient,
			EXISTS (SELECT 1 FROM email_recipients WHERE org_id = e.org_id AND email_id = e.id AND recipient_id = r.id) AS got_email
		FROM emails AS e LEFT JOIN recipients AS r ON r.org_id = e.org_id AND r.address_key = ?
		WHERE e.org_id = ? AND e.id = ?`, recipient, key, org, email).Scan(ctx, &row)
	if errors.Is(err, sql.ErrNoRows) {
		return Replier{}, nil
	} else if err != nil {
		return Replier{}, storeError("look up replier", err)
	}
	return Replier{
		Known: row.Copy, IsSender: key != "" && key == senderKey(row.Sender), Recipient: row.Recipient, GotEmail: row.GotEmail,
	}, nil
}

// senderKey returns the address key of a From header, "" when it holds none.
func senderKey(from string) string {
	address, err := netmail.ParseAddress(from)
	if err != nil {
		return ""
	}
	key, _ := addressKey(address.Address)
	return key
}

// RecentEmailsTo lists the followed emails that went to address since a time,
// newest first, at most 200, and the recipient with that address; 0 and none
// when there is no such recipient.
func (r *Registry) RecentEmailsTo(ctx context.Context, org event.OrgID, address string, since event.Micros) (event.RecipientID, []Email, error) {
	key, fault := addressKey(address)
	if fault != "" {
		return 0, nil, nil
	}
	var recipient event.RecipientID
	err := r.reader.NewRaw("SELECT id FROM recipients WHERE org_id = ? AND address_key = ?", org, key).Scan(ctx, &recipient)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil, nil
	} else if err != nil {
		return 0, nil, storeError("look up recipient", err)
	}
	var rows []emailRow
	err = r.reader.NewSelect().Model(&rows).
		Join("JOIN email_recipients AS er ON er.org_id = e.org_id AND er.email_id = e.id").
		Where("er.org_id = ?", org).Where("er.recipient_id = ?", recipient).
		Where("e.follow_state = ?", FollowOn).Where("e.created_at >= ?", since).
		Order("er.email_id DESC").Limit(maxRecentEmails).Scan(ctx)
	if err != nil {
		return 0, nil, storeError("list emails of a recipient", err)
	}
	emails := make([]Email, len(rows))
	for i, row := range rows {
		emails[i] = row.Email
	}
	return recipient, emails, nil
}

// RecipientAddress returns the address of a recipient as first given.
// Problem: recipient_not_found.
func (r *Registry) RecipientAddress(ctx context.Context, org event.OrgID, recipient event.RecipientID) (address string, err error) {
	err = r.reader.NewRaw("SELECT address FROM recipients WHERE org_id = ? AND id = ?", org, recipient).Scan(ctx, &address)
	if errors.Is(err, sql.ErrNoRows) {
		return "", recipientNotFound()
	}
	return address, storeError("read recipient", err)
}

func recipientNotFound() *problem.Error {
	return problem.New(404, "recipient_not_found", "There is no such recipient.")
}
