package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// Limits of attachments.
const (
	MaxAttachments         = 100      // of one email
	MaxAttachmentBytes     = 25 << 20 // what large mail providers take; more is refused by somebody on the way
	MaxAttachmentNameBytes = 255      // the longest file name of common file systems
	MaxContentTypeBytes    = 255      // 127 for type and subtype each, of RFC 6838, and the slash
)

// EmailAttachment is an attachment as it went with an email.
type EmailAttachment struct {
	Ordinal  int32 // place among the email's attachments, from 1
	Followed bool  // views are collected of those who allow it; else the file is in the mail
	Attachment
}

type emailAttachmentRow struct {
	bun.BaseModel `bun:"table:email_attachments,alias:ea"`
	Org           event.OrgID   `bun:"org_id,pk"`
	Email         event.EmailID `bun:"email_id,pk"`
	Ordinal       int32         `bun:"ordinal,pk"`
	Attachment    AttachmentID  `bun:"attachment_id"`
	Followed      bool          `bun:"followed"`
}

// attachToEmail gives an email that is being sent its attachments, in order, and
// makes them unchangeable. followed is false when nobody's views are collected.
func attachToEmail(ctx context.Context, tx bun.Tx, org event.OrgID, email event.EmailID, ids []AttachmentID, followed bool) ([]EmailAttachment, error) {
	if err := checkAttachments(ids); err != nil || len(ids) == 0 {
		return nil, err
	}
	out := make([]EmailAttachment, len(ids))
	rows := make([]emailAttachmentRow, len(ids))
	for i, id := range ids {
		var row attachmentRow
		err := tx.NewRaw("UPDATE attachments SET sent = 1 WHERE org_id = ? AND id = ? AND state = ? RETURNING *",
			org, id, AttachmentStored).Scan(ctx, &row)
		if errors.Is(err, sql.ErrNoRows) {
			return nil, problem.New(422, "attachment_unknown", "Attachment %d (counted from 0) does not exist; upload it first.", i)
		} else if err != nil {
			return nil, fmt.Errorf("take attachment: %w", err)
		}
		rows[i] = emailAttachmentRow{Org: org, Email: email, Ordinal: int32(i + 1), Attachment: id, Followed: followed && row.Follow}
		out[i] = EmailAttachment{Ordinal: rows[i].Ordinal, Followed: rows[i].Followed, Attachment: row.Attachment}
	}
	return out, insertAll(ctx, tx, rows)
}

func checkAttachments(ids []AttachmentID) error {
	if len(ids) > MaxAttachments {
		return problem.New(422, "too_many_attachments", "The email has %d attachments, the limit is %d.", len(ids), MaxAttachments)
	}
	seen := map[AttachmentID]bool{}
	for i, id := range ids {
		if seen[id] {
			return problem.New(422, "attachment_duplicate", "Attachment %d (counted from 0) is there twice.", i)
		}
		seen[id] = true
	}
	return nil
}

// emailAttachments returns what went with an email, in the order of the ordinals.
func emailAttachments(ctx context.Context, db bun.IDB, org event.OrgID, email event.EmailID) ([]EmailAttachment, error) {
	var rows []struct {
		Attachment
		Ordinal  int32 `bun:"ordinal"`
		Followed bool  `bun:"followed"`
	}
	err := db.NewRaw(`SELECT a.*, ea.ordinal, ea.followed FROM email_attachments AS ea
		JOIN attachments AS a ON a.org_id = ea.org_id AND a.id = ea.attachment_id
		WHERE ea.org_id = ? AND ea.email_id = ? ORDER BY ea.ordinal`, org, email).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("read email's attachments: %w", err)
	}
	var out []EmailAttachment
	for _, row := range rows {
		out = append(out, EmailAttachment{Ordinal: row.Ordinal, Followed: row.Followed, Attachment: row.Attachment})
	}
	return out, nil
}

// SentAttachment returns the attachment with this ordinal of an email, whatever
// the state of the organisation: what was sent goes on being served. Problem:
// attachment_not_found.
func (r *Registry) SentAttachment(ctx context.Context, org event.OrgID, email event.EmailID, ordinal int32) (Attachment, error) {
	var row attachmentRow
	err := r.reader.NewSelect().Model(&row).
		Join("JOIN email_attachments AS ea ON ea.org_id = a.org_id AND ea.attachment_id = a.id").
		Where("ea.org_id = ?", org).Where("ea.email_id = ?", email).Where("ea.ordinal = ?", ordinal).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return Attachment{}, attachmentNotFound()
	}
	return row.Attachment, storeError("read sent attachment", err)
}

// attachmentNameFault says what is wrong with the name of a file, "" when nothing
// is. A name is one segment of a path and shows people what they get: characters
// that turn the writing direction make "exe.fdp" of "pdf.exe".
func attachmentNameFault(name string) string {
	if fault := textFault(name, MaxAttachmentNameBytes, false); fault != "" {
		return fault
	}
	switch {
	case strings.ContainsAny(name, `/\`):
		return "has a slash or backslash"
	case strings.Trim(name, ".") == "":
		return "consists of dots"
	case strings.TrimSpace(name) != name:
		return "begins or ends with space"
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.Is(unicode.Bidi_Control, r) }):
		return "has characters that turn the writing direction"
	}
	return ""
}
