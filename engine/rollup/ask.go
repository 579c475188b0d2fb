package rollup

import (
	"cmp"
	"slices"

	"mailwake/engine/event"
)

// Email returns the sums of an email; Pairs is 0 if nothing may be shown of it.
func (s *State) Email(email event.EmailID) (Sums, error) {
	if s.hot.skewed[email] {
		sums := NewSums()
		err := s.Pairs(email, func(_ event.RecipientID, p *Pair) { sums.Count(p) })
		return sums, err
	}
	if live, ok := s.hot.live[email]; ok {
		return *live, nil
	}
	return s.cold(email), nil
}

// Emails calls each for every email of which there is anything, in no order.
func (s *State) Emails(each func(event.EmailID, *Sums)) error {
	for i := range s.sums {
		if e := &s.sums[i]; s.hot.live[e.email] == nil && e.Pairs > 0 {
			each(e.email, &e.Sums)
		}
	}
	for email := range s.hot.live {
		sums, err := s.Email(email)
		if err != nil {
			return err
		}
		if sums.Pairs > 0 {
			each(email, &sums)
		}
	}
	return nil
}

// Total is the sums of all pairs, with what is counted once over all of them.
type Total struct {
	Sums
	Emails          int64 // with a sent event
	People, Reached int64 // of whom there is anything; a sent event
}

// Total returns the sums of everything.
func (s *State) Total() (Total, error) {
	t := Total{Sums: s.total, Emails: s.sent, People: s.shown, Reached: s.reached}
	if len(s.hot.skewed) > 0 { // times may have to be taken back
		t.Sums = NewSums()
		for i := range s.sums {
			if _, ok := s.hot.live[s.sums[i].email]; !ok {
				t.Sums.Add(&s.sums[i].Sums)
			}
		}
	}
	for email := range s.hot.live {
		cold := s.cold(email)
		sums, err := s.Email(email)
		if err != nil {
			return t, err
		}
		if len(s.hot.skewed) == 0 {
			t.Sums.subtract(&cold)
		}
		t.Sums.Add(&sums)
		t.Emails += int64(bit(sums.Sent > 0)) - int64(bit(cold.Sent > 0))
	}
	return t, nil
}

// subtract takes counts back; the times stay.
func (s *Sums) subtract(t *Sums) {
	s.Pairs -= t.Pairs
	s.Sent -= t.Sent
	s.Bounced -= t.Bounced
	s.Delivered -= t.Delivered
	s.Complained -= t.Complained
	s.Unsubscribed -= t.Unsubscribed
	s.Confirmed -= t.Confirmed
	for i := range s.Did {
		d, e := &s.Did[i], &t.Did[i]
		d.Total -= e.Total
		d.Human -= e.Human
		d.Machine -= e.Machine
		d.Unique -= e.Unique
		d.ByHuman -= e.ByHuman
		d.ByMachine -= e.ByMachine
	}
}

// Pairs calls each for what may be shown of each recipient of the email.
func (s *State) Pairs(email event.EmailID, each func(event.RecipientID, *Pair)) error {
	return s.Facts(email, func(r event.RecipientID, facts []Fact) {
		p := s.shapes.pair(facts)
		each(r, &p)
	})
}

// Facts calls each for the events that may be shown of each recipient of the email,
// one or more, in no order. They are each's until it returns.
func (s *State) Facts(email event.EmailID, each func(event.RecipientID, []Fact)) error {
	show := func(r event.RecipientID, facts []Fact) {
		if len(facts) > 0 {
			each(r, facts)
		}
	}
	_, live := s.hot.live[email]
	seen := map[event.RecipientID]bool{}
	var buf []Fact
	err := s.gen.fold(email, func(r event.RecipientID, facts []Fact) error {
		if live {
			if h, ok := s.hot.pairs[key{email, r}]; ok {
				seen[r] = true
				buf = append(buf[:0], s.factsOf(key{email, r}, h, h.extent())...)
				show(r, buf)
				return nil
			}
		}
		show(r, s.shapes.visible(facts, s.gen.Consent.hidden(r)))
		return nil
	})
	if err != nil || !live {
		return err
	}
	for _, r := range s.hot.people[email] {
		if k := (key{email, r}); !seen[r] {
			h := s.hot.pairs[k]
			buf = append(buf[:0], s.factsOf(k, h, h.extent())...)
			show(k.recipient, buf)
		}
	}
	return s.failed
}

