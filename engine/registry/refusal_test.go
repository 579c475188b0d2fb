package registry

import (
	"testing"
	"time"

	"mailwake/engine/event"
)

// TestRefusals: who refuses what, and since when, also by inheritance and by
// erasure; answers that refuse nothing are no refusals.
func TestRefusals(t *testing.T) {
	clock := newClock()
	r := fresh(t, func(o *Options) { o.Clock = clock.Now })
	acme, other := org(t, r, "acme"), org(t, r, "other")
	sent := register(t, r, acme, mail("a@example.com", "b@example.com", "c@example.com", "d@example.com"))
	register(t, r, other, mail("a@example.com"))
	all := func() map[event.RecipientID]Refusal {
		t.Helper()
		got, last := map[event.RecipientID]Refusal{}, event.RecipientID(0)
		for refusal, err := range r.Refusals(t.Context(), acme) {
			if err != nil {
				t.Fatal(err)
			}
			if refusal.Recipient <= last {
				t.Errorf("recipient %d after %d", refusal.Recipient, last)
			}
			got[refusal.Recipient], last = refusal, refusal.Recipient
		}
		return got
	}
	if got := all(); len(got) != 0 {
		t.Errorf("nobody has answered: %v", got)
	}
	a, b := sent.Recipients[0].ID, sent.Recipients[1].ID
	clock.advance(time.Hour)
	first := event.At(clock.Now())
	prefer(t, r, acme, PreferenceChange{Subject: OfRecipient(a), Purposes: PurposesOf(PurposeOpen), State: Denied},
		PreferenceChange{Subject: OfRecipient(b), Purposes: AllPurposes, State: Allowed})
	prefer(t, r, other, PreferenceChange{Subject: OfRecipient(1), Purposes: AllPurposes, State: Denied})
	if got := all(); len(got) != 1 || got[a] != (Refusal{a, PurposesOf(PurposeOpen), first}) {
		t.Errorf("one refuses: %v", got)
	}
	clock.advance(time.Hour)
	second := event.At(clock.Now())
	who := person(t, r, acme, Person{Kind: Contact, ExternalID: "c1", Addresses: []string{"a@example.com", "c@example.com"}})
	prefer(t, r, acme, PreferenceChange{Subject: OfPerson(who.ID), Purposes: AllPurposes, State: Denied})
	c := sent.Recipients[2].ID
	if got := all(); len(got) != 2 || got[a] != (Refusal{a, AllPurposes, second}) || got[c] != (Refusal{c, AllPurposes, second}) {
		t.Errorf("by inheritance: %v", got)
	}
	prefer(t, r, acme, PreferenceChange{Subject: OfPerson(who.ID), Purposes: AllPurposes, State: Unknown})
	if got := all(); len(got) != 1 || got[a].Purposes != PurposesOf(PurposeOpen) {
		t.Errorf("taken back: %v", got)
	}
}
