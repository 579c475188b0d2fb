package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// AttachmentID identifies an attachment within its organisation, dense from 1.
type AttachmentID int64

// AttachmentState says how far an attachment's blob is.
type AttachmentState string

// States of an attachment. Only stored ones can be looked at and sent.
const (
	AttachmentUploading AttachmentState = "uploading" // the blob may be there, in part, or not
	AttachmentStored    AttachmentState = "stored"
	AttachmentRemoved   AttachmentState = "removed" // the blob is to be deleted, then the row
)

// Attachment is a file that a sender uploaded to go with emails.
type Attachment struct {
	Org         event.OrgID     `bun:"org_id,pk"`
	ID          AttachmentID    `bun:"id,pk"`
	Name        string          `bun:"name"`         // one path segment, as people see it
	ContentType string          `bun:"content_type"` // fixed at upload
	Size        int64           `bun:"size"`         // bytes
	SHA256      string          `bun:"sha256"`       // lower-case hex
	Key         string          `bun:"blob_key"`     // in the blob store; never used twice
	Follow      bool            `bun:"follow"`       // views are to be collected
	Sent        bool            `bun:"sent"`         // an email with it was sent: it cannot change any more
	State       AttachmentState `bun:"state"`
	CreatedAt   event.Micros    `bun:"created_at"`
}

type attachmentRow struct {
	bun.BaseModel `bun:"table:attachments,alias:a"`
	Attachment
}

// NewAttachment describes an attachment before its bytes are there. Key is where
// they will be in the blob store.
type NewAttachment struct {
	Name, ContentType, Key string
	Follow                 bool
}

// BeginAttachment writes the row of an attachment whose blob is about to be
// stored under in.Key. Problems: attachment_name_invalid, content_type_invalid,
// org_not_found, feature_disabled.
func (r *Registry) BeginAttachment(ctx context.Context, org event.OrgID, in NewAttachment) (Attachment, error) {
	if fault := attachmentNameFault(in.Name); fault != "" {
		return Attachment{}, problem.New(422, "attachment_name_invalid", "The attachment's name %s.", fault)
	}
	if fault := textFault(in.ContentType, MaxContentTypeBytes, false); fault != "" {
		return Attachment{}, problem.New(422, "content_type_invalid", "The content type %s.", fault)
	}
	row := attachmentRow{Attachment: Attachment{
		Org: org, Name: in.Name, ContentType: in.ContentType, Key: in.Key, Follow: in.Follow, State: AttachmentUploading, CreatedAt: r.now(),
	}}
	err := r.write(ctx, "begin attachment", func(tx bun.Tx) error {
		var state OrgState
		err := tx.NewRaw(`UPDATE organisations SET last_attachment_id = last_attachment_id + 1
			WHERE id = ? RETURNING last_attachment_id, state`, org).Scan(ctx, &row.ID, &state)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return orgNotFound()
		case err != nil:
			return fmt.Errorf("take id: %w", err)
		case state != OrgEnabled:
			return problem.New(409, "feature_disabled", "Following is switched off for this organisation, so it takes no attachments.")
		}
		_, err = tx.NewInsert().Model(&row).Exec(ctx)
		return err
	})
	if err != nil {
		return Attachment{}, err
	}
	return row.Attachment, nil
}

// FinishAttachment says that all size bytes with this SHA-256 (hex) are stored;
// from now on the attachment can be sent. Problem: attachment_not_found.
func (r *Registry) FinishAttachment(ctx context.Context, org event.OrgID, id AttachmentID, size int64, sha256 string) (Attachment, error) {
	return r.changeAttachment(ctx, "finish attachment", org, id, AttachmentUploading, func(a *Attachment) error {
		a.Size, a.SHA256, a.State = size, sha256, AttachmentStored
		return nil
	})
}

// FollowAttachment decides whether views are to be collected. Problems:
// attachment_not_found, attachment_sent.
func (r *Registry) FollowAttachment(ctx context.Context, org event.OrgID, id AttachmentID, follow bool) (Attachment, error) {
	return r.changeAttachment(ctx, "follow attachment", org, id, AttachmentStored, func(a *Attachment) error {
		if a.Sent && a.Follow != follow {
			return attachmentSent()
		}
		a.Follow = follow
		return nil
	})
}

// RemoveAttachment takes an attachment that was never sent out of use. Its blob
// is then to be deleted, and after that ForgetAttachment called. Problems:
// attachment_not_found, attachment_sent.
func (r *Registry) RemoveAttachment(ctx context.Context, org event.OrgID, id AttachmentID) (Attachment, error) {
	return r.changeAttachment(ctx, "remove attachment", org, id, AttachmentStored, func(a *Attachment) error {
		if a.Sent {
			return attachmentSent()
		}
		a.State = AttachmentRemoved
		return nil
	})
}

