package query

import (
	"context"

	"mailwake/engine/event"
)

// Forget drops everything that this process and its workers hold of the
// organisation in memory or in spill files. Queries that are running end first;
// the next one copies anew what it needs.
func (db *DB) Forget(ctx context.Context, org event.OrgID) error {
	if db.work != nil {
		db.work.forget(org)
	}
	db.mu.Lock()
	s := db.mu.stores[org]
	db.mu.Unlock()
	if s == nil {
		return nil
	}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer s.endTurn()
	return s.reset()
}

// forget ends the organisation's idle workers, and those that are answering once
// they are given back.
func (w *workers) forget(org event.OrgID) {
	w.mu.Lock()
	var idle []*worker
	kept := w.mu.idle[:0]
	for _, p := range w.mu.idle {
		if p.key.org == org && p.idleUntil.Stop() {
			idle = append(idle, p)
		} else {
			kept = append(kept, p)
		}
	}
	w.mu.idle = kept
	for p := range w.mu.live {
		if p.key.org == org {
			delete(w.mu.live, p)
		}
	}
	w.mu.Unlock()
	for _, p := range idle {
		p.kill("what it holds was removed")
	}
}
