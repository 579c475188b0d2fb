package registry

// evaluate finds out whether the email is followed, and what may be collected of
// each recipient. It is a pure function of consent, policy and wish.
func evaluate(e *EmailDetail, people []Recipient, consent Consent, policy Policy, in *NewEmail) {
	e.Recipients = make([]Addressee, len(people))
	blockers, against := 0, Reasons(0)
	for i, p := range people {
		purposes, why := consent.allows(p)
		a := Addressee{Recipient: p, Purposes: purposes, Blocks: purposes == 0, Reasons: why.Names()}
		if a.Blocks {
			blockers++
			against |= why
		}
		e.Recipients[i] = a
	}
	switch {
	case !in.Wish:
		e.Follow, e.Reasons = FollowOff, []string{orElse(in.WhyNot, ReasonNotAsked)}
	case blockers == len(people), blockers > 0 && policy.OnRefusal != RefusalFollowOthers:
		e.Follow, e.Reasons = FollowBlocked, against.Names()
	default:
		e.Follow, e.Reasons = FollowOn, against.Names()
		return
	}
	for i := range e.Recipients {
		e.Recipients[i].Purposes = 0
	}
}

// allows returns the purposes for which the recipient may be followed, and what
// stands against the others.
func (c Consent) allows(p Recipient) (set Purposes, why Reasons) {
	for _, purpose := range purposes() {
		if against := c.sets.against(p.ID, purpose, c.OptIn); against != 0 {
			why |= against
		} else {
			set |= purpose.bit()
		}
	}
	return set, why
}
