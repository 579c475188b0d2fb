package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// A refusal over the API hides what was collected from the very next KPI and
// statement, before and after a flush; allowing shows it again.
func TestRefusalReachesReaders(t *testing.T) {
	t.Parallel()
	p := serve(t, t.TempDir(), nil)
	p.createOrg("acme")
	sent := p.follow("Hello", awkwardMail(), 3)
	for _, m := range sent.Messages {
		tracked := trackedIn(m.HTML, p.at.Public)
		p.must(http.MethodGet, tracked.pixel, outlook)
		p.must(http.MethodGet, tracked.links[0], thunder)
	}
	set := func(open, click string) {
		t.Helper()
		change := map[string]any{"kind": "recipient", "recipient_id": sent.Messages[0].RecipientID}
		for purpose, answer := range map[string]string{"open": open, "click": click} {
			if answer != "" {
				change[purpose] = answer
			}
		}
		p.api(http.MethodPost, "/v1/orgs/acme/preferences", map[string]any{
			"changes": []any{change}, "proof": map[string]any{"source": "test", "text": "No, thank you.", "locale": "en", "form_version": "1"},
		}, new(json.RawMessage))
	}
	expect := func(when string, opens, clicks int) {
		t.Helper()
		var rows []struct {
			Opens  int `json:"opens_total"`
			Clicks int `json:"clicks_total"`
		}
		if err := p.client().get(t.Context(), http.MethodGet, "/v1/orgs/acme/kpis/organisation_summary", url.Values{"format": {"json"}}, nil, &rows); err != nil {
			t.Fatal(err)
		}
		sqlOpens := p.count("select count(*) from interactions where kind = 'open'")
		sqlClicks := p.count("select cast(sum(clicks) as bigint) from engagement")
		if len(rows) != 1 || rows[0].Opens != opens || rows[0].Clicks != clicks || sqlOpens != opens || sqlClicks != clicks {
			t.Errorf("%s: KPI %+v, SQL %d opens %d clicks, want %d and %d", when, rows, sqlOpens, sqlClicks, opens, clicks)
		}
	}
	expect("at first", 3, 3)
	set("denied", "")
	expect("after a refusal of opens", 2, 3)
	p.api(http.MethodPost, "/v1/orgs/acme/flush", nil, new(map[string]any))
	expect("after a flush", 2, 3)
	set("allowed", "denied")
	expect("after a refusal of clicks", 3, 2)
	p.api(http.MethodPatch, "/v1/orgs/acme", map[string]any{"policy": map[string]any{"unknown": "opt_in"}}, new(json.RawMessage))
	expect("under opt-in", 1, 0)
}

// A disabled organisation answers no reader, a terminated one its administrator's
// export alone, and an enabled one all again.
func TestStateReachesReaders(t *testing.T) {
	t.Parallel()
	p := serve(t, t.TempDir(), nil)
	p.createOrg("acme")
	sent := p.follow("Hello", awkwardMail(), 2)
	p.must(http.MethodGet, trackedIn(sent.Messages[0].HTML, p.at.Public).pixel, outlook)
	analyst := p.newKey("acme", registry.RoleAnalyst)
	aggregate := p.newKey("acme", registry.RoleAggregateAnalyst)
	read := func(key, method, path string, body any) string {
		c := &client{base: p.at.Private, key: key}
		r, err := c.call(t.Context(), method, "/v1/orgs/acme"+path, nil, body)
		if err != nil {
			return problem.Of(err).Code
		}
		r.Close()
		return "ok"
	}
	expect := func(state, readers, export string) {
		t.Helper()
		for who, key := range map[string]string{"admin": p.key, "analyst": analyst.Secret, "aggregate": aggregate.Secret} {
			want := readers
			if got := read(key, http.MethodGet, "/kpis/email_summary", nil); got != want {
				t.Errorf("%s, %s: KPI answers %s, want %s", state, who, got, want)
			}
			if who != "aggregate" { // sees other tables
				if got := read(key, http.MethodPost, "/sql", map[string]any{"sql": "select 1"}); got != want {
					t.Errorf("%s, %s: SQL answers %s, want %s", state, who, got, want)
				}
			}
			if want = "forbidden"; who == "admin" {
				want = export
			}
			if got := read(key, http.MethodGet, "/export", nil); got != want {
				t.Errorf("%s, %s: export answers %s, want %s", state, who, got, want)
			}
		}
	}
	expect("enabled", "ok", "ok")
	for _, step := range []struct{ verb, readers, export string }{
		{"disable", "feature_disabled", "feature_disabled"}, {"enable", "ok", "ok"}, {"terminate", "feature_disabled", "ok"}, {"resubscribe", "ok", "ok"},
	} {
		p.api(http.MethodPost, fmt.Sprint("/v1/orgs/acme:", step.verb), nil, new(json.RawMessage))
		expect("after "+step.verb, step.readers, step.export)
	}
}