// Shapes returns the shapes of facts, by their numbers. There may be more later.
func (s *State) Shapes() []Shape { return s.shapes.list }

// Pair returns what may be shown of one email and recipient.
func (s *State) Pair(email event.EmailID, recipient event.RecipientID) (p Pair, err error) {
	k := key{email, recipient}
	h, ok := s.hot.pairs[k]
	if !ok {
		h = &hotPair{}
		err = s.lookUp(k, h)
	}
	return h.pair, err
}

// Recipient calls each for what may be shown of each email to the recipient.
func (s *State) Recipient(r event.RecipientID, each func(event.EmailID, *Pair)) error {
	return s.RecipientFacts(r, func(email event.EmailID, facts []Fact) {
		p := s.shapes.pair(facts)
		each(email, &p)
	})
}

// RecipientFacts is Facts for each email to the recipient.
func (s *State) RecipientFacts(r event.RecipientID, each func(event.EmailID, []Fact)) error {
	emails, err := s.gen.emailsOf(r)
	if err != nil {
		return err
	}
	emails = append(emails, s.hot.emails[r]...)
	slices.Sort(emails)
	for _, email := range slices.Compact(emails) {
		k := key{email, r}
		h, ok := s.hot.pairs[k]
		if !ok {
			h = &hotPair{}
			if err := s.lookUp(k, h); err != nil {
				return err
			}
		}
		if facts := s.factsOf(k, h, h.extent()); len(facts) > 0 {
			each(email, facts)
		}
	}
	return s.failed
}

// Recipients returns the first n recipients of whom there is anything.
func (s *State) Recipients(n int) (ids []event.RecipientID) {
	for r := range s.people {
		if len(ids) == n {
			break
		}
		if s.people[r].pairs > 0 {
			ids = append(ids, event.RecipientID(r))
		}
	}
	return ids
}

// LastActive returns the n recipients of whom there is anything whom a person was
// active for last, the last one first, then by their ids.
func (s *State) LastActive(n int) ([]event.RecipientID, error) {
	top := latestFirst{n: n}
	for r := range event.RecipientID(len(s.people)) {
		if s.people[r].pairs == 0 {
			continue
		}
		last, err := s.lastActive(r)
		if err != nil {
			return nil, err
		}
		top.add(last, r)
	}
	return top.ids(), nil
}

// LastActiveIn is LastActive of those of one email.
func (s *State) LastActiveIn(email event.EmailID, n int) ([]event.RecipientID, error) {
	top := latestFirst{n: n}
	err := s.Pairs(email, func(r event.RecipientID, p *Pair) { top.add(p.lastActive(), r) })
	return top.ids(), err
}

// latestFirst finds the first n of many recipients.
type latestFirst struct {
	n     int
	list  []activity
	bound *activity // n are before it
}

type activity struct {
	last event.Micros
	id   event.RecipientID
}

func (a activity) compare(b activity) int {
	return cmp.Or(cmp.Compare(b.last, a.last), cmp.Compare(a.id, b.id))
}

func (l *latestFirst) add(last event.Micros, id event.RecipientID) {
	a := activity{last, id}
	if l.bound != nil && l.bound.compare(a) < 0 {
		return
	}
	if l.list = append(l.list, a); len(l.list) >= 2*l.n+1000 {
		slices.SortFunc(l.list, activity.compare)
		l.list = l.list[:l.n]
		last := l.list[l.n-1]
		l.bound = &last
	}
}

func (l *latestFirst) ids() []event.RecipientID {
	slices.SortFunc(l.list, activity.compare)
	ids := make([]event.RecipientID, min(l.n, len(l.list)))
	for i := range ids {
		ids[i] = l.list[i].id
	}
	return ids
}

// LastActiveOf returns when a person was active last for the recipient, if ever.
func (s *State) LastActiveOf(r event.RecipientID) (last event.Micros, active bool, err error) {
	if int(r) < len(s.people) {
		last, err = s.lastActive(r)
		return last, last != never, err
	}
	return never, false, nil
}

// lastActive returns when the recipient was active last.
func (s *State) lastActive(r event.RecipientID) (event.Micros, error) {
	last := s.people[r].last
	if s.hot.skewedPeople[r] {
		last = never
		err := s.Recipient(r, func(_ event.EmailID, p *Pair) { last = max(last, p.lastActive()) })
		return last, err
	}
	if hot, ok := s.hot.last[r]; ok {
		last = max(last, hot)
	}
	return last, nil
}
