package rollup

import (
	"errors"
	"slices"
)

// longPair is of how many events that files have of a pair only the sums are kept in
// memory: a picture that some program fetches for days must not fill it. These many
// take as much as the sums.
const longPair = 16

// ErrLost says that a State does not fit its files any more: it is to be made anew.
var ErrLost = errors.New("rollups are not what was counted of them")

// shed lets go of events of a pair of which the files have everything, if they are
// many. They are read again when somebody wants each of them.
func (s *State) shed(k key, h *hotPair) {
	if h.shed+len(h.own) <= s.long {
		return
	}
	p := s.pairOf(k, h, extent{h.shed + len(h.own), 0})
	h.base, h.shed, h.own = &p, h.shed+len(h.own), nil
}

// rebase counts what was shed of a pair anew, under what may be shown now.
func (s *State) rebase(k key, h *hotPair) {
	if h.shed > 0 {
		p := s.shapes.pair(s.factsOf(k, h, extent{h.shed, 0}))
		h.base = &p
	}
}

// fetch puts into buf the first n events that were observed of a pair, some of which
// were shed. Files that came since have the first of those that are in memory too.
func (s *State) fetch(k key, h *hotPair, n int) {
	g := &s.gen
	own, err := g.own(g.buf[:0], k)
	if err != nil {
		s.fail(err)
		return
	}
	own = g.recent(own)
	again, n := len(own)-h.shed, n-h.shed // how many of h.own are read again, and are wanted
	if again < 0 || again > len(h.own) || n < 0 {
		s.fail(ErrLost)
		return
	}
	if n >= again {
		own = append(own, h.own[again:n]...)
	} else {
		for _, f := range h.own[n:again] {
			at := slices.Index(own, f)
			if at < 0 {
				s.fail(ErrLost)
				return
			}
			own = slices.Delete(own, at, at+1)
		}
	}
	g.buf = own
}

// fail keeps an error for whoever asked, since what goes through pairs returns none.
func (s *State) fail(err error) {
	if s.failed == nil {
		s.failed = err
	}
}

// recent leaves out what is too old.
func (g *generation) recent(facts []Fact) []Fact {
	return slices.DeleteFunc(facts, func(f Fact) bool { return f.At < g.Oldest })
}
