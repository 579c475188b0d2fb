package registry

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// FollowState is the reference product's follow state of an email.
type FollowState string

// The follow states.
const (
	FollowOn      FollowState = "on"      // interactions are collected, save from whom Addressee.Purposes says not
	FollowOff     FollowState = "off"     // nobody asked for it
	FollowBlocked FollowState = "blocked" // asked for, but recipients do not allow it
)

// ReasonNotAsked is why an email is not followed that nobody wanted followed. The
// other reasons are the names of Reasons, and what NewEmail.WhyNot gave.
const ReasonNotAsked = "not_asked"

// Email is one registered email. Once sent it does not change; a blocked one may
// be retried, see NewEmail.Retry and EmailChanges.
type Email struct {
	Org       event.OrgID   `bun:"org_id,pk"`
	ID        event.EmailID `bun:"id,pk"`
	From      string        `bun:"sender"`
	Subject   string        `bun:"subject"`
	Template  string        `bun:"template"` // may be empty
	Follow    FollowState   `bun:"follow_state"`
	Wished    bool          `bun:"wished"`  // followemailuserpreference
	Reasons   []string      `bun:"-"`       // why Follow is not on, or whose copies are plain; nil for none
	SentAt    event.Micros  `bun:"sent_at"` // when copies were handed out; 0: never, as it was blocked
	CreatedAt event.Micros  `bun:"created_at"`
	Change    int64         `bun:"change"` // the organisation's counter of changes to its emails, when it last changed
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
	Purposes  Purposes          `bun:"purposes"` // what may be collected of this copy; 0 is a plain copy
}

// Link is one link of an email.
type Link struct {
	Org     event.OrgID   `bun:"org_id,pk"`
	Email   event.EmailID `bun:"email_id,pk"`
	Ordinal int32         `bun:"ordinal,pk"` // place among the email's links, from 1
	URL     string        `bun:"url"`
}

// Addressee is a recipient of one email, and what was found of them when it was
// evaluated.
type Addressee struct {
	Recipient
	Purposes Purposes // what may be collected of this copy: 0 is a plain copy, always so unless Follow is on
	Blocks   bool     // may be followed for no purpose at all
	Reasons  []string // names of Reasons: why Purposes lacks some, or why it blocks; nil for none
}

// EmailDetail is an email with all that belongs to it.
type EmailDetail struct {
	Email
	Recipients []Addressee
	Links      []Link // in the order of their ordinals

	Attachments []EmailAttachment // likewise
}

// Blockers returns the recipients who may not be followed at all, whether or not
// they block the email: the reference product's View Preferences.
func (e *EmailDetail) Blockers() (out []Addressee) {
	for _, a := range e.Recipients {
		if a.Blocks {
			out = append(out, a)
		}
	}
	return out
}

type emailRow struct {
	bun.BaseModel `bun:"table:emails,alias:e"`
	Email
	ReasonList string `bun:"reasons"`
}

func (row *emailRow) email() Email {
	row.Reasons = splitReasons(row.ReasonList)
	return row.Email
}

func splitReasons(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

type recipientRow struct {
	bun.BaseModel `bun:"table:recipients,alias:r"`
	Recipient
	AddressKey string `bun:"address_key"`
}

type emailRecipientRow struct {
	bun.BaseModel `bun:"table:email_recipients,alias:er"`
	EmailRecipient
	ReasonList string `bun:"reasons"`
	Blocks     bool   `bun:"blocks"`
}

// addresseeRow joins the two.
type addresseeRow struct {
	recipientRow
	Purposes   Purposes `bun:"purposes"`
	ReasonList string   `bun:"reasons"`
	Blocks     bool     `bun:"blocks"`
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
	out.Email = row.email()
	var people []addresseeRow
	if err := peopleOf(r.reader, &people, org, id).Scan(ctx); err != nil {
		return out, storeError("read email's recipients", err)
	}
	for _, p := range people {
		out.Recipients = append(out.Recipients, Addressee{p.Recipient, p.Purposes, p.Blocks, splitReasons(p.ReasonList)})
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

func peopleOf(db bun.IDB, rows *[]addresseeRow, org event.OrgID, id event.EmailID) *bun.SelectQuery {
	return db.NewSelect().Model(rows).ModelTableExpr("recipients AS r").
		ColumnExpr("r.id, r.org_id, r.address, r.name, r.person, r.created_at, er.purposes, er.reasons, er.blocks").
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
		out[i] = row.email()
	}
	return out, nil
}
