package engine_test

import (
	"context"
	"slices"

	"mailwake/engine"
	"mailwake/engine/event"
)

// model is what the engine has promised: the events of every call of Append, by
// the unique number that each carries as its Recipient, and what became of them.
type model struct {
	facts map[int64]*fact
	calls []*call
	files map[string][]event.Interaction // data files by key, which never change
}

type fact struct {
	in   event.Interaction
	call *call
	id   int64 // event id, once seen; must stay
	// committed: seen in a file once, or a flush said so; must stay in the files.
	committed bool
}

// call is one Append: all of its events are there, or none.
type call struct {
	node    *node
	facts   []*fact
	posts   bool // it is told, instead of waiting
	encoded bool // as Rows
	fate    fate
}

type fate uint8

const (
	refused fate = iota // an error that promises that nothing was kept
	acked
	unclear // no answer: whole or absent, known after the next start
)

func (f fate) String() string { return [...]string{"refused", "acknowledged", "unclear"}[f] }

func (m *model) init() {
	m.facts, m.files = map[int64]*fact{}, map[string][]event.Interaction{}
}

// parsed returns the content of the data file with this key, read once.
func (w *world) parsed(key, path string) []event.Interaction {
	if in, ok := w.model.files[key]; ok {
		return in
	}
	in, err := readParquet(path)
	if err != nil {
		w.errorf("%v", err)
	}
	w.model.files[key] = in
	return in
}

// sighting checks one View of a node against the model.
type sighting struct {
	w    *world
	n    *node
	org  event.OrgID
	seen map[int64]bool
}

// see notes one event of the view.
func (s *sighting) see(in event.Interaction, inTail bool) {
	num := int64(in.Recipient)
	f := s.w.model.facts[num]
	switch {
	case f == nil || f.in.Org != s.org:
		s.w.errorf("%v org %d shows event %d, which is not its own", s.n, s.org, num)
		return
	case s.seen[num]:
		s.w.errorf("%v org %d shows event %d twice (in tail: %v)", s.n, s.org, num, inTail)
	case f.call.fate == refused:
		s.w.errorf("%v org %d shows event %d, whose append was refused", s.n, s.org, num)
	case inTail && f.call.node != s.n:
		s.w.errorf("%v org %d has event %d of %v in its tail", s.n, s.org, num, f.call.node)
	case inTail && f.committed:
		s.w.errorf("%v org %d has event %d in its tail, which is committed", s.n, s.org, num)
	}
	s.seen[num] = true
	f.committed = f.committed || !inTail
	if f.id == 0 {
		f.id = in.ID
	}
	expected := f.in
	expected.Org, expected.ID, in.Org = 0, f.id, 0
	if f.in.ID != 0 {
		expected.ID = f.in.ID
	}
	if in != expected {
		s.w.errorf("%v org %d (in tail: %v) shows\n%+v, want\n%+v", s.n, s.org, inTail, in, expected)
	}
}

// check takes a View of org on n and compares it with the model.
func (w *world) check(n *node, org event.OrgID) {
	v, err := n.eng.View(context.Background(), org)
	if err != nil {
		w.errorf("view of org %d on %v: %v", org, n, err)
		return
	}
	defer v.Close()
	w.checkView(n, org, v)
}

func (w *world) checkView(n *node, org event.OrgID, v *engine.View) {
	w.tally.views++
	s := &sighting{w: w, n: n, org: org, seen: map[int64]bool{}}
	files, paths := v.Snapshot().Files(), v.Files()
	if len(files) != len(paths) {
		w.errorf("view has %d paths of %d files", len(paths), len(files))
		return
	}
	for i, f := range files {
		rows := w.parsed(f.Path, paths[i])
		if int64(len(rows)) != f.Rows {
			w.errorf("%s has %d rows, the table says %d", f.Path, len(rows), f.Rows)
		}
		for _, in := range rows {
			s.see(in, false)
		}
	}
	from, to := v.Tail()
	if from > to || from < n.tails[org] {
		w.errorf("%v org %d: tail from %d to %d, was from %d before", n, org, from, to, n.tails[org])
	}
	n.tails[org] = from
	last := event.Position(0)
	for p, in := range v.Rows(0) {
		if p < from || p >= to || p <= last {
			w.errorf("%v org %d: row at %d after %d in a tail from %d to %d", n, org, p, last, from, to)
		}
		last = p
		s.see(*in, true)
		if f := w.model.facts[int64(in.Recipient)]; f != nil && f.in.ID == 0 && in.ID != event.OwnID(n.id, p) {
			w.errorf("%v org %d: event at %d has id %d, want %d", n, org, p, in.ID, event.OwnID(n.id, p))
		}
	}
	s.compare()
	s.follows(v.Content())
}

// shown is what a View showed.
type shown struct {
	number uint64
	seen   map[int64]bool
}

// follows holds the View against the one before it, if it says that only appended
// events can be different.
func (s *sighting) follows(number uint64) {
	before := s.n.contents[s.org]
	s.n.contents[s.org] = shown{number, s.seen}
	if before.number != number {
		return
	}
	for num := range before.seen {
		if !s.seen[num] {
			s.w.errorf("%v org %d has lost event %d and says that nothing has changed", s.n, s.org, num)
		}
	}
	for num := range s.seen {
		if f := s.w.model.facts[num]; !before.seen[num] && f != nil && f.call.node != s.n {
			s.w.errorf("%v org %d has got event %d of %v and says that nothing has changed", s.n, s.org, num, f.call.node)
		}
	}
}

// compare looks for what is missing, and for calls that are there in part.
func (s *sighting) compare() {
	for _, c := range s.w.model.calls {
		here, there := 0, 0
		for _, f := range c.facts {
			if f.in.Org != s.org {
				continue
			}
			here++
			if s.seen[int64(f.in.Recipient)] {
				there++
			} else if c.fate == acked && (c.node == s.n || f.committed) {
				s.w.errorf("%v org %d has lost event %d of %v (committed: %v)", s.n, s.org, f.in.Recipient, c.node, f.committed)
			}
		}
		if c.fate == unclear && there > 0 {
			if there != here {
				s.w.errorf("%v org %d shows %d of the %d events of one call", s.n, s.org, there, here)
			}
			c.fate = acked // what was shown once has to stay
		}
	}
}

// checkAll compares all organisations on all nodes with the model.
func (w *world) checkAll() {
	for _, n := range w.nodes {
		for _, org := range w.orgs {
			w.check(n, org)
		}
		n.checkViews()
	}
}

// settle decides those of the calls to n that are unclear, once that can be
// known: what is not there now must never come.
func (w *world) settle(n *node, calls []*call) {
	for _, org := range w.orgs {
		w.check(n, org)
	}
	for _, c := range calls {
		if c.node == n && c.fate == unclear {
			c.fate = refused
		}
	}
}

// checkViews reads the views that are held: they show what they showed.
func (n *node) checkViews() {
	for _, h := range n.views {
		got := contentOf(n.w.t, h.view)
		if !slices.Equal(got.files, h.want.files) || !slices.Equal(got.tail, h.want.tail) {
			n.w.errorf("a view of org %d on %v has changed from\n%v to\n%v", h.org, n, h.want, got)
		}
	}
}

// flushed notes that a flush of org on n has answered well: what had been
// acknowledged before it is in the table.
func (w *world) flushed(n *node, org event.OrgID, before int) {
	for _, c := range w.model.calls[:before] {
		for _, f := range c.facts {
			if c.node == n && c.fate == acked && f.in.Org == org {
				f.committed = true
			}
		}
	}
}
