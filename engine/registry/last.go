package registry

import (
	"context"
	"database/sql"
	"errors"

	"mailwake/engine/event"
)

// LastIDs returns the newest email and recipient of an organisation; ids are given
// out from 1 without gaps, so every id up to them was given out. Problem: org_not_found.
func (r *Registry) LastIDs(ctx context.Context, org event.OrgID) (event.EmailID, event.RecipientID, error) {
	var row orgRow
	err := r.reader.NewSelect().Model(&row).Column("last_email_id", "last_recipient_id").Where("id = ?", org).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, 0, orgNotFound()
	} else if err != nil {
		return 0, 0, storeError("read last ids", err)
	}
	return row.LastEmail, row.LastRecipient, nil
}
