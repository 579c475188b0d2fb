package registry

import (
	"context"
	"iter"

	"mailwake/engine/event"
)

// AttachmentOfEmail is an attachment as it went with an email.
type AttachmentOfEmail struct {
	Email event.EmailID
	EmailAttachment
}

// EmailAttachmentsSince yields the attachments of the organisation's emails with
// an id above after, by email and ordinal. All of an email become visible at once.
func (r *Registry) EmailAttachmentsSince(ctx context.Context, org event.OrgID, after event.EmailID) iter.Seq2[AttachmentOfEmail, error] {
	type place struct {
		email   event.EmailID
		ordinal int32
	}
	type row struct {
		Email    event.EmailID `bun:"email_id"`
		Ordinal  int32         `bun:"ordinal"`
		Followed bool          `bun:"followed"`
		Attachment
	}
	return feed("read emails' attachments", place{after, behindLinks}, func(last place) (rows []row, err error) {
		err = r.reader.NewRaw(`SELECT a.*, ea.email_id, ea.ordinal, ea.followed FROM email_attachments AS ea
			JOIN attachments AS a ON a.org_id = ea.org_id AND a.id = ea.attachment_id
			WHERE ea.org_id = ? AND (ea.email_id, ea.ordinal) > (?, ?) ORDER BY ea.email_id, ea.ordinal LIMIT ?`,
			org, last.email, last.ordinal, feedPage).Scan(ctx, &rows)
		return rows, err
	}, func(row *row) (AttachmentOfEmail, place) {
		return AttachmentOfEmail{row.Email, EmailAttachment{row.Ordinal, row.Followed, row.Attachment}}, place{row.Email, row.Ordinal}
	})
}
