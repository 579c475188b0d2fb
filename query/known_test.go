package query

import (
	"reflect"
	"slices"
	"testing"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

// What emails and recipients are grouped by may change while nothing happens.
func TestRollupsFollowTheCatalog(t *testing.T) {
	w := newTwins(t, 5)
	o := w.world.org(1)
	w.world.add(1, w.coming[:800]...)
	w.flush(700)
	check := func(what string) {
		t.Helper()
		for _, name := range []string{"followed_comparison", "template_table", "machine_share"} {
			q := Request{Org: 1, Persons: true, Name: name}
			if !w.rolls(q) {
				t.Errorf("%s: %s is not answered from rollups", what, name)
			}
			res, err := w.with.KPI(t.Context(), q)
			got := rowsOf(t, res, err)
			res, err = w.without.KPI(t.Context(), q)
			if want := rowsOf(t, res, err); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %s: with rollups\n%v\nwithout\n%v", what, name, got, want)
			}
		}
	}
	check("at first")
	e := o.emails[3]
	e.Follow = map[registry.FollowState]registry.FollowState{"on": "off", "off": "on", "blocked": "on"}[e.Follow]
	o.emails = append(slices.Clip(o.emails), e)
	check("another follow state")
	e.Template = "another"
	o.emails = append(slices.Clip(o.emails), e)
	check("another template")
	o.emails = append(slices.Clip(o.emails), registry.Email{ID: 15, Follow: "on", Template: "late"})
	check("an email that had events before")
	for id := event.RecipientID(36); id <= 40; id++ {
		o.recipients = append(o.recipients, registry.Recipient{ID: id, Address: "somebody@example.org"})
	}
	check("recipients who had events before")
}
