package registry

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// TestTransitions tries every action from every state, right before and at the
// time of the purge.
func TestTransitions(t *testing.T) {
	want := map[string]OrgState{
		"disabled enable": OrgEnabled, "enabled disable": OrgDisabled,
		"enabled terminate": OrgTerminated, "disabled terminate": OrgTerminated, "terminated resubscribe": OrgEnabled,
	}
	c := newClock()
	r := fresh(t, func(o *Options) { o.Clock = c.Now })
	for _, from := range []OrgState{OrgEnabled, OrgDisabled, OrgTerminated} {
		for _, action := range []OrgAction{OrgEnable, OrgDisable, OrgTerminate, OrgResubscribe, OrgProvision, OrgSetPolicy, "", "secret"} {
			id := org(t, r, fmt.Sprint(from, "-x", len(r.Orgs())))
			if from != OrgEnabled {
				if _, err := r.ChangeOrg(t.Context(), id, map[OrgState]OrgAction{OrgDisabled: OrgDisable, OrgTerminated: OrgTerminate}[from], ByKey(3)); err != nil {
					t.Fatal(err)
				}
			}
			before, _ := r.Snapshot().Org(id)
			events, err := r.OrgHistory(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			c.advance(time.Second)
			got, err := r.ChangeOrg(t.Context(), id, action, ByKey(4))
			next, ok := want[string(from)+" "+string(action)]
			after, _ := r.Snapshot().Org(id)
			history, _ := r.OrgHistory(t.Context(), id)
			if !ok {
				wantCode(t, err, "org_transition_invalid")
				if problem.Of(err).Status != 409 || after != before || len(history) != len(events) {
					t.Errorf("%s %s: %v left %+v", from, action, err, after)
				}
				continue
			}
			if err != nil || got != after || got.State != next {
				t.Errorf("%s %s: %+v, %v", from, action, got, err)
			}
			last := history[len(history)-1]
			if want := (OrgEvent{int64(len(events) + 1), r.now(), ByKey(4), action, string(from), string(next)}); last != want {
				t.Errorf("trail ends in %+v, want %+v", last, want)
			}
		}
	}
	_, err := r.ChangeOrg(t.Context(), 1, OrgDisable, Actor{})
	wantCode(t, err, "actor_invalid")
	_, err = r.ChangeOrg(t.Context(), 99, OrgDisable, BySystem())
	wantCode(t, err, "org_not_found")
	_, err = r.OrgHistory(t.Context(), 99)
	wantCode(t, err, "org_not_found")
	if err := r.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestPurgeTime(t *testing.T) {
	for _, tc := range []struct{ terminated, purge string }{
		{"2026-07-01T00:00:00Z", "2026-09-29T00:00:00Z"},
		{"2026-07-01T23:59:59Z", "2026-09-29T00:00:00Z"},
		{"2027-12-31T12:00:00Z", "2028-03-30T00:00:00Z"}, // over a leap day
		{"2026-11-02T00:00:00+14:00", "2027-01-30T00:00:00Z"},
	} {
		at, err := time.Parse(time.RFC3339, tc.terminated)
		if err != nil {
			t.Fatal(err)
		}
		if got := purgeTime(event.At(at)).Time().Format(time.RFC3339); got != tc.purge {
			t.Errorf("terminated %s, purge %s, want %s", tc.terminated, got, tc.purge)
		}
	}
}

// TestLife walks through an organisation's states with what each allows, up to the
// last moment to come back and beyond it.
func TestLife(t *testing.T) {
	c := newClock()
	r := fresh(t, func(o *Options) { o.Clock = c.Now })
	o, err := r.CreateOrg(t.Context(), NewOrg{Name: "acme", By: ByKey(2)})
	if err != nil || o.Policy != DefaultPolicy() || o.CheckEnabled() != nil {
		t.Fatalf("%+v, %v", o, err)
	}
	register(t, r, o.ID, mail("a@example.com"))
	do := func(action OrgAction) (Org, error) { return r.ChangeOrg(t.Context(), o.ID, action, BySystem()) }
	for _, action := range []OrgAction{OrgDisable, OrgTerminate} {
		got, err := do(action)
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.RegisterEmail(t.Context(), o.ID, mail("a@example.com"))
		wantCode(t, err, "feature_disabled")
		if err.Error() != got.CheckEnabled().Error() || (action == OrgTerminate) != strings.Contains(err.Error(), "2026-09-29") {
			t.Errorf("%s: %v", action, err)
		}
		for kind := event.Open; kind <= event.Unsubscribed; kind++ {
			if v := r.Decide(o.ID, 1, kind); v.Allow || v.Reasons&^RecipientDenied != got.State.against() {
				t.Errorf("%s, %v: %+v", action, kind, v)
			}
		}
		// What was promised to people goes on.
		prefer(t, r, o.ID, PreferenceChange{Subject: OfRecipient(1), Purposes: AllPurposes, State: Denied})
	}
	_, err = r.PutPerson(t.Context(), o.ID, Person{Kind: Lead, ExternalID: "l"})
	wantCode(t, err, "feature_disabled")
	if _, err := r.SetPolicy(t.Context(), o.ID, Policy{Unknown: OptIn}, BySystem()); err != nil {
		t.Error(err)
	}
	terminated, _ := r.Snapshot().Org(o.ID)
	c.Store(int64(terminated.PurgeAt) - 1)
	got, err := do(OrgResubscribe)
	if err != nil || got.State != OrgEnabled || got.PurgeAt != 0 || got.TerminatedAt != 0 || got.Policy.Unknown != OptIn {
		t.Errorf("resubscribed: %+v, %v", got, err)
	}
	if v := r.Decide(o.ID, 1, event.Open); v.Reasons != RecipientDenied {
		t.Errorf("a refusal is gone: %+v", v)
	}
	if e := register(t, r, o.ID, mail("b@example.com")); e.Follow != FollowBlocked || e.ID != 2 {
		t.Errorf("%+v", e)
	}
	again, err := do(OrgTerminate)
	if err != nil {
		t.Fatal(err)
	}
	c.Store(int64(again.PurgeAt))
	_, err = do(OrgResubscribe)
	wantCode(t, err, "org_transition_invalid")
	var trail []string
	history, err := r.OrgHistory(t.Context(), o.ID)
	for _, e := range history {
		trail = append(trail, fmt.Sprintf("%d %s %s→%s", e.Seq, e.Action, e.From, e.To))
	}
	policy := func(p Policy) string {
		return fmt.Sprintf(`{"unknown":%q,"on_refusal":"block","on_withdrawal":"hide","hide_days":%d,"max_age_days":0,"zone":"UTC","smart_replies":false}`, p.Unknown, p.HideDays)
	}
	want := []string{
		"1 provision →enabled", "2 disable enabled→disabled", "3 terminate disabled→terminated",
		"4 policy " + policy(DefaultPolicy()) + "→" + policy(Policy{Unknown: OptIn}),
		"5 resubscribe terminated→enabled", "6 terminate enabled→terminated",
	}
	if err != nil || !slices.Equal(trail, want) || history[0].Actor != ByKey(2) {
		t.Errorf("%s, %v\nwant %s", strings.Join(trail, "\n"), err, strings.Join(want, "\n"))
	}
}

func TestPolicyFaults(t *testing.T) {
	r := fresh(t)
	acme := org(t, r, "acme")
	for name, change := range map[string]func(*Policy){
		"unknown":       func(p *Policy) { p.Unknown = "secret" },
		"on_refusal":    func(p *Policy) { p.OnRefusal = "secret" },
		"on_withdrawal": func(p *Policy) { p.OnWithdrawal = "secret" },
		"hide_days":     func(p *Policy) { p.HideDays = -1 },
		"max_age_days":  func(p *Policy) { p.MaxAgeDays = maxPolicyDays + 1 },
		"zone":          func(p *Policy) { p.Zone = "Local" },
		"zone ":         func(p *Policy) { p.Zone = "../secret" },
	} {
		p := DefaultPolicy()
		change(&p)
		_, err := r.SetPolicy(t.Context(), acme, p, BySystem())
		wantCode(t, err, "policy_invalid")
		if !strings.Contains(err.Error(), "field "+strings.TrimSpace(name)) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := r.SetPolicy(t.Context(), 9, DefaultPolicy(), BySystem())
	wantCode(t, err, "org_not_found")
	_, err = r.SetPolicy(t.Context(), acme, DefaultPolicy(), Actor{Kind: ActorKey})
	wantCode(t, err, "actor_invalid")
	if o, err := r.SetPolicy(t.Context(), acme, Policy{Zone: "Europe/Berlin", MaxAgeDays: 730}, BySystem()); err != nil || o.Policy.Zone != "Europe/Berlin" || o.Policy.Unknown != OptOut {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestActors(t *testing.T) {
	for _, ok := range []Actor{ByKey(1), {Kind: ActorRecipient}, {Kind: ActorImport}, {Kind: ActorImport, KeyID: 4}, BySystem()} {
		if err := ok.check(); err != nil {
			t.Errorf("%+v: %v", ok, err)
		}
	}
	for _, bad := range []Actor{{}, {Kind: "secret"}, {Kind: ActorKey}, {Kind: ActorKey, KeyID: -1}, {Kind: ActorRecipient, KeyID: 1}, {Kind: ActorSystem, KeyID: 1}, {Kind: ActorImport, KeyID: -1}} {
		wantCode(t, bad.check(), "actor_invalid")
	}
}
