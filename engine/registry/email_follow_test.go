package registry

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"mailwake/engine/event"
)

// TestRetry walks a blocked email to being followed under the same id.
func TestRetry(t *testing.T) {
	c := newClock()
	r := fresh(t, func(o *Options) { o.Clock = c.Now })
	acme := org(t, r, "acme")
	prefer(t, r, acme, PreferenceChange{Address: "no@example.com", Purposes: AllPurposes, State: Denied})
	in := mail("yes@example.com", "no@example.com")
	blocked := register(t, r, acme, in)
	if blocked.Follow != FollowBlocked || !slices.Equal(blocked.Reasons, []string{"recipient_denied"}) || blocked.SentAt != 0 || blocked.Recipients[0].Purposes != 0 {
		t.Fatalf("%+v", blocked)
	}
	if who := blocked.Blockers(); len(who) != 1 || who[0].Address != "no@example.com" || !slices.Equal(who[0].Reasons, blocked.Reasons) {
		t.Errorf("blocked by %+v", who)
	}
	c.advance(time.Hour)
	in.Retry = blocked.ID
	if again := register(t, r, acme, in); again.Follow != FollowBlocked || again.ID != blocked.ID || again.Change != 2 {
		t.Errorf("retried in vain: %+v", again)
	}
	prefer(t, r, acme, PreferenceChange{Address: "no@example.com", Purposes: PurposesOf(PurposeOpen), State: Allowed})
	in.Links, in.Subject = in.Links[:0], "Changed"
	on := register(t, r, acme, in)
	if on.Follow != FollowOn || on.ID != blocked.ID || on.CreatedAt != blocked.CreatedAt || on.SentAt != r.now() || on.Change != 3 {
		t.Errorf("retried: %+v", on)
	}
	if on.Recipients[0].Purposes != AllPurposes || on.Recipients[1].Purposes != PurposesOf(PurposeOpen) || !slices.Equal(on.Recipients[1].Reasons, []string{"recipient_denied"}) {
		t.Errorf("purposes: %+v", on.Recipients)
	}
	if stored, err := r.Email(t.Context(), acme, on.ID); err != nil || stored.Subject != "Changed" || len(stored.Links) != 0 || len(stored.Recipients) != 2 {
		t.Errorf("stored %+v, %v", stored, err)
	}
	next := register(t, r, acme, mail("yes@example.com"))
	for _, id := range []event.EmailID{on.ID, next.ID} {
		in.Retry = id
		_, err := r.RegisterEmail(t.Context(), acme, in)
		wantCode(t, err, "email_not_blocked")
	}
	for _, id := range []event.EmailID{99, -1} {
		in.Retry = id
		_, err := r.RegisterEmail(t.Context(), acme, in)
		wantCode(t, err, "email_not_found")
	}
	if changed := collect(t, r.EmailChanges(t.Context(), acme, 1)); len(changed) != 2 || changed[0].ID != on.ID || changed[1].ID != next.ID || changed[1].Change != 4 {
		t.Errorf("changed: %+v", changed)
	}
}

func TestNotWished(t *testing.T) {
	r := fresh(t)
	acme := org(t, r, "acme")
	in := mail("a@example.com")
	in.Wish = false
	e := register(t, r, acme, in)
	if e.Follow != FollowOff || e.Wished || !slices.Equal(e.Reasons, []string{ReasonNotAsked}) || e.SentAt == 0 || e.Recipients[0].Purposes != 0 {
		t.Errorf("%+v", e)
	}
	in.WhyNot = "no_html"
	if e := register(t, r, acme, in); !slices.Equal(e.Reasons, []string{"no_html"}) {
		t.Errorf("%+v", e)
	}
	for _, bad := range []string{"secret\n", "two,names"} {
		in.WhyNot = bad
		_, err := r.RegisterEmail(t.Context(), acme, in)
		wantCode(t, err, "reason_invalid")
	}
}

// TestWithdrawalIsSeenAtOnce has readers beside the writers, for the race detector:
// after a refusal was stored, no reader is told that it may record.
func TestWithdrawalIsSeenAtOnce(t *testing.T) {
	r := fresh(t)
	acme := org(t, r, "acme")
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				s := r.Snapshot()
				c := s.Consent(acme)
				for id := range c.Denied(PurposeClick) {
					if s.Decide(acme, id, event.Click).Allow || !c.Refuses(id, PurposeClick) {
						t.Errorf("recipient %d is listed and allowed", id)
					}
				}
			}
		})
	}
	for w := range 3 {
		writers.Go(func() {
			for i := range 20 {
				address := fmt.Sprintf("u%d@example.com", w)
				state := []Preference{Denied, Allowed, Unknown}[i%3]
				prefer(t, r, acme, PreferenceChange{Address: address, Purposes: AllPurposes, State: state})
				to, err := r.RecipientByAddress(t.Context(), acme, address)
				if err != nil {
					t.Error(err)
				}
				for kind := event.Open; kind <= event.Reply; kind++ {
					if v := r.Decide(acme, to.ID, kind); v.Allow != (state != Denied) {
						t.Errorf("%s after %s: %+v", kind, state, v)
					}
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	if n, err := r.VerifyLedger(t.Context(), acme); n != 60 || err != nil {
		t.Errorf("%d entries, %v", n, err)
	}
}
