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
	for _, in := range v.Rows(v.from) {
		if in.ID == id && in.Email == email {
			return true, nil
		}
	}
	return t.table.Holds(ctx, v.snapshot, email, id)
}
