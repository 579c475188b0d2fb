package rollup

import (
	"errors"
	"maps"
	"slices"

	"mailwake/engine/event"
)

const (
	// maxTallies bounds how many are kept for the next question.
	maxTallies = 100
	// maxTallyBytes bounds the memory of all of them.
	maxTallyBytes = 256 << 20
)

// tallies are kept by names, of which each stands for one Counting.
type tallies struct {
	by    map[string]*Tally
	large map[string]bool // too much to count, as things are
	most  int             // bytes of all
	asked uint64
}

func newTallies() tallies {
	return tallies{by: map[string]*Tally{}, large: map[string]bool{}, most: maxTallyBytes}
}

func (ts *tallies) drop() { clear(ts.by) }

// Tally returns what is counted by c, of which name says all. Kept from one
// question to the next, it only follows what changed since.
func (s *State) Tally(name string, c Counting) (t *Tally, err error) {
	ts := &s.tallies
	if ts.large[name] {
		return nil, ErrTooLarge
	}
	defer func() {
		if errors.Is(err, ErrTooLarge) {
			delete(ts.by, name)
			ts.large[name] = true
		}
	}()
	if t = ts.by[name]; t == nil || t.skews != s.hot.skews || t.Edition != c.Edition {
		delete(ts.by, name)
		if t, err = s.newTally(c, s.hot.skews > 0); err != nil {
			return nil, err
		}
	}
	if s.bring(t); t.moved {
		if t, err = s.newTally(c, true); err != nil {
			return nil, err
		}
	}
	if t.large {
		return nil, ErrTooLarge
	}
	ts.asked++
	t.asked, ts.by[name] = ts.asked, t
	ts.limit(t)
	return t, nil
}

// limit forgets those that were asked for longest ago, but not last.
func (ts *tallies) limit(last *Tally) {
	for {
		bytes, oldest := 0, ""
		for name, t := range ts.by {
			bytes += t.bytes
			if t != last && (oldest == "" || t.asked < ts.by[oldest].asked) {
				oldest = name
			}
		}
		if oldest == "" || bytes <= ts.most && len(ts.by) <= maxTallies {
			return
		}
		delete(ts.by, oldest)
	}
}

// newTally counts the files, or with the tail. What the tail replaced or moved must
// not have been counted before.
func (s *State) newTally(c Counting, whole bool) (*Tally, error) {
	t := &Tally{Counting: c, whole: whole, places: map[int64]int32{}, skews: s.hot.skews, most: s.tallies.most}
	emails := []event.EmailID{c.Email}
	if c.Email == 0 {
		if emails = emailsOf(s.gen.Files); whole {
			emails = slices.AppendSeq(emails, maps.Keys(s.hot.live))
			slices.Sort(emails)
			emails = slices.Compact(emails)
		}
	}
	for _, email := range emails {
		count := func(r event.RecipientID, facts []Fact) { t.count(1, key{email, r}, facts); s.yield() }
		var err error
		if whole {
			err = s.Facts(email, count)
		} else {
			err = s.gen.fold(email, func(r event.RecipientID, facts []Fact) error {
				count(r, s.shapes.visible(facts, s.gen.Consent.hidden(r)))
				return nil
			})
		}
		if err != nil {
			return nil, err
		}
		if t.large {
			return nil, ErrTooLarge
		}
	}
	if whole {
		t.upTo = len(s.hot.touched)
	}
	return t, nil
}

// bring counts what the tail got since.
func (s *State) bring(t *Tally) {
	news := s.hot.touched[t.upTo:]
	t.upTo = len(s.hot.touched)
	t.hot = true
	seen := map[key]bool{}
	for i := range news {
		k := news[i].key
		if t.Email != 0 && t.Email != k.email || seen[k] {
			continue
		}
		seen[k] = true
		h := s.hot.pairs[k]
		t.count(-1, k, s.factsOf(k, h, news[i].before))
		left := slices.Clone(t.entered)
		t.count(1, k, s.factsOf(k, h, h.extent()))
		t.moved = t.moved || slices.ContainsFunc(left, func(g int) bool { return !slices.Contains(t.entered, g) })
	}
	t.hot = false
}

// lower takes the tail out again.
func (s *State) lower(t *Tally) {
	s.bring(t)
	seen := map[key]bool{}
	for i := range s.hot.touched {
		k := s.hot.touched[i].key
		if seen[k] {
			continue
		}
		seen[k] = true
		h := s.hot.pairs[k]
		t.count(-1, k, s.factsOf(k, h, h.extent()))
		t.count(1, k, s.factsOf(k, h, h.cold))
	}
	t.unmark()
	t.upTo = 0
}

// keepTallies brings tallies to where the emails that are stale under next are
// taken back and counted anew, and drops those of which more may change: whom a
// group has is known only until some of it is taken away for good.
func (s *State) keepTallies(next *generation) {
	clear(s.tallies.large)
	added := without(next.Files, s.gen.Files)
	same := next.Consent.same(&s.gen.Consent)
	if s.hot.skews > 0 || next.Oldest != s.gen.Oldest || len(without(s.gen.Files, next.Files)) > 0 || len(added) > 0 && !same ||
		slices.ContainsFunc(added, (*File).reported) {
		s.tallies.drop()
		return
	}
	for name, t := range s.tallies.by {
		if t.Email != 0 || t.Moves || t.whole { // made anew when asked for
			delete(s.tallies.by, name)
			continue
		}
		s.lower(t)
		for _, r := range s.changed {
			t.forget(r)
		}
	}
}

// reported reports whether the file has an event that others reported.
func (f *File) reported() bool {
	return slices.ContainsFunc(f.emails, func(e emailEntry) bool { return e.reported })
}
