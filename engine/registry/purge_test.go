package registry

import (
	"bytes"
	"testing"
	"time"

	"mailwake/engine/event"
)

type testClock struct{ now time.Time }

func (c *testClock) set(o *Options) { o.Clock = func() time.Time { return c.now } }

func TestPurgeRecords(t *testing.T) {
	clock := &testClock{time.Date(2028, 2, 28, 23, 59, 0, 0, time.UTC)}
	r := fresh(t, clock.set)
	acme, _ := toErase(t, r)
	other := org(t, r, "other")
	register(t, r, other, mail("kept@example.com"))
	key, _, err := r.CreateKey(t.Context(), NewKey{Role: RoleAdmin, Org: acme})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.BeginErasure(t.Context(), acme, Whose{Address: "bob@example.com"}, BySystem()); err != nil {
		t.Fatal(err)
	}
	o, err := r.ChangeOrg(t.Context(), acme, OrgTerminate, BySystem())
	if err != nil {
		t.Fatal(err)
	}
	// 2028 is a leap year: 28 February and 90 days is 28 May.
	if want := time.Date(2028, 5, 28, 0, 0, 0, 0, time.UTC); !o.PurgeAt.Time().Equal(want) {
		t.Fatal(o.PurgeAt.Time())
	}
	clock.now = o.PurgeAt.Time().Add(-time.Microsecond)
	_, err = r.BeginPurge(t.Context(), acme, o.PurgeAt)
	wantCode(t, err, "purge_not_due")
	clock.now = o.PurgeAt.Time()
	for range 2 {
		if p, err := r.BeginPurge(t.Context(), acme, o.PurgeAt); err != nil || p.Name != "acme" || p.FinishedAt != 0 {
			t.Fatal(p, err)
		}
	}
	clock.now = clock.now.Add(-time.Hour) // even if the clock goes back
	_, err = r.ChangeOrg(t.Context(), acme, OrgResubscribe, BySystem())
	wantCode(t, err, "org_transition_invalid")
	for i := range 2 {
		counts, err := r.PurgeRecords(t.Context(), acme)
		if err != nil || (counts["recipients"] > 200) != (i == 0) || (counts["api_keys"] == 1) != (i == 0) {
			t.Fatal(counts, err)
		}
	}
	all := everyByte(t, r)
	for _, m := range []string{"annabel", "bob@", "filler"} {
		if bytes.Contains(all, []byte(m)) {
			t.Errorf("%q is still there", m)
		}
	}
	if !bytes.Contains(all, []byte("kept@example.com")) {
		t.Error("another organisation's row is gone")
	}
	if n, err := r.PurgedRows(t.Context(), acme); n != 0 || err != nil {
		t.Error(n, err)
	}
	if _, err := r.Authenticate(t.Context(), key); err == nil {
		t.Error("the key still works")
	}
	if _, ok := r.Snapshot().OrgByName("acme"); ok || r.Decide(acme, 1, event.Open).Allow || r.Decide(other, 1, event.Open).Allow == false {
		t.Error("the snapshot is not right")
	}
	_, err = r.CreateOrg(t.Context(), NewOrg{Name: "acme"})
	wantCode(t, err, "org_exists")
	if err := r.FinishPurge(t.Context(), acme, []byte(`{"a":1}`)); err != nil {
		t.Fatal(err)
	}
	path := r.path
	r.Close()
	r = open(t, path, clock.set)
	if p, err := r.Purge(t.Context(), acme); err != nil || p.FinishedAt == 0 || string(p.Certificate) != `{"a":1}` {
		t.Error(p, err)
	}
	if o, err := r.CreateOrg(t.Context(), NewOrg{Name: "acme2"}); err != nil || o.ID != 3 {
		t.Error("ids are not to be given out twice", o, err)
	}
	if err := r.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestNotPurgedUnlessTerminated: resubscribing cancels.
func TestNotPurgedUnlessTerminated(t *testing.T) {
	clock := &testClock{time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
	r := fresh(t, clock.set)
	acme := org(t, r, "acme")
	o, err := r.ChangeOrg(t.Context(), acme, OrgTerminate, BySystem())
	if err != nil {
		t.Fatal(err)
	}
	due := o.PurgeAt
	clock.now = clock.now.AddDate(0, 0, 50)
	if _, err := r.ChangeOrg(t.Context(), acme, OrgResubscribe, BySystem()); err != nil {
		t.Fatal(err)
	}
	clock.now = due.Time().AddDate(1, 0, 0)
	_, err = r.BeginPurge(t.Context(), acme, 0)
	wantCode(t, err, "purge_not_due")
}

func TestClockRun(t *testing.T) {
	clock := &testClock{time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	r := fresh(t, clock.set)
	for _, step := range []struct {
		by      time.Duration
		trusted bool
	}{
		{0, false}, {23 * time.Hour, false}, {time.Hour, true}, {24 * time.Hour, true}, {time.Second, true},
		{-time.Hour, true},                           // set right
		{25 * time.Hour, false},                      // a jump, or a server that was off
		{-25 * time.Hour, false}, {time.Hour, false}, // back again
		{22 * time.Hour, false}, {time.Hour, true},
		{100 * 24 * time.Hour, false}, {time.Minute, false}, {23 * time.Hour, false}, {time.Hour, true},
	} {
		clock.now = clock.now.Add(step.by)
		run, err := r.ReadClock(t.Context())
		if err != nil || run.Trusted() != step.trusted {
			t.Fatalf("after %v at %v: %+v %v, want trusted %v", step.by, clock.now, run, err, step.trusted)
		}
	}
}
