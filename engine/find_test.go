package engine_test

import (
	"testing"

	"mailwake/engine"
	"mailwake/engine/event"
)

// An event of a given id is found wherever it is: in the tail, in one of several
// tables, and after a restart; never under another email, id or organisation.
func TestHolds(t *testing.T) {
	b := newBench(t)
	other := b.newOrg("other")
	e := b.open()
	check := func(when string, e *engine.Engine, want bool) {
		t.Helper()
		for _, tc := range []struct {
			org   event.OrgID
			email event.EmailID
			id    int64
			want  bool
		}{{b.org, 7, -5, want}, {b.org, 7, -6, false}, {b.org, 8, -5, false}, {other, 7, -5, false}} {
			if got, err := e.Holds(t.Context(), tc.org, tc.email, tc.id); err != nil || got != tc.want {
				t.Errorf("%s: event %d of email %d in organisation %d: %v, %v", when, tc.id, tc.email, tc.org, got, err)
			}
		}
	}
	check("nothing", e, false)
	mustAppend(t, e, opens(b.org, 1, 50))
	check("others in the tail", e, false)
	mustFlush(t, e, b.org)
	check("others in the table", e, false)
	reply := opens(b.org, 51, 1)
	reply[0].Kind, reply[0].Email, reply[0].ID = event.Reply, 7, -5
	mustAppend(t, e, reply)
	check("in the tail", e, true)
	e.Close()
	e = b.open()
	check("in the tail after a restart", e, true)
	mustFlush(t, e, b.org)
	check("in the table", e, true)
	mustAppend(t, e, opens(b.org, 52, 50))
	mustFlush(t, e, b.org)
	check("in an older file", e, true)
}
