package rollup

import (
	"slices"

	"mailwake/engine/event"
)

// hot is what the tail adds to the files: the pairs that it touches, the sums of
// their emails, and who was active since.
type hot struct {
	pairs  map[key]*hotPair
	emails map[event.RecipientID][]event.EmailID // of pairs
	live   map[event.EmailID]*Sums
	last   map[event.RecipientID]event.Micros
	// skewed are emails for which a report replaced an earlier one that says something
	// else. Their sums may have lost what cannot be taken back: they are made anew.
	skewed       map[event.EmailID]bool
	skewedPeople map[event.RecipientID]bool
}

// hotPair is a pair as the files have it, and with the tail.
type hotPair struct{ cold, whole half }

// half has apart what must be made unique.
type half struct {
	own  Pair
	told []Event
}

func (h *hot) clear() {
	*h = hot{pairs: map[key]*hotPair{}, emails: map[event.RecipientID][]event.EmailID{}, live: map[event.EmailID]*Sums{},
		last: map[event.RecipientID]event.Micros{}, skewed: map[event.EmailID]bool{}, skewedPeople: map[event.RecipientID]bool{}}
}

// HotPairs returns how many pairs the tail has.
func (s *State) HotPairs() int { return len(s.hot.pairs) }

// Add counts an event of the tail.
func (s *State) Add(e *Event) error {
	if e.Email <= 0 || e.Recipient <= 0 || e.Recipient > maxRecipient {
		return ErrRange
	}
	if e.ID >= 0 && e.At < s.gen.Oldest {
		return nil
	}
	k := key{e.Email, e.Recipient}
	h, ok := s.hot.pairs[k]
	if !ok {
		h = &hotPair{}
		if err := s.lookUp(k, &h.cold); err != nil {
			return err
		}
		h.whole = half{h.cold.own, slices.Clone(h.cold.told)}
		s.hot.pairs[k] = h
		s.hot.emails[k.recipient] = append(s.hot.emails[k.recipient], k.email)
	}
	before := s.visible(k, &h.whole)
	if e.ID >= 0 {
		h.whole.own.Add(e.Kind, e.Actor, e.At)
	} else {
		for i := range h.whole.told {
			if t := &h.whole.told[i]; t.ID == e.ID && (t.At != e.At || t.Kind != e.Kind || t.Actor != e.Actor) {
				s.hot.skewed[k.email], s.hot.skewedPeople[k.recipient] = true, true
			}
		}
		h.whole.told = append(h.whole.told, *e)
	}
	after := s.visible(k, &h.whole)
	s.replace(k, &before, &after)
	return nil
}

// lookUp reads of k what the files have.
func (s *State) lookUp(k key, h *half) (err error) {
	if err = s.gen.own(k, &h.own); err == nil {
		h.told, err = s.gen.reports(nil, k.email, k.recipient)
	}
	return err
}

// visible is what may be shown of a pair.
func (s *State) visible(k key, h *half) Pair {
	p := h.own
	if len(h.told) > 0 {
		for _, c := range s.gen.pairsOf(h.told) {
			p.Merge(&c.pair)
		}
	}
	p.hide(s.gen.Consent.hidden(k.recipient))
	return p
}

// replace counts after in the place of before.
func (s *State) replace(k key, before, after *Pair) {
	live, ok := s.hot.live[k.email]
	if !ok {
		sums := s.cold(k.email)
		live = &sums
		s.hot.live[k.email] = live
	}
	if !before.Empty() {
		live.remove(before)
	}
	if !after.Empty() {
		live.Count(after)
	}
	s.person(k.recipient).change(s, before, after)
	if last := after.lastActive(); last != never {
		if known, ok := s.hot.last[k.recipient]; !ok || last > known {
			s.hot.last[k.recipient] = last
		}
	}
}

// cold returns the sums of an email in the files.
func (s *State) cold(email event.EmailID) Sums {
	if i, ok := s.places[email]; ok {
		return s.sums[i].Sums
	}
	return NewSums()
}

// undo takes the tail out of what is kept of recipients.
func (s *State) undo() {
	for k, h := range s.hot.pairs {
		cold, whole := s.visible(k, &h.cold), s.visible(k, &h.whole)
		s.people[k.recipient].change(s, &whole, &cold)
	}
}

// redo puts the tail back on files that are as they were.
func (s *State) redo() {
	clear(s.hot.live)
	clear(s.hot.last)
	for k, h := range s.hot.pairs {
		cold, whole := s.visible(k, &h.cold), s.visible(k, &h.whole)
		s.replace(k, &cold, &whole)
	}
}
