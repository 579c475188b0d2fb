package rollup

import (
	"cmp"
	"math"
	"runtime"
	"slices"

	"mailwake/engine/event"
)

// State is what is known of an organisation at one instant: the sums of each email
// and a few facts of each recipient in memory, everything else in files. It is not
// safe for concurrent use. After an error it is of no use any more.
//
// The memory of a State is about 350 bytes per email, 24 per recipient, the index
// of its files (a hundredth of them), 600 per pair of the tail and of the one before
// and 16 for each of up to longPair events that files have of it, 70 per event of the
// tail, and maxTallyBytes.
type State struct {
	gen    generation
	shapes *shapes
	places map[event.EmailID]int32 // in sums
	sums   []emailSums
	total  Sums  // of sums
	sent   int64 // emails with a sent event in sums

	people  []person // by recipient
	shown   int64    // people of whom anything may be shown
	reached int64    // people with a sent event
	dirty   []event.RecipientID
	changed []event.RecipientID // whose consent is another, in Refresh

	hot     hot
	known   map[key]*hotPair // what the files have of pairs that were in the tail before these files
	awaited map[key]struct{} // of known, those that are still to come
	// expected are pairs that the tail of a State without files will have.
	expected map[key]struct{}
	arrived  arrived
	worked   int   // see yield
	failed   error // see fail
	tallies  tallies
	long     int   // see longPair
	growth   int64 // files with at most one of so many rows of all are added pair by pair
}

type emailSums struct {
	email event.EmailID
	Sums
}

// person is what is kept of each recipient.
type person struct {
	pairs, sent uint32
	dirty       bool         // last may be too late
	last        event.Micros // of the files: last time they were active; never
}

// NewState returns the State of no files.
func NewState() *State {
	s := &State{places: map[event.EmailID]int32{}, total: NewSums(), shapes: newShapes(), growth: growth, long: longPair, tallies: newTallies()}
	s.gen.shapes = s.shapes
	s.hot.clear()
	return s
}

// yieldEvery is so many pairs, in some tenths of a millisecond.
const yieldEvery = 64

// yield lets others run now and then: what people ask comes after what recipients
// do, and the scheduler would let a loop run for 10 ms before it thinks of them.
func (s *State) yield() {
	if s.worked++; s.worked%yieldEvery == 0 {
		runtime.Gosched()
	}
}

// Files returns the files that the State stands on.
func (s *State) Files() []*File { return s.gen.Files }

// Basis returns what the State stands on.
func (s *State) Basis() Basis { return s.gen.Basis }

// Basis is what a State stands on.
type Basis struct {
	Files   []*File
	Tail    event.Position // where the tail begins
	Consent Consent
	Oldest  event.Micros // nothing that occurred before is shown; 0 is no limit
}

// Refresh makes the State stand on b. What the tail had is to be added anew unless
// kept. Files that b does not name any more can be closed.
func (s *State) Refresh(b Basis) (kept bool, err error) {
	same := func() bool {
		return b.Tail == s.gen.Tail && b.Oldest == s.gen.Oldest && slices.Equal(b.Files, s.gen.Files)
	}
	if same() && b.Consent.same(&s.gen.Consent) {
		return true, nil
	}
	for _, f := range b.Files {
		f.number(s.shapes)
	}
	if _, err := s.Absorb(math.MaxInt); err != nil {
		return false, err
	}
	s.merged(b.Files)
	if kept = same(); kept && b.Consent.same(&s.gen.Consent) {
		return true, nil
	}
	next := generation{Basis: b, shapes: s.shapes}
	if more := s.gen.more(&next); s.few(more) {
		kept = b.Tail == s.gen.Tail
		err = s.grow(&next, more)
		return kept, cmp.Or(err, s.failed)
	}
	if err := s.recount(&next, kept); err != nil {
		return false, err
	}
	s.addUp()
	if kept {
		s.redo()
	} else {
		s.hot.clear()
	}
	return kept, s.failed
}

