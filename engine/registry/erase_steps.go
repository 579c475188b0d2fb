package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
)

// RemovalStep is a step of an erasure or purge that was done.
type RemovalStep struct {
	Step  string
	At    event.Micros
	Found json.RawMessage // what the step found and did
}

type stepRow struct {
	bun.BaseModel `bun:"table:removal_steps,alias:rs"`
	Org           event.OrgID  `bun:"org_id,pk"`
	Erasure       ErasureID    `bun:"erasure_id,pk"`
	Step          string       `bun:"step,pk"`
	DoneAt        event.Micros `bun:"done_at"`
	Found         string       `bun:"found"`
}

// Erasures lists the organisation's erasures, newest first, at most 1,000.
func (r *Registry) Erasures(ctx context.Context, org event.OrgID) ([]Erasure, error) {
	return r.erasures(ctx, func(q *bun.SelectQuery) { q.Where("e.org_id = ?", org).Order("e.id DESC").Limit(maxListing) })
}

// UnfinishedErasures lists those under way, oldest first.
func (r *Registry) UnfinishedErasures(ctx context.Context, org event.OrgID) ([]Erasure, error) {
	return r.erasures(ctx, func(q *bun.SelectQuery) {
		q.Where("e.org_id = ? AND e.finished_at = 0", org).Order("e.id").Limit(maxListing)
	})
}

// ErasedRecipients lists the organisation's erased recipients, ascending: whose
// rows must be in no table, also when a lost backup brings some back.
func (r *Registry) ErasedRecipients(org event.OrgID) []event.RecipientID {
	s := r.Snapshot()
	if s.org(org) == nil {
		return nil
	}
	return slices.Collect(members(s.consent[org-1].erased))
}

func (r *Registry) erasures(ctx context.Context, where func(*bun.SelectQuery)) ([]Erasure, error) {
	var rows []erasureRow
	q := r.reader.NewSelect().Model(&rows)
	where(q)
	if err := q.Scan(ctx); err != nil {
		return nil, storeError("read erasures", err)
	}
	out := make([]Erasure, len(rows))
	for i, e := range rows {
		out[i] = Erasure{Org: e.Org, ID: e.ID, Person: e.Person, StartedAt: e.StartedAt, FinishedAt: e.FinishedAt, By: e.By, Receipt: e.Receipt}
		err := r.reader.NewSelect().Model((*erasureRecipientRow)(nil)).Column("recipient_id").
			Where("org_id = ? AND erasure_id = ?", e.Org, e.ID).Order("recipient_id").Scan(ctx, &out[i].Recipients)
		if err == nil {
			out[i].Steps, err = steps(ctx, r.reader, e.Org, e.ID)
		}
		if err != nil {
			return nil, storeError("read erasure", err)
		}
	}
	return out, nil
}

func steps(ctx context.Context, db bun.IDB, org event.OrgID, id ErasureID) ([]RemovalStep, error) {
	var rows []stepRow
	if err := db.NewSelect().Model(&rows).Where("org_id = ? AND erasure_id = ?", org, id).Order("done_at", "step").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read steps: %w", err)
	}
	out := make([]RemovalStep, len(rows))
	for i, s := range rows {
		out[i] = RemovalStep{s.Step, s.DoneAt, json.RawMessage(s.Found)}
	}
	return out, nil
}

// NoteStep records that a step of an erasure, or with id 0 of the organisation's
// purge, is done; found, as JSON, is for the receipt. Doing a step again replaces it.
func (r *Registry) NoteStep(ctx context.Context, org event.OrgID, id ErasureID, step string, found any) error {
	text, err := json.Marshal(found)
	if err != nil {
		return fmt.Errorf("note step: %w", err)
	}
	return r.write(ctx, "note step", func(tx bun.Tx) error {
		row := stepRow{Org: org, Erasure: id, Step: step, DoneAt: r.now(), Found: string(text)}
		_, err := tx.NewInsert().Model(&row).On("CONFLICT (org_id, erasure_id, step) DO UPDATE").Exec(ctx)
		return err
	})
}

// RedoSteps forgets that the steps of an erasure or purge were done.
func (r *Registry) RedoSteps(ctx context.Context, org event.OrgID, id ErasureID) error {
	return r.write(ctx, "redo steps", func(tx bun.Tx) error {
		_, err := tx.NewDelete().Model((*stepRow)(nil)).Where("org_id = ? AND erasure_id = ?", org, id).Exec(ctx)
		return err
	})
}

// FinishErasure ends an erasure and keeps its receipt.
func (r *Registry) FinishErasure(ctx context.Context, org event.OrgID, id ErasureID, receipt []byte) error {
	return r.write(ctx, "finish erasure", func(tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*erasureRow)(nil)).Set("finished_at = ?", r.now()).Set("receipt = ?", receipt).
			Where("org_id = ? AND id = ? AND finished_at = 0", org, id).Exec(ctx)
		return err
	})
}