func (r *Registry) changeAttachment(ctx context.Context, act string, org event.OrgID, id AttachmentID, from AttachmentState, fn func(*Attachment) error) (Attachment, error) {
	var row attachmentRow
	err := r.write(ctx, act, func(tx bun.Tx) (err error) {
		if row, err = attachmentIn(ctx, tx, org, id, from); err != nil {
			return err
		}
		if err := fn(&row.Attachment); err != nil {
			return err
		}
		_, err = tx.NewUpdate().Model(&row).Column("size", "sha256", "follow", "state").WherePK().Exec(ctx)
		return err
	})
	if err != nil {
		return Attachment{}, err
	}
	return row.Attachment, nil
}

// ForgetAttachment deletes the row of an attachment whose blob is gone. It
// leaves stored ones alone.
func (r *Registry) ForgetAttachment(ctx context.Context, org event.OrgID, id AttachmentID) error {
	return r.write(ctx, "forget attachment", func(tx bun.Tx) error {
		_, err := tx.NewDelete().Model((*attachmentRow)(nil)).Where("org_id = ?", org).Where("id = ?", id).
			Where("state <> ?", AttachmentStored).Where("sent = 0").Exec(ctx)
		return err
	})
}

// Attachment returns a stored attachment. Problem: attachment_not_found.
func (r *Registry) Attachment(ctx context.Context, org event.OrgID, id AttachmentID) (Attachment, error) {
	row, err := attachmentIn(ctx, r.reader, org, id, AttachmentStored)
	return row.Attachment, storeError("read attachment", err)
}

func attachmentIn(ctx context.Context, db bun.IDB, org event.OrgID, id AttachmentID, state AttachmentState) (row attachmentRow, err error) {
	err = db.NewSelect().Model(&row).Where("org_id = ?", org).Where("id = ?", id).Where("state = ?", state).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		err = attachmentNotFound()
	}
	return row, err
}

// Attachments lists the organisation's stored attachments, newest first, as
// Emails lists emails.
func (r *Registry) Attachments(ctx context.Context, org event.OrgID, limit int, before AttachmentID) ([]Attachment, error) {
	if limit <= 0 {
		limit = defaultListing
	}
	q := r.reader.NewSelect().Model((*attachmentRow)(nil)).
		Where("org_id = ?", org).Where("state = ?", AttachmentStored).Order("id DESC").Limit(int64(min(limit, maxListing)))
	if before > 0 {
		q.Where("id < ?", before)
	}
	return scanAttachments(ctx, q)
}

// AbandonedAttachments returns up to limit attachments of any organisation, each
// created before the given time, that were never sent: uploads that broke off,
// removals that did, and files that no email took.
func (r *Registry) AbandonedAttachments(ctx context.Context, before time.Time, limit int) ([]Attachment, error) {
	return scanAttachments(ctx, r.reader.NewSelect().Model((*attachmentRow)(nil)).
		Where("sent = 0").Where("created_at < ?", event.At(before)).Order("created_at").Limit(int64(limit)))
}

// AbandonAttachment is RemoveAttachment for any state: what is not sent is taken
// out of use. Problems: attachment_not_found, attachment_sent.
func (r *Registry) AbandonAttachment(ctx context.Context, org event.OrgID, id AttachmentID) error {
	return r.write(ctx, "abandon attachment", func(tx bun.Tx) error {
		var sent bool
		err := tx.NewRaw(`UPDATE attachments SET state = CASE sent WHEN 0 THEN ? ELSE state END
			WHERE org_id = ? AND id = ? RETURNING sent`, AttachmentRemoved, org, id).Scan(ctx, &sent)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return attachmentNotFound()
		case sent:
			return attachmentSent()
		}
		return err
	})
}

func scanAttachments(ctx context.Context, q *bun.SelectQuery) ([]Attachment, error) {
	var rows []attachmentRow
	if err := q.Scan(ctx, &rows); err != nil {
		return nil, storeError("list attachments", err)
	}
	out := make([]Attachment, len(rows))
	for i, row := range rows {
		out[i] = row.Attachment
	}
	return out, nil
}

func attachmentNotFound() *problem.Error {
	return problem.New(404, "attachment_not_found", "There is no such attachment.")
}

func attachmentSent() *problem.Error {
	return problem.New(409, "attachment_sent", "An email with this attachment was sent; it cannot be changed or removed any more.")
}
