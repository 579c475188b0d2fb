package engine

import (
	"context"
	"fmt"

	"mailwake/engine/event"
)

// Holds reports whether the event with this id, of this email, is durable: in the
// table or in the tail. It is for events that others report, whose ids they
// derive, when an earlier attempt to append one ended without an answer.
func (e *Engine) Holds(ctx context.Context, org event.OrgID, email event.EmailID, id int64) (bool, error) {
	t, err := e.tail(ctx, org)
	if err != nil {
		return false, err
	}
	if _, err := t.table.Refresh(ctx); err != nil {
		return false, fmt.Errorf("refresh table of %s: %w", t.name, err)
	}
	v := e.capture(t)
	for _, row := range entries(v.chunks, v.from) {
		k, err := event.DecodeKey(row)
		if err != nil {
			return false, fmt.Errorf("read tail of %s: %w", t.name, err)
		}
		if k.ID == id && k.Email == email {
			return true, nil
		}
	}
	return t.table.Holds(ctx, v.snapshot, email, id)
}
