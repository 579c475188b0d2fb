package rollup

import "slices"

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

// grow makes the State stand on next without the tail: the pairs of the files that
// it has more are counted with what these add. What the tail knows of a pair need
// not be looked up: it is mostly the tail that has become a file.
func (s *State) grow(next *generation, more []*File) error {
	s.changed = s.changed[:0]
	s.keepTallies(next)
	s.undo()
	s.remember()
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
		s.known[k] = &hotPair{own: slices.Clip(h.own[:h.cold.own]), told: slices.Clip(h.told[:h.cold.told]), cold: h.cold}
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
		h, ok := s.known[k]
		if !ok {
			h = &read
			if err := s.gen.read(k, h); err != nil {
				return err
			}
			h.cold = h.extent()
		}
		h.own = append(h.own, st.facts...)
		if err := s.enlarge(k, h); err != nil {
			return err
		}
		h.cold = h.extent()
		s.yield()
	}
	return nil
}

// enlarge counts all of the pair where what is cold of it was counted.
func (s *State) enlarge(k key, h *hotPair) error {
	i, err := s.place(k.email)
	if err != nil {
		return err
	}
	for _, t := range s.tallies.by {
		t.count(-1, k, s.factsOf(k, h, h.cold))
		t.count(1, k, s.factsOf(k, h, h.extent()))
	}
	before, after := s.pairOf(k, h, h.cold), s.pairOf(k, h, h.extent())
	sums := &s.sums[i].Sums
	if !before.Empty() {
		sums.remove(&before)
	}
	if !after.Empty() {
		sums.Count(&after)
	}
	who := s.person(k.recipient)
	who.change(s, &before, &after)
	who.last = max(who.last, after.lastActive())
	return nil
}
