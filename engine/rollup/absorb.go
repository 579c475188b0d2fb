package rollup

import (
	"errors"
	"slices"
)

// arrived are files of what the tail had. Of a pair that they have, all is in the
// tail still, or nothing that is not in files; so whoever prefers the tail where it
// has a pair, and reads files else, counts everything once, however far it has come.
type arrived struct {
	files   []*File
	touched int      // all tallies must have so much before pairs leave the tail
	begun   bool     // stream is within the first file
	stream  stream   // of its own: what is asked meanwhile moves those of files
	emails  int      // of the first file: of these, what others reported is done
	told    []report // of the next email, what is not done
}

// errNotOfTail says that a file has not got what the tail had.
var errNotOfTail = errors.New("a file is not what the tail was")

// Adopt takes files that b has more in the place of that part of the tail that ends
// where b's tail begins: they have these very events, all of which were added, and
// nothing else is different. Absorb does the work. False if that cannot be done and
// Refresh must.
func (s *State) Adopt(b Basis) bool {
	more := without(b.Files, s.gen.Files)
	if b.Oldest != s.gen.Oldest || len(without(s.gen.Files, b.Files)) > 0 || s.hot.skews > 0 {
		return false
	}
	s.gen.Files, s.gen.Tail = b.Files, b.Tail
	if len(more) == 0 {
		return true
	}
	for _, f := range more {
		f.number(s.shapes)
	}
	a := &s.arrived
	if len(a.files) == 0 {
		s.known = map[key]*hotPair{}
	}
	a.files = append(a.files, more...)
	a.touched = len(s.hot.touched)
	return true
}

// Absorb moves some n pairs of the files that were adopted from the tail to what is
// counted of files, and reports whether there are more. Whatever is asked meanwhile
// is answered as before.
func (s *State) Absorb(n int) (more bool, err error) {
	a := &s.arrived
	if len(a.files) == 0 {
		return false, nil
	}
	if a.touched > 0 {
		if n = s.bringSome(a.touched, n); n <= 0 {
			return true, nil
		}
		a.touched = 0
	}
	for ; n > 0 && len(a.files) > 0; n-- {
		f := a.files[0]
		done, err := s.absorbNext(f)
		if errors.Is(err, errNotOfTail) {
			return false, err
		}
		if err != nil {
			return false, f.wrap(err)
		}
		if done {
			*a = arrived{files: a.files[1:]}
		}
		s.yield()
	}
	return len(a.files) > 0, s.failed
}

// absorbNext absorbs the next pair of f, first of what it observed itself.
func (s *State) absorbNext(f *File) (done bool, err error) {
	a := &s.arrived
	if !a.begun {
		a.begun = true
		if len(f.pairs.blocks) > 0 {
			if err := a.stream.seek(f, f.emails[0].email); err != nil {
				return false, err
			}
		}
	}
	if st := &a.stream; st.more {
		facts := s.gen.recent(st.facts) // nor did Add take the others
		if len(facts) == 0 {
			return false, st.next()
		}
		h := s.hot.pairs[st.head]
		if h == nil || !toFront(h.warm(), facts) {
			return false, errNotOfTail
		}
		if err := s.absorb(st.head, h, extent{h.cold.own + len(facts), h.cold.told}); err != nil {
			return false, err
		}
		return false, st.next()
	}
	for len(a.told) == 0 {
		if a.emails == len(f.emails) {
			return true, nil
		}
		if a.told, err = f.reports(a.told, f.emails[a.emails].email, 0); err != nil {
			return false, err
		}
		a.emails++
	}
	n := 1
	for n < len(a.told) && a.told[n].key == a.told[0].key {
		n++
	}
	k := a.told[0].key
	told := a.told[:n]
	a.told = a.told[n:]
	h := s.hot.pairs[k]
	if h == nil || !toFront(h.told[h.cold.told:], told) {
		return false, errNotOfTail
	}
	return false, s.absorb(k, h, extent{h.cold.own, h.cold.told + n})
}

// absorb counts so much of a pair as of files, and lets go of it if that is all.
func (s *State) absorb(k key, h *hotPair, to extent) error {
	s.hot.events -= to.own - h.cold.own + to.told - h.cold.told
	if err := s.cool(k, h, to); err != nil {
		return err
	}
	if h.cold == h.extent() {
		s.hot.drop(k, h)
		s.shed(k, h)
		s.known[k] = h
	}
	return nil
}

// toFront moves to the front of list what is in some, false if anything is not there.
// The order of the others stays: what the list had at any time since all of some was
// in it is still its beginning.
func toFront[T comparable](list, some []T) bool {
	for n, x := range some {
		at := slices.Index(list[n:], x)
		if at < 0 {
			return false
		}
		copy(list[n+1:], list[n:n+at])
		list[n] = x
	}
	return true
}
