package registry

import (
	"testing"

	"mailwake/engine/event"
)

// TestTwoProcesses: what one process changes counts in another that shares the
// registry, and is not undone by what that one changes.
func TestTwoProcesses(t *testing.T) {
	a := fresh(t)
	acme, ann := toErase(t, a)
	b := open(t, a.path)
	to, err := a.RecipientByAddress(t.Context(), acme, "annabel.quux@example.com")
	if err != nil {
		t.Fatal(err)
	}
	deny := func(r *Registry, p Purpose) {
		t.Helper()
		change := PreferenceChange{Subject: OfRecipient(to.ID), Purposes: PurposesOf(p), State: Denied}
		if err := r.SetPreferences(t.Context(), acme, []PreferenceChange{change}, Proof{Source: "page", Actor: Actor{Kind: ActorRecipient}}); err != nil {
			t.Fatal(err)
		}
	}
	deny(a, PurposeOpen)
	if !b.Decide(acme, to.ID, event.Open).Allow {
		t.Fatal("the test is worth nothing")
	}
	if err := b.Refresh(t.Context()); err != nil || b.Decide(acme, to.ID, event.Open).Allow {
		t.Error("a refusal at another process does not count", err)
	}
	deny(a, PurposeClick)
	deny(b, PurposeReply) // on what it knows, and the other's
	for _, kind := range []event.Kind{event.Open, event.Click, event.Reply} {
		if b.Decide(acme, to.ID, kind).Allow {
			t.Errorf("%v is allowed", kind)
		}
	}
	known := b.Snapshot()
	if err := b.Refresh(t.Context()); err != nil || b.Snapshot() != known {
		t.Error("its own change is read anew", err)
	}
	if err := a.Refresh(t.Context()); err != nil || a.Decide(acme, to.ID, event.Reply).Allow {
		t.Error("a refusal at another process does not count", err)
	}
	if a.Snapshot().Consent(acme).Version != b.Snapshot().Consent(acme).Version {
		t.Error("versions differ")
	}
	if _, err := b.BeginErasure(t.Context(), acme, Whose{Person: ann.ID}, BySystem()); err != nil {
		t.Fatal(err)
	}
	if err := a.Refresh(t.Context()); err != nil || a.Decide(acme, to.ID, event.Sent).Allow || len(a.ErasedRecipients(acme)) != 2 {
		t.Error("an erasure at another process does not count", err)
	}
	for _, r := range []*Registry{a, b} {
		if err := r.Check(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
