package rollup

import (
	"slices"

	"mailwake/engine/event"
)

// growth is of how many rows one may be new for files to be added pair by pair.
// A pair costs a look into memory if the tail had it and else into the files, some
// ten times what it costs in passing.
const growth = 10

// more returns the files that next has in addition, nil unless that is all that is
// different, so that only pairs of these change, and only by events of their own.
func (g *generation) more(next *generation) []*File {
	added := without(next.Files, g.Files)
	if next.Oldest != g.Oldest || !next.Consent.same(&g.Consent) || len(without(g.Files, next.Files)) > 0 || slices.ContainsFunc(added, (*File).reported) {
		return nil
	}
	return added
}

// few reports whether the files are not none, and have few of the rows.
func (s *State) few(more []*File) bool {
	var added, all int64
	for _, f := range more {
		added += f.Rows
	}
	for _, f := range s.gen.Files {
		all += f.Rows
	}
	return added > 0 && added <= (added+all)/s.growth
}

// grow makes the State stand on next, with the tail if that begins where it did: the
// pairs of the files that it has more are counted with what these add. What the tail
// knows of a pair need not be looked up.
func (s *State) grow(next *generation, more []*File) error {
	s.changed = s.changed[:0]
	if next.Tail != s.gen.Tail { // nobody knows which of the files are of the tail
		s.tallies.drop()
		s.undo()
		s.remember()
		s.hot.clear()
	}
	if err := s.retally(0); err != nil {
		return err
	}
	for _, f := range more {
		if len(f.pairs.blocks) > 0 {
			if err := s.enlargeAll(f); err != nil {
				f.stream.more = false // it stopped in the middle
				return err
			}
		}
		s.gen.Files = append(slices.Clip(s.gen.Files), f)
	}
	s.gen = *next
	return nil
}

// remember keeps of the pairs of the tail what the files have of them. They are
// likely to be in the tail again.
func (s *State) remember() {
	s.known = make(map[key]*hotPair, len(s.hot.pairs))
	for k, h := range s.hot.pairs {
		s.known[k] = &hotPair{own: slices.Clip(h.own[:h.cold.own-h.shed]), told: slices.Clip(h.told[:h.cold.told]), cold: h.cold, shed: h.shed, base: h.base}
	}
}

// Expect says, before the first Refresh, that the tail has something of a pair, so that
// Add need not look it up. It returns how many pairs it has been told of.
func (s *State) Expect(email event.EmailID, recipient event.RecipientID) int {
	if s.expected == nil {
		s.expected = map[key]struct{}{}
	}
	s.expected[key{email, recipient}] = struct{}{}
	return len(s.expected)
}

// anticipate keeps what files have of the pairs of the tail, which is to be added anew:
// to look all of them up takes seconds. What next has of stale emails is still to come.
func (s *State) anticipate(next *generation, kept bool, stale func(event.EmailID) bool) {
	if kept {
		s.known = nil
		return
	}
	s.remember() // of an email that is not stale, what may be shown is what it was
	for k := range s.expected {
		s.known[k] = &hotPair{}
	}
	s.awaited = map[key]struct{}{}
	reported := map[event.EmailID]bool{}
	for _, f := range next.Files {
		for i := range f.emails {
			if e := &f.emails[i]; e.reported {
				reported[e.email] = true
			}
		}
	}
	for k := range s.known {
		switch {
		case !stale(k.email):
		case reported[k.email]: // passing them does not tell who observed what
			delete(s.known, k)
		default:
			s.known[k], s.awaited[k] = &hotPair{}, struct{}{}
		}
	}
}

// recollect returns what the files have of k, if it is known; it is the caller's.
func (s *State) recollect(k key) (h *hotPair, ok bool) {
	if h, ok = s.known[k]; ok {
		delete(s.known, k)
		h.pair = s.pairOf(k, h, h.cold)
	}
	return h, ok
}

// enlargeAll counts the pairs of f.
func (s *State) enlargeAll(f *File) error {
	st := &f.stream
	st.more = false
	var read hotPair
	for err := st.seek(f, f.emails[0].email); st.more || err != nil; err = st.next() {
		if err != nil {
			return f.wrap(err)
		}
		k := st.head
		h, hot := s.hot.pairs[k]
		if !hot {
			known := false
			if h, known = s.known[k]; !known {
				h = &read
				if err := s.gen.read(k, h); err != nil {
					return err
				}
				h.cold = h.extent()
			}
			h.pair = s.pairOf(k, h, h.cold)
		}
		if err := s.enlarge(k, h, hot, s.gen.recent(st.facts)); err != nil {
			return err
		}
		s.yield()
	}
	return nil
}

// enlarge counts facts that a file has of the pair, and that were not in the tail.
func (s *State) enlarge(k key, h *hotPair, hot bool, facts []Fact) error {
	was, to := h.extent(), extent{h.cold.own + len(facts), h.cold.told}
	for _, t := range s.tallies.by {
		t.count(-1, k, s.factsOf(k, h, was))
	}
	h.own = slices.Insert(h.own, h.cold.own-h.shed, facts...)
	for _, t := range s.tallies.by {
		t.count(1, k, s.factsOf(k, h, h.extent()))
	}
	before := h.pair
	h.pair = s.pairOf(k, h, h.extent())
	if hot || s.hot.live[k.email] != nil {
		s.replace(k, &before, &h.pair)
	} else {
		s.person(k.recipient).change(s, &before, &h.pair)
	}
	return s.cool(k, h, to)
}

// cool counts so much of the pair as of files.
func (s *State) cool(k key, h *hotPair, to extent) error {
	i, err := s.place(k.email)
	if err != nil {
		return err
	}
	before := s.pairOf(k, h, h.cold)
	h.cold = to
	after := s.pairOf(k, h, h.cold)
	email := &s.sums[i].Sums
	s.sent -= int64(bit(email.Sent > 0))
	for _, sums := range []*Sums{email, &s.total} {
		if !before.Empty() {
			sums.remove(&before)
		}
		if !after.Empty() {
			sums.Count(&after)
		}
	}
	s.sent += int64(bit(email.Sent > 0))
	who := s.person(k.recipient)
	who.last = max(who.last, after.lastActive())
	return nil
}
