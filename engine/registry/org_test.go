package registry

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"mailwake/engine/event"
)

func TestOrgNames(t *testing.T) {
	r := fresh(t)
	for _, tc := range []struct {
		name, title, code string
	}{
		{"a", "", ""},
		{"0-9", "Zero to nine", ""},
		{strings.Repeat("x", 63), strings.Repeat("t", MaxTitleBytes), ""},
		{"", "", "org_name_invalid"},
		{strings.Repeat("x", 64), "", "org_name_invalid"},
		{"-a", "", "org_name_invalid"},
		{"A", "", "org_name_invalid"},
		{"a_b", "", "org_name_invalid"},
		{"a.b", "", "org_name_invalid"},
		{"a/b", "", "org_name_invalid"},
		{"ä", "", "org_name_invalid"},
		{"a\n", "", "org_name_invalid"},
		{"b", "two\nlines", "org_title_invalid"},
		{"b", strings.Repeat("t", MaxTitleBytes+1), "org_title_invalid"},
		{"a", "", "org_exists"},
	} {
		o, err := r.CreateOrg(t.Context(), NewOrg{Name: tc.name, Title: tc.title})
		if tc.code != "" {
			wantCode(t, err, tc.code)
			continue
		}
		if err != nil {
			t.Fatalf("%q: %v", tc.name, err)
		}
		if got, err := r.OrgByName(tc.name); err != nil || got != o || o.Title != tc.title || o.CreatedAt != r.now() {
			t.Errorf("%q: %+v, %v, created %+v", tc.name, got, err, o)
		}
	}
	for i, o := range r.Orgs() {
		if o.ID != event.OrgID(i+1) {
			t.Errorf("organisation %d has id %d: a refused one took an id", i, o.ID)
		}
	}
	_, err := r.OrgByName("nobody")
	wantCode(t, err, "org_not_found")
}

func TestDecide(t *testing.T) {
	r := fresh(t)
	acme, gone, hole := org(t, r, "acme"), org(t, r, "gone"), org(t, r, "hole")
	org(t, r, "last")
	if _, err := r.ChangeOrg(t.Context(), gone, OrgTerminate, BySystem()); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{"DELETE FROM org_events", "DELETE FROM organisations WHERE name = 'hole'"} {
		if _, err := r.writer.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	s, err := loadSnapshot(t.Context(), r.reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		org       event.OrgID
		recipient event.RecipientID
		kind      event.Kind
		reasons   string
	}{
		{acme, 1, event.Open, ""},
		{acme, 1 << 40, event.Unsubscribed, ""},
		{0, 1, event.Open, "organisation_unknown"},
		{hole, 1, event.Open, "organisation_unknown"},
		{5, 1, event.Open, "organisation_unknown"},
		{1<<32 - 1, 1, event.Open, "organisation_unknown"},
		{gone, 1, event.Open, "organisation_terminated"},
		{acme, 0, event.Open, "recipient_unknown"},
		{acme, 1, event.KindInvalid, "kind_unknown"},
		{acme, 1, event.Unsubscribed + 1, "kind_unknown"},
		{9, -1, event.KindInvalid, "organisation_unknown,recipient_unknown,kind_unknown"},
	} {
		v := s.Decide(tc.org, tc.recipient, tc.kind)
		if v.Reasons.String() != tc.reasons || v.Allow != (tc.reasons == "") {
			t.Errorf("Decide(%d, %d, %v) = %v %s, want %q", tc.org, tc.recipient, tc.kind, v.Allow, v.Reasons, tc.reasons)
		}
	}
	if (Verdict{}).Allow {
		t.Error("the zero verdict allows")
	}
	_, err = r.RegisterEmail(t.Context(), gone, mail("a@example.com"))
	wantCode(t, err, "feature_disabled")
}

func TestDisableIsSeenAtOnce(t *testing.T) {
	r := fresh(t)
	acme := org(t, r, "acme")
	before := r.Snapshot()
	for _, enabled := range []bool{false, true, false, true} {
		action := OrgDisable
		if enabled {
			action = OrgEnable
		}
		if _, err := r.ChangeOrg(t.Context(), acme, action, BySystem()); err != nil {
			t.Fatal(err)
		}
		if v := r.Decide(acme, 1, event.Click); v.Allow != enabled {
			t.Errorf("enabled %v: %+v", enabled, v)
		}
		_, err := r.RegisterEmail(t.Context(), acme, mail("a@example.com"))
		if enabled && err != nil {
			t.Error(err)
		} else if !enabled {
			wantCode(t, err, "feature_disabled")
		}
	}
	if !before.Decide(acme, 1, event.Click).Allow {
		t.Error("a snapshot that was taken has changed")
	}
	if e := register(t, r, acme, mail("b@example.com")); e.ID != 3 || e.Recipients[0].ID != 2 {
		t.Errorf("refused registrations took ids: %+v", e)
	}
	_, err := r.ChangeOrg(t.Context(), 7, OrgEnable, BySystem())
	wantCode(t, err, "org_not_found")
}

// TestSnapshotEqualsStore holds the snapshot built step by step to one loaded anew,
// with readers beside the writers for the race detector.
func TestSnapshotEqualsStore(t *testing.T) {
	r := fresh(t)
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	readers.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				r.Decide(3, 1, event.Open)
				_, _ = r.Authenticate(t.Context(), strings.Repeat("x", keyLength))
			}
		}
	})
	for w := range 4 {
		writers.Go(func() {
			for i := range 5 {
				o, err := r.CreateOrg(t.Context(), NewOrg{Name: string(rune('a'+w)) + "-" + string(rune('a'+i))})
				if err != nil {
					t.Error(err)
					return
				}
				if !r.Decide(o.ID, 1, event.Open).Allow {
					t.Errorf("organisation %d is not in the snapshot", o.ID)
				}
				if err := disableIf(r, o.ID, i%2 != 0); err != nil {
					t.Error(err)
				}
				_, key, err := r.CreateKey(t.Context(), NewKey{Role: RoleSender, Org: o.ID})
				if err != nil {
					t.Error(err)
				}
				if i%3 == 0 {
					if err := r.RevokeKey(t.Context(), key.KeyID); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	loaded, err := loadSnapshot(t.Context(), r.reader)
	if err != nil {
		t.Fatal(err)
	}
	have := r.Snapshot()
	if !slices.Equal(have.orgs, loaded.orgs) || len(have.orgs) != 20 || len(have.byName) != 20 {
		t.Errorf("organisations %v, stored %v", have.orgs, loaded.orgs)
	}
	if len(have.keys) != len(loaded.keys) || len(have.keys) != 12 {
		t.Errorf("%d keys, stored %d", len(have.keys), len(loaded.keys))
	}
	for h, k := range loaded.keys {
		if have.keys[h] == nil || have.keys[h].Principal != k.Principal {
			t.Errorf("key %d differs", k.KeyID)
		}
	}
}

// disableIf switches the organisation off when off is true.
func disableIf(r *Registry, id event.OrgID, off bool) error {
	if !off {
		return nil
	}
	_, err := r.ChangeOrg(context.Background(), id, OrgDisable, BySystem())
	return err
}
