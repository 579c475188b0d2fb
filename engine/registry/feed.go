package registry

import (
	"context"
	"iter"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
)

// feedPage is the number of rows a feed reads at a time. Paging instead of one
// long statement lets the write-ahead log be folded away under a slow consumer,
// and lets the consumer use the registry inside its loop.
const feedPage = 1_000

// EmailsSince yields the organisation's emails with an id above after, in the
// order of their ids. Ids become visible in order, so a consumer that remembers
// the last id it took misses none. An error ends the sequence.
func (r *Registry) EmailsSince(ctx context.Context, org event.OrgID, after event.EmailID) iter.Seq2[Email, error] {
	return feed("read emails", after, func(last event.EmailID) (rows []emailRow, err error) {
		err = r.page(&rows, org).Where("id > ?", last).Order("id").Scan(ctx)
		return rows, err
	}, func(row *emailRow) (Email, event.EmailID) { return row.email(), row.ID })
}

// EmailChanges yields the organisation's emails that were registered or retried
// after the change with this number, in the order of Email.Change. A consumer that
// keeps copies of emails remembers the last number it took, and reads an email
// that it has already anew, with its recipients and links.
func (r *Registry) EmailChanges(ctx context.Context, org event.OrgID, after int64) iter.Seq2[Email, error] {
	return feed("read emails", after, func(last int64) (rows []emailRow, err error) {
		err = r.page(&rows, org).Where("change > ?", last).Order("change").Scan(ctx)
		return rows, err
	}, func(row *emailRow) (Email, int64) { return row.email(), row.Change })
}

// RecipientsSince yields the organisation's recipients with an id above after, as
// EmailsSince does.
func (r *Registry) RecipientsSince(ctx context.Context, org event.OrgID, after event.RecipientID) iter.Seq2[Recipient, error] {
	return feed("read recipients", after, func(last event.RecipientID) (rows []recipientRow, err error) {
		err = r.page(&rows, org).Where("id > ?", last).Order("id").Scan(ctx)
		return rows, err
	}, func(row *recipientRow) (Recipient, event.RecipientID) { return row.Recipient, row.ID })
}

// LinksSince yields the links of the organisation's emails with an id above after,
// by email and ordinal. All links of an email become visible at once.
func (r *Registry) LinksSince(ctx context.Context, org event.OrgID, after event.EmailID) iter.Seq2[Link, error] {
	type place struct {
		email   event.EmailID
		ordinal int32
	}
	return feed("read links", place{after, behindLinks}, func(last place) (rows []linkRow, err error) {
		err = r.page(&rows, org).Where("(email_id, ordinal) > (?, ?)", last.email, last.ordinal).
			Order("email_id", "ordinal").Scan(ctx)
		return rows, err
	}, func(row *linkRow) (Link, place) { return row.Link, place{row.Email, row.Ordinal} })
}

// EmailRecipientsSince yields who the organisation's emails with an id above after
// went to, by email and recipient. All recipients of an email become visible at
// once, no later than the email itself.
func (r *Registry) EmailRecipientsSince(ctx context.Context, org event.OrgID, after event.EmailID) iter.Seq2[EmailRecipient, error] {
	type place struct {
		email     event.EmailID
		recipient event.RecipientID
	}
	return feed("read email recipients", place{after, behindRecipients}, func(last place) (rows []emailRecipientRow, err error) {
		err = r.page(&rows, org).Where("(email_id, recipient_id) > (?, ?)", last.email, last.recipient).
			Order("email_id", "recipient_id").Scan(ctx)
		return rows, err
	}, func(row *emailRecipientRow) (EmailRecipient, place) {
		return row.EmailRecipient, place{row.Email, row.Recipient}
	})
}

// Places behind everything of one email.
const (
	behindLinks      = 1<<31 - 1
	behindRecipients = 1<<63 - 1
)

func (r *Registry) page(rows any, org event.OrgID) *bun.SelectQuery {
	return r.reader.NewSelect().Model(rows).Where("org_id = ?", org).Limit(feedPage)
}

// feed yields the rows of page after page; split turns a row into what is yielded
// and the place to go on from.
func feed[R, T, P any](act string, from P, page func(P) ([]R, error), split func(*R) (T, P)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for last := from; ; {
			rows, err := page(last)
			if err != nil {
				var none T
				yield(none, storeError(act, err))
				return
			}
			for i := range rows {
				var out T
				if out, last = split(&rows[i]); !yield(out, nil) {
					return
				}
			}
			if len(rows) < feedPage {
				return
			}
		}
	}
}
