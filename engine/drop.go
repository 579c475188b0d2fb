package engine

import (
	"context"
	"fmt"
	"maps"

	"mailwake/engine/event"
)

// Drop forgets an organisation whose data is being deleted. Shred before, so that
// the log has nothing of it; and nothing of it may be appended any more.
func (e *Engine) Drop(_ context.Context, org event.OrgID) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	tails := *e.tails.Load()
	t := tails[org]
	if t == nil {
		return nil
	}
	if t.rows > 0 {
		return fmt.Errorf("drop organisation %d: %d events are not in its table", org, t.rows)
	}
	tails = maps.Clone(tails)
	delete(tails, org)
	e.tails.Store(&tails)
	return nil
}
