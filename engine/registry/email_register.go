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
	"mailwake/engine/problem"
)

// rowsPerStatement keeps a bulk statement's text around 100 kB for usual rows:
// larger ones gain nothing, and parsing needs memory in proportion.
const rowsPerStatement = 500

// RegisterEmail stores an email in one transaction, gives it its ids and evaluates
// whether it is followed: see EmailDetail.Follow and Addressee.Purposes. An email
// that is off or blocked is stored too; being blocked is no error.
//
// An address that the organisation has written to before keeps its recipient id;
// the first name and person stored for it stay. Where Person is the external id of
// a contact or lead, the address becomes one of theirs, so that their refusals
// reach it. The recipients of the answer are in the order of the request, with
// the texts of the request. Problems: sender_invalid, subject_invalid,
// template_invalid, reason_invalid, too_many_links, link_invalid,
// recipients_missing, too_many_recipients, recipient_invalid,
// recipient_duplicate, too_many_attachments, attachment_duplicate,
// attachment_unknown, org_not_found, feature_disabled, and of a retry
// email_not_found, email_not_blocked.
func (r *Registry) RegisterEmail(ctx context.Context, org event.OrgID, in NewEmail) (EmailDetail, error) {
	keys, err := in.prepare()
	if err != nil {
		return EmailDetail{}, err
	}
	var out EmailDetail
	err = r.change(ctx, "register email", func(tx bun.Tx, next *draft) (err error) {
		out, err = registerEmail(ctx, tx, next, org, &in, keys, r.now())
		return err
	})
	if err != nil {
		return EmailDetail{}, err
	}
	return out, nil
}

// registerEmail does the work of RegisterEmail within tx.
func registerEmail(ctx context.Context, tx bun.Tx, next *draft, org event.OrgID, in *NewEmail, keys []string, now event.Micros) (EmailDetail, error) {
	o, ok := next.Org(org)
	if !ok {
		return EmailDetail{}, orgNotFound()
	}
	if err := o.CheckEnabled(); err != nil {
		return EmailDetail{}, err
	}
	out := EmailDetail{Email: Email{
		Org: org, ID: in.Retry, From: in.From, Subject: in.Subject, Template: in.Template, Wished: in.Wish, CreatedAt: now,
	}}
	if err := placeEmail(ctx, tx, &out.Email); err != nil {
		return EmailDetail{}, err
	}
	people, err := takeRecipients(ctx, tx, org, in.Recipients, keys, now)
	if err != nil {
		return EmailDetail{}, err
	}
	if err := linkPeople(ctx, tx, next, people, now); err != nil {
		return EmailDetail{}, err
	}
	evaluate(&out, people, next.Consent(org), o.Policy, in)
	if out.Follow != FollowBlocked || in.SendPlain {
		out.SentAt = now
	}
	for i, url := range in.Links {
		out.Links = append(out.Links, Link{Org: org, Email: out.ID, Ordinal: int32(i + 1), URL: url})
	}
	if err := insertEmail(ctx, tx, &out); err != nil || out.SentAt == 0 {
		return out, err
	}
	out.Attachments, err = attachToEmail(ctx, tx, org, out.ID, in.Attachments, out.Follow == FollowOn)
	return out, err
}

// insertEmail stores what registerEmail found. Parents go before children:
// foreign keys are checked by statement.
func insertEmail(ctx context.Context, tx bun.Tx, e *EmailDetail) error {
	row := emailRow{Email: e.Email, ReasonList: strings.Join(e.Reasons, ",")}
	if _, err := tx.NewInsert().Model(&row).On("CONFLICT (org_id, id) DO UPDATE").Exec(ctx); err != nil {
		return fmt.Errorf("insert email: %w", err)
	}
	joins := make([]emailRecipientRow, len(e.Recipients))
	for i, a := range e.Recipients {
		joins[i] = emailRecipientRow{
			EmailRecipient: EmailRecipient{Org: e.Org, Email: e.ID, Recipient: a.ID, Purposes: a.Purposes},
			ReasonList:     strings.Join(a.Reasons, ","), Blocks: a.Blocks,
		}
	}
	if err := insertAll(ctx, tx, joins); err != nil {
		return err
	}
	links := make([]linkRow, len(e.Links))
	for i, l := range e.Links {
		links[i] = linkRow{Link: l}
	}
	return insertAll(ctx, tx, links)
}

// placeEmail gives a new email its id, and clears the place of one to be retried.
func placeEmail(ctx context.Context, tx bun.Tx, e *Email) error {
	fresh := 1
	if e.ID != 0 {
		fresh = 0
		if err := clearBlocked(ctx, tx, e); err != nil {
			return err
		}
	}
	var row orgRow
	err := tx.NewRaw(`UPDATE organisations
		SET last_email_id = last_email_id + ?, last_email_change = last_email_change + 1
		WHERE id = ? RETURNING last_email_id, last_email_change`, fresh, e.Org).Scan(ctx, &row)
	if err != nil {
		return fmt.Errorf("take email id: %w", err)
	}
	if fresh == 1 {
		e.ID = row.LastEmail
	}
	e.Change = row.LastChange
	return nil
}

// clearBlocked removes what hangs on the email to be retried, and keeps its age.
func clearBlocked(ctx context.Context, tx bun.Tx, e *Email) error {
	var old emailRow
	err := tx.NewSelect().Model(&old).Where("org_id = ?", e.Org).Where("id = ?", e.ID).Scan(ctx)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return problem.New(404, "email_not_found", "There is no such email.")
	case err != nil:
		return fmt.Errorf("read email: %w", err)
	case old.Follow != FollowBlocked || old.SentAt != 0:
		return problem.New(409, "email_not_blocked", "Only a blocked email of which nothing was sent can be retried; send this one as a new email.")
	}
	e.CreatedAt = old.CreatedAt
	for _, table := range []string{"links", "email_recipients"} {
		if _, err := tx.NewDelete().TableExpr("?", bun.Ident(table)).Where("org_id = ? AND email_id = ?", e.Org, e.ID).Exec(ctx); err != nil {
			return fmt.Errorf("clear email's %s: %w", table, err)
		}
	}
	return nil
}

func insertAll[T any](ctx context.Context, tx bun.Tx, rows []T) error {
	for part := range slices.Chunk(rows, rowsPerStatement) {
		if _, err := tx.NewInsert().Model(&part).Exec(ctx); err != nil {
			return fmt.Errorf("insert rows: %w", err)
		}
	}
	return nil
}
