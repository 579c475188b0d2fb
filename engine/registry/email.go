package registry

import (
	"context"
	"database/sql"
	"errors"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// FollowState is the reference product's follow state of an email.
type FollowState string

// FollowOn marks an email whose interactions are collected.
const FollowOn FollowState = "on"

// Email is one followed email. It does not change once registered.
type Email struct {
	Org       event.OrgID   `bun:"org_id,pk"`
	ID        event.EmailID `bun:"id,pk"`
	From      string        `bun:"sender"`
	Subject   string        `bun:"subject"`
	Template  string        `bun:"template"` // may be empty
	Follow    FollowState   `bun:"follow_state"`
	CreatedAt event.Micros  `bun:"created_at"`
}

// Recipient is a person as an organisation writes to them. Address, Name and
// Person are as given when the address was first seen.
type Recipient struct {
	Org       event.OrgID       `bun:"org_id,pk"`
	ID        event.RecipientID `bun:"id,pk"`
	Address   string            `bun:"address"`
	Name      string            `bun:"name"`   // may be empty
	Person    string            `bun:"person"` // the sender's own id of the person; may be empty
	CreatedAt event.Micros      `bun:"created_at"`
}

// EmailRecipient says that an email went to a recipient.
type EmailRecipient struct {
	Org       event.OrgID       `bun:"org_id,pk"`
	Email     event.EmailID     `bun:"email_id,pk"`
	Recipient event.RecipientID `bun:"recipient_id,pk"`
}

// Link is one link of an email.
type Link struct {
	Org     event.OrgID   `bun:"org_id,pk"`
	Email   event.EmailID `bun:"email_id,pk"`
	Ordinal int32         `bun:"ordinal,pk"` // place among the email's links, from 1
	URL     string        `bun:"url"`
}

// EmailDetail is an email with all that belongs to it.
type EmailDetail struct {
	Email
	Recipients []Recipient
	Links      []Link // in the order of their ordinals

	Attachments []EmailAttachment // likewise
}

type emailRow struct {
	bun.BaseModel `bun:"table:emails,alias:e"`
	Email
}

type recipientRow struct {
	bun.BaseModel `bun:"table:recipients,alias:r"`
	Recipient
	AddressKey string `bun:"address_key"`
}

type emailRecipientRow struct {
	bun.BaseModel `bun:"table:email_recipients,alias:er"`
	EmailRecipient
}

type linkRow struct {
	bun.BaseModel `bun:"table:links,alias:l"`
	Link
}

// Email returns one email with its recipients in the order of their ids.
// Problem: email_not_found.
func (r *Registry) Email(ctx context.Context, org event.OrgID, id event.EmailID) (EmailDetail, error) {
	var out EmailDetail
	var row emailRow
	err := r.reader.NewSelect().Model(&row).Where("org_id = ?", org).Where("id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return out, problem.New(404, "email_not_found", "There is no such email.")
	} else if err != nil {
		return out, storeError("read email", err)
	}
	out.Email = row.Email
	var people []recipientRow
	if err := peopleOf(r.reader, &people, org, id).Scan(ctx); err != nil {
		return out, storeError("read email's recipients", err)
	}
	for _, p := range people {
		out.Recipients = append(out.Recipients, p.Recipient)
	}
	var links []linkRow
	err = r.reader.NewSelect().Model(&links).
		Where("org_id = ?", org).Where("email_id = ?", id).Order("ordinal").Scan(ctx)
	if err != nil {
		return out, storeError("read email's links", err)
	}
	for _, l := range links {
		out.Links = append(out.Links, l.Link)
	}
	out.Attachments, err = emailAttachments(ctx, r.reader, org, id)
	return out, storeError("read email's attachments", err)
}

func peopleOf(db bun.IDB, rows *[]recipientRow, org event.OrgID, id event.EmailID) *bun.SelectQuery {
	return db.NewSelect().Model(rows).
		Join("JOIN email_recipients AS er ON er.org_id = r.org_id AND er.recipient_id = r.id").
		Where("er.org_id = ?", org).Where("er.email_id = ?", id).Order("er.recipient_id")
}

// Bounds of the page that Emails returns.
const (
	defaultListing = 100
	maxListing     = 1_000
)

// Emails lists the organisation's emails, newest first: at most limit (0 is 100,
// never more than 1,000) whose id is below before; before 0 starts at the newest.
func (r *Registry) Emails(ctx context.Context, org event.OrgID, limit int, before event.EmailID) ([]Email, error) {
	if limit <= 0 {
		limit = defaultListing
	}
	q := r.reader.NewSelect().Model((*emailRow)(nil)).
		Where("org_id = ?", org).Order("id DESC").Limit(int64(min(limit, maxListing)))
	if before > 0 {
		q.Where("id < ?", before)
	}
	var rows []emailRow
	if err := q.Scan(ctx, &rows); err != nil {
		return nil, storeError("list emails", err)
	}
	out := make([]Email, len(rows))
	for i, row := range rows {
		out[i] = row.Email
	}
	return out, nil
}
