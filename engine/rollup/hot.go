package rollup

import (
	"slices"

	"mailwake/engine/event"
)

// hot is what the tail adds to the files: the pairs that it touches, the sums of
// their emails, and who was active since.
type hot struct {
	pairs   map[key]*hotPair
	emails  map[event.RecipientID][]event.EmailID // of pairs
	people  map[event.EmailID][]event.RecipientID
	live    map[event.EmailID]*Sums
	last    map[event.RecipientID]event.Micros
	touched []touch // an entry per event that not every Tally has
	events  int
	// skewed are emails for which a report replaced an earlier one that says something
	// else. Their sums may have lost what cannot be taken back: they are made anew.
	skewed       map[event.EmailID]bool
	skewedPeople map[event.RecipientID]bool
	skews        int // replaced reports
}

// hotPair is a pair with the tail. Lists only grow.
type hotPair struct {
	own   []Fact // without those that were shed, which come first
	told  []report
	cold  extent // what of them is counted as of files
	pair  Pair   // what may be shown
	shed  int
	base  *Pair // what of those that were shed may be shown
	place int   // in people of its email
}

// extent is how much of the lists of a hotPair is meant, with what was shed.
type extent struct{ own, told int }

func (h *hotPair) extent() extent { return extent{h.shed + len(h.own), len(h.told)} }

// warm is what was observed that no file has, or that is in files only since.
func (h *hotPair) warm() []Fact { return h.own[h.cold.own-h.shed:] }

// touch says that a pair got an event, and what it had before and then.
type touch struct {
	key
	before, after extent
}

func (h *hot) clear() {
	*h = hot{pairs: map[key]*hotPair{}, emails: map[event.RecipientID][]event.EmailID{}, people: map[event.EmailID][]event.RecipientID{}, live: map[event.EmailID]*Sums{},
		last: map[event.RecipientID]event.Micros{}, skewed: map[event.EmailID]bool{}, skewedPeople: map[event.RecipientID]bool{}}
}

// HotPairs returns how many pairs the tail has.
func (s *State) HotPairs() int { return len(s.hot.pairs) }

// HotEvents returns how many events the tail has.
func (s *State) HotEvents() int { return s.hot.events }

// put takes in a pair that the tail touches for the first time.
func (h *hot) put(k key, p *hotPair) {
	h.pairs[k] = p
	h.emails[k.recipient] = append(h.emails[k.recipient], k.email)
	p.place = len(h.people[k.email])
	h.people[k.email] = append(h.people[k.email], k.recipient)
}

// drop takes out a pair of which the files have everything.
func (h *hot) drop(k key, p *hotPair) {
	delete(h.pairs, k)
	people := h.people[k.email]
	last := len(people) - 1
	if people[p.place] = people[last]; p.place != last {
		h.pairs[key{k.email, people[last]}].place = p.place
	}
	if h.people[k.email] = people[:last]; last == 0 {
		delete(h.people, k.email)
		delete(h.live, k.email)
	}
	emails := h.emails[k.recipient]
	if emails = slices.DeleteFunc(emails, func(e event.EmailID) bool { return e == k.email }); len(emails) > 0 {
		h.emails[k.recipient] = emails
		return
	}
	delete(h.emails, k.recipient)
	delete(h.last, k.recipient)
}

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
		if h, ok = s.recollect(k); !ok {
			h = &hotPair{}
			if err := s.lookUp(k, h); err != nil {
				return err
			}
			s.shed(k, h)
		}
		s.yield()
		s.hot.put(k, h)
	}
	had := h.extent()
	fact, before := Fact{e.At, s.shapes.id(&e.Shape), e.Component}, h.pair
	if e.ID >= 0 {
		h.own = append(h.own, fact)
		if s.shapes.purposes[fact.Shape]&s.gen.Consent.hidden(k.recipient) == 0 {
			h.pair.Add(e.Kind, e.Actor, e.At)
		}
	} else {
		for i := range h.told {
			if t := &h.told[i]; t.id == e.ID && t.Fact != fact {
				s.hot.skewed[k.email], s.hot.skewedPeople[k.recipient] = true, true
				s.hot.skews++
			}
		}
		h.told = append(h.told, report{k, e.ID, e.Received, fact})
		h.pair = s.pairOf(k, h, h.extent())
	}
	if s.hot.events++; len(s.tallies.by) > 0 {
		s.hot.touched = append(s.hot.touched, touch{k, had, h.extent()})
	}
	s.replace(k, &before, &h.pair)
	return nil
}

// lookUp reads of k what the files have.
func (s *State) lookUp(k key, h *hotPair) error {
	err := s.gen.read(k, h)
	h.cold = h.extent()
	h.pair = s.pairOf(k, h, h.cold)
	return err
}

// read reads of k what the files have into the lists of h, in the room they have.
func (g *generation) read(k key, h *hotPair) (err error) {
	if h.own, err = g.own(h.own[:0], k); err == nil {
		h.own = g.recent(h.own)
		h.told, err = g.reports(nil, k.email, k.recipient)
	}
	return err
}

// factsOf is what may be shown of so much of a pair, until it is asked again.
func (s *State) factsOf(k key, h *hotPair, n extent) []Fact {
	g := &s.gen
	if g.buf = g.buf[:0]; h.shed > 0 {
		s.fetch(k, h, n.own)
	} else {
		g.buf = append(g.buf, h.own[:n.own]...)
	}
	return s.withTold(k, h, n.told)
}

// withTold adds to buf so much of what others reported, and leaves what may be shown.
func (s *State) withTold(k key, h *hotPair, n int) []Fact {
	g := &s.gen
	if n > 0 {
		for _, t := range g.unique(slices.Clone(h.told[:n])) {
			g.buf = append(g.buf, t.Fact)
		}
	}
	return s.shapes.visible(g.buf, g.Consent.hidden(k.recipient))
}

// pairOf counts so much of a pair.
func (s *State) pairOf(k key, h *hotPair, n extent) (p Pair) {
	if h.shed > 0 {
		p = *h.base
	}
	s.gen.buf = append(s.gen.buf[:0], h.own[:n.own-h.shed]...)
	s.shapes.add(&p, s.withTold(k, h, n.told))
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
		cold := s.pairOf(k, h, h.cold)
		s.people[k.recipient].change(s, &h.pair, &cold)
		s.yield()
	}
}

// redo puts the tail back on files that are as they were.
func (s *State) redo() {
	clear(s.hot.live)
	clear(s.hot.last)
	for k, h := range s.hot.pairs {
		s.rebase(k, h)
		cold := s.pairOf(k, h, h.cold)
		h.pair = s.pairOf(k, h, h.extent())
		s.replace(k, &cold, &h.pair)
	}
}
