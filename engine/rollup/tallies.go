package rollup

import (
	"errors"
	"maps"
	"math"
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
		if t, err = s.newTally(c); err != nil {
			return nil, err
		}
	}
	if s.bring(t, len(s.hot.touched)); t.moved {
		if t, err = s.newTally(c); err != nil {
			return nil, err
		}
	}
	if s.failed != nil {
		return nil, s.failed
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

// newTally counts all as it is now.
func (s *State) newTally(c Counting) (*Tally, error) {
	t := &Tally{Counting: c, places: map[int64]int32{}, skews: s.hot.skews, most: s.tallies.most, upTo: len(s.hot.touched)}
	emails := []event.EmailID{c.Email}
	if c.Email == 0 {
		emails = slices.AppendSeq(emailsOf(s.gen.Files), maps.Keys(s.hot.live))
		slices.Sort(emails)
		emails = slices.Compact(emails)
	}
	for _, email := range emails {
		err := s.Facts(email, func(r event.RecipientID, facts []Fact) { t.count(1, key{email, r}, facts); s.yield() })
		if err != nil {
			return nil, err
		}
		if t.large {
			return nil, ErrTooLarge
		}
	}
	return t, nil
}

// bring counts what the tail got since, up to that entry of touched.
func (s *State) bring(t *Tally, upTo int) {
	news := s.hot.touched[t.upTo:upTo]
	t.upTo = upTo
	last := make(map[key]int, len(news))
	for i := range news {
		last[news[i].key] = i
	}
	for i := range news {
		k := news[i].key
		if at, ok := last[k]; ok && (t.Email == 0 || t.Email == k.email) {
			s.recountIn(t, k, s.hot.pairs[k], news[i].before, news[at].after)
			delete(last, k)
			s.yield()
		}
	}
}

// recountIn counts so much of a pair in the place of what it had.
func (s *State) recountIn(t *Tally, k key, h *hotPair, before, after extent) {
	t.entered = t.entered[:0]
	t.count(-1, k, s.factsOf(k, h, before))
	left := slices.Clone(t.entered)
	t.entered = t.entered[:0]
	t.count(1, k, s.factsOf(k, h, after))
	t.moved = t.moved || slices.ContainsFunc(left, func(g int) bool { return !slices.Contains(t.entered, g) })
}

// bringSome brings tallies up to that entry of touched, some n entries of it, and
// forgets those that all have.
func (s *State) bringSome(upTo, n int) (left int) {
	for _, t := range s.tallies.by {
		if n <= 0 {
			return 0
		}
		if some := min(upTo-t.upTo, n); some > 0 {
			s.bring(t, t.upTo+some)
			n -= some
		}
	}
	for _, t := range s.tallies.by {
		if t.upTo < upTo {
			return 0
		}
	}
	for _, t := range s.tallies.by {
		t.upTo -= upTo
	}
	s.hot.touched = slices.Delete(s.hot.touched, 0, upTo)
	return n
}

// retally counts what may be shown of recipients whose consent changes, or takes it
// back, and drops tallies that cannot follow: whom a group has is known only until
// some of it is taken away for good.
func (s *State) retally(sign int64) error {
	clear(s.tallies.large)
	for name, t := range s.tallies.by {
		if t.Email != 0 || t.Moves { // made anew when asked for
			delete(s.tallies.by, name)
		}
	}
	s.bringSome(len(s.hot.touched), math.MaxInt)
	if len(s.tallies.by) == 0 {
		return nil
	}
	for _, r := range s.changed {
		for _, t := range s.tallies.by {
			if sign > 0 {
				t.forget(r)
			}
		}
		err := s.RecipientFacts(r, func(email event.EmailID, facts []Fact) {
			for _, t := range s.tallies.by {
				t.count(sign, key{email, r}, facts)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// reported reports whether the file has an event that others reported.
func (f *File) reported() bool {
	return slices.ContainsFunc(f.emails, func(e emailEntry) bool { return e.reported })
}