// recount makes the State stand on next without the tail: the emails that are
// stale are taken back and counted anew.
func (s *State) recount(next *generation, kept bool) error {
	stale, few := s.stale(next)
	if !kept || !few || s.hot.skews > 0 {
		s.tallies.drop()
	}
	if err := s.retally(-1); err != nil {
		return err
	}
	s.undo()
	anew := !few || len(stale) > len(s.sums)/2 // adding all reads less
	s.anticipate(next, kept, func(email event.EmailID) bool {
		_, found := slices.BinarySearch(stale, email)
		return anew || found
	})
	s.expected = nil
	if anew {
		stale = emailsOf(next.Files)
		s.places, s.sums, s.people = map[event.EmailID]int32{}, nil, nil
		s.shown, s.reached, s.dirty = 0, 0, nil
	} else if err := s.each(stale, s.takeBack); err != nil {
		return err
	}
	s.gen = *next
	if err := s.each(stale, s.put); err != nil {
		return err
	}
	s.awaited = nil
	if err := s.recall(); err != nil {
		return err
	}
	return s.retally(1)
}

// each calls do for what the files have of each pair of the emails.
func (s *State) each(emails []event.EmailID, do func(*emailSums, event.RecipientID, []Fact)) error {
	for _, email := range emails {
		i, err := s.place(email)
		if err != nil {
			return err
		}
		err = s.gen.fold(email, func(r event.RecipientID, facts []Fact) error {
			do(&s.sums[i], r, facts)
			s.yield()
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// place returns where in sums the email's are.
func (s *State) place(email event.EmailID) (int32, error) {
	i, ok := s.places[email]
	if !ok {
		if len(s.sums) == math.MaxInt32 {
			return 0, ErrRange
		}
		i = int32(len(s.sums))
		s.sums = append(s.sums, emailSums{email, NewSums()})
		s.places[email] = i
	}
	return i, nil
}

func (s *State) takeBack(sums *emailSums, r event.RecipientID, facts []Fact) {
	sums.Sums = NewSums()
	if facts = s.shapes.visible(facts, s.gen.Consent.hidden(r)); len(facts) == 0 {
		return
	}
	p := s.shapes.pair(facts)
	s.person(r).change(s, &p, nil)
	if who := &s.people[r]; !who.dirty && who.last == p.lastActive() && who.last != never {
		who.dirty = true
		s.dirty = append(s.dirty, r)
	}
}

func (s *State) put(sums *emailSums, r event.RecipientID, facts []Fact) {
	if k := (key{sums.email, r}); len(s.awaited) > 0 {
		if _, ok := s.awaited[k]; ok {
			h := &hotPair{own: slices.Clone(facts)}
			h.cold = h.extent()
			s.known[k] = h
			defer s.shed(k, h) // it uses the room of facts
		}
	}
	if facts = s.shapes.visible(facts, s.gen.Consent.hidden(r)); len(facts) == 0 {
		return
	}
	p := s.shapes.pair(facts)
	sums.Count(&p)
	who := s.person(r)
	who.change(s, nil, &p)
	if last := p.lastActive(); last >= who.last {
		who.last, who.dirty = last, false
	}
}

// recall looks up when recipients were active last whose last activity is gone.
func (s *State) recall() error {
	for _, r := range s.dirty {
		who := &s.people[r]
		if !who.dirty {
			continue
		}
		who.dirty, who.last = false, never
		emails, err := s.gen.emailsOf(r)
		if err != nil {
			return err
		}
		for _, email := range emails {
			var h hotPair
			if err := s.lookUp(key{email, r}, &h); err != nil {
				return err
			}
			who.last = max(who.last, h.pair.lastActive())
		}
	}
	s.dirty = s.dirty[:0]
	return nil
}

// person returns the recipient's entry.
func (s *State) person(r event.RecipientID) *person {
	for int(r) >= len(s.people) {
		s.people = append(s.people, person{last: never})
	}
	return &s.people[r]
}

// change counts that a pair of the person was before and is after; nil is none.
func (who *person) change(s *State, before, after *Pair) {
	was, is := before != nil && !before.Empty(), after != nil && !after.Empty()
	step(&who.pairs, &s.shown, was, is)
	step(&who.sent, &s.reached, was && before.Sends > 0, is && after.Sends > 0)
}

// step counts the pairs of one person and the people who have any.
func step(n *uint32, people *int64, was, is bool) {
	switch {
	case is && !was:
		if *n++; *n == 1 {
			*people++
		}
	case was && !is:
		if *n--; *n == 0 {
			*people--
		}
	}
}

func (s *State) addUp() {
	s.total, s.sent = NewSums(), 0
	for i := range s.sums {
		s.total.Add(&s.sums[i].Sums)
		s.sent += int64(bit(s.sums[i].Sent > 0))
	}
}
