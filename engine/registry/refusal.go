package registry

import (
	"context"
	"iter"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
)

// Refusal is what a recipient refuses, by itself or by whose address it is. It has
// been so, or refused less, since Since.
type Refusal struct {
	Recipient event.RecipientID
	Purposes  Purposes
	Since     event.Micros
}

type refusalRow struct {
	bun.BaseModel `bun:"table:recipients,alias:r"`
	ID            event.RecipientID `bun:"id"`
	Answer        int               `bun:"answer"`
	AnsweredAt    event.Micros      `bun:"answered_at"`
}

// Refusals yields the organisation's recipients who refuse something, in the order
// of their ids. Recipients about whom nothing is known are not among them, whatever
// the policy. An error ends the sequence.
func (r *Registry) Refusals(ctx context.Context, org event.OrgID) iter.Seq2[Refusal, error] {
	return feed("read refusals", 0, func(last event.RecipientID) (rows []refusalRow, err error) {
		err = r.page(&rows, org).Column("id", "answer", "answered_at").
			Where("id > ?", last).Where("answer <> 0").Where("answer & ? <> 0", AllPurposes).Order("id").Scan(ctx)
		return rows, err
	}, func(row *refusalRow) (Refusal, event.RecipientID) {
		return Refusal{row.ID, Purposes(row.Answer) & AllPurposes, row.AnsweredAt}, row.ID //nolint:gosec // checked by the table to be below 256
	})
}
