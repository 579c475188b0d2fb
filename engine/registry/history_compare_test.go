package registry

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"mailwake/engine/event"
)

func (h *history) compareEmail(e EmailDetail, in NewEmail, to []string, state FollowState, blockers []string, purposes map[string][]Purpose) {
	var blocking []string
	for i, a := range e.Recipients {
		if a.ID != h.m.ids[to[i]] || a.Purposes != PurposesOf(purposes[to[i]]...) || (len(a.Reasons) > 0) != (len(h.reasons(to[i])) > 0) {
			h.Errorf("recipient %+v, want %v", a, purposes[to[i]])
		}
		if a.Blocks {
			blocking = append(blocking, to[i])
		}
	}
	sent := state != FollowBlocked || in.SendPlain
	if e.Follow != state || e.Wished != in.Wish || !slices.Equal(blocking, blockers) || (e.SentAt != 0) != sent || len(e.Blockers()) != len(blockers) {
		h.Errorf("email %+v, want %s, blocked by %v", e, state, blockers)
	}
	stored, err := h.r.Email(h.Context(), h.org, e.ID)
	if err != nil {
		h.Fatal(err)
	}
	slices.SortFunc(e.Recipients, func(a, b Addressee) int { return int(a.ID - b.ID) })
	for i := range stored.Recipients { // first texts stay
		stored.Recipients[i].Recipient = e.Recipients[i].Recipient
	}
	if !reflect.DeepEqual(stored, e) {
		h.Errorf("stored %+v\nanswered %+v", stored, e)
	}
}

// reasons are those against following an address, for any purpose.
func (h *history) reasons(address string) (out []string) {
	for _, p := range purposes() {
		if why := h.m.refusal(address, p); why != "" {
			out = append(out, why)
		}
	}
	return out
}

// picture tells everything that a snapshot's consent says.
func (h *history) picture(c Consent) consentPicture {
	var says strings.Builder
	fmt.Fprint(&says, c.OptIn)
	for _, p := range purposes() {
		fmt.Fprint(&says, slices.Collect(c.Denied(p)), slices.Collect(c.Granted(p)))
	}
	return consentPicture{c.Version, says.String()}
}

// compare holds all that readers see to the model.
func (h *history) compare() {
	consent := h.r.Snapshot().Consent(h.org)
	for _, p := range purposes() {
		var denied, granted []event.RecipientID
		for a, id := range h.m.ids {
			switch h.m.answer(a, p) {
			case Denied:
				denied = append(denied, id)
			case Allowed:
				granted = append(granted, id)
			}
			if refuses := consent.Refuses(id, p); refuses != (h.m.refusal(a, p) != "") {
				h.Errorf("Refuses(%d, %s) = %v", id, p, refuses)
			}
		}
		slices.Sort(denied)
		slices.Sort(granted)
		if have := slices.Collect(consent.Denied(p)); !slices.Equal(have, denied) {
			h.Errorf("%s: denied %v, want %v", p, have, denied)
		}
		if have := slices.Collect(consent.Granted(p)); !slices.Equal(have, granted) {
			h.Errorf("%s: granted %v, want %v", p, have, granted)
		}
	}
	if again := h.picture(h.before); h.last.says != "" && again != h.last {
		h.Errorf("a snapshot that was taken has changed from %v to %v", h.last, again)
	}
	now := h.picture(consent)
	h.before = consent
	if now.says != h.last.says && now.version == h.last.version && h.last.says != "" {
		h.Errorf("the consent changed and its version %d did not", now.version)
	}
	if h.last.version > now.version {
		h.Errorf("version %d after %d", now.version, h.last.version)
	}
	h.last = now
	for a, id := range h.m.ids {
		for kind := event.Open; kind <= event.Unsubscribed; kind++ {
			v, want := h.r.Decide(h.org, id, kind), h.m.decide(a, kind)
			if !slices.Equal(v.Reasons.Names(), want) || v.Allow != (want == nil) {
				h.Errorf("Decide(%s, %v) = %v %s, want %v", a, kind, v.Allow, v.Reasons, want)
			}
		}
	}
}

// settle looks at the whole after the last step.
func (h *history) settle(other event.OrgID) {
	for a, id := range h.m.ids {
		got, err := h.r.Preferences(h.Context(), h.org, OfRecipient(id))
		if err != nil {
			h.Fatal(err)
		}
		for _, p := range purposes() {
			if got.Own.For(p) != h.m.own[a][p] || got.Addresses[0].Answers.For(p) != h.m.answer(a, p) {
				h.Errorf("preferences of %s: %+v", a, got)
			}
		}
	}
	for key, want := range h.m.people {
		p, err := h.r.PersonByExternalID(h.Context(), h.org, key)
		if err != nil || !slices.Equal(p.Addresses, want.addresses) {
			h.Errorf("%v: %+v, %v, want %+v", key, p, err, want)
		}
		got, err := h.r.Preferences(h.Context(), h.org, OfPerson(p.ID))
		for _, purpose := range purposes() {
			if err != nil || got.Own.For(purpose) != want.answers[purpose] {
				h.Errorf("preferences of %v: %+v, %v", key, got, err)
			}
		}
	}
	if n, err := h.r.VerifyLedger(h.Context(), h.org); err != nil || n != h.m.ledger {
		h.Errorf("ledger: %d entries, want %d, %v", n, h.m.ledger, err)
	}
	if err := h.r.Check(h.Context()); err != nil {
		h.Error(err)
	}
	if c := h.r.Snapshot().Consent(other); c.Version != 0 || c.Refuses(1, PurposeOpen) {
		h.Errorf("the other organisation: %+v", c)
	}
}
