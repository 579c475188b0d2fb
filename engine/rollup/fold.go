package rollup

import (
	"cmp"
	"slices"

	"mailwake/engine/event"
)

// Consent says what recipients allow to be shown. Marks has a byte per recipient,
// with a bit for each of opens, clicks, attachment views and replies: refused, or,
// under OptIn, allowed. It must not change any more.
type Consent struct {
	OptIn bool
	Marks []uint8
}

func (c *Consent) hidden(r event.RecipientID) uint8 {
	var mark uint8
	if r >= 0 && int(r) < len(c.Marks) {
		mark = c.Marks[r]
	}
	if c.OptIn {
		return ^mark
	}
	return mark
}

// same reports whether c is the very consent that d is.
func (c *Consent) same(d *Consent) bool {
	return c.OptIn == d.OptIn && len(c.Marks) == len(d.Marks) && (len(c.Marks) == 0 || &c.Marks[0] == &d.Marks[0])
}

// generation is what a State stands on, ready to be read.
type generation struct {
	Basis
	shapes *shapes
	buf    []Fact
}

// stream goes through the pairs of a file.
type stream struct {
	c     cursor
	block block
	head  key
	facts []Fact
	more  bool // head and facts are set
}

// seek goes to the email's first pair, or behind where it would be.
func (s *stream) seek(f *File, email event.EmailID) (err error) {
	want := key{email: email}
	if !s.more || want.less(s.head) && s.head.email != email || f.pairs.find(want, false) > s.c.i {
		if s.c, err = f.at(&f.pairs, &s.block, want); err == nil {
			err = s.next()
		}
	}
	for err == nil && s.more && s.head.less(want) {
		err = s.next()
	}
	return err
}

func (s *stream) next() (err error) {
	if s.head, s.more, err = s.c.next(); err != nil || !s.more {
		return err
	}
	s.facts = s.c.b.facts(s.facts[:0], s.c.f.ids)
	return s.c.bad()
}

// fold calls each for every recipient of whom the files hold anything that is not
// too old about the email, by recipient. Consent is not applied. The facts, which
// are in no order, are each's until it returns.
func (g *generation) fold(email event.EmailID, each func(event.RecipientID, []Fact) error) (err error) {
	var streams []*stream
	defer func() {
		if err != nil { // they stopped in the middle
			for _, s := range streams {
				s.more = false
			}
		}
	}()
	reported := false
	for _, f := range g.Files {
		e := f.entry(email)
		if e == nil {
			continue
		}
		reported = reported || e.reported
		if e.max < g.Oldest || len(f.pairs.blocks) == 0 {
			continue
		}
		if err := f.stream.seek(f, email); err != nil {
			return f.wrap(err)
		}
		streams = append(streams, &f.stream)
	}
	var told []report
	if reported {
		if told, err = g.reports(nil, email, 0); err != nil {
			return err
		}
		told = g.unique(told)
	}
	return g.merge(email, streams, told, each)
}

// merge joins what has the same recipient, in the order of recipients.
func (g *generation) merge(email event.EmailID, streams []*stream, told []report, each func(event.RecipientID, []Fact) error) error {
	for {
		var next event.RecipientID
		found := false
		for _, s := range streams {
			if s.more && s.head.email == email && (!found || s.head.recipient < next) {
				next, found = s.head.recipient, true
			}
		}
		if len(told) > 0 && (!found || told[0].recipient < next) {
			next, found = told[0].recipient, true
		}
		if !found {
			return nil
		}
		g.buf = g.buf[:0]
		for _, s := range streams {
			if s.more && s.head == (key{email, next}) {
				g.take(s.facts)
				if err := s.next(); err != nil {
					return s.c.f.wrap(err)
				}
			}
		}
		for ; len(told) > 0 && told[0].recipient == next; told = told[1:] {
			g.buf = append(g.buf, told[0].Fact)
		}
		if len(g.buf) > 0 {
			if err := each(next, g.buf); err != nil {
				return err
			}
		}
	}
}

// take puts into buf what is not too old.
func (g *generation) take(facts []Fact) {
	for i := range facts {
		if facts[i].At >= g.Oldest {
			g.buf = append(g.buf, facts[i])
		}
	}
}

// reports appends what others reported of the email, or of one recipient of it, to
// any of the files.
func (g *generation) reports(to []report, email event.EmailID, recipient event.RecipientID) (_ []report, err error) {
	for _, f := range g.Files {
		if to, err = f.reports(to, email, recipient); err != nil {
			return nil, f.wrap(err)
		}
	}
	return to, nil
}

// unique sorts events that others reported and leaves each once: as it came first.
// Whether it is too old is asked of that one.
func (g *generation) unique(told []report) []report {
	slices.SortFunc(told, func(a, b report) int {
		return cmp.Or(cmp.Compare(a.recipient, b.recipient), cmp.Compare(a.id, b.id), cmp.Compare(a.received, b.received), cmp.Compare(a.At, b.At))
	})
	kept := told[:0]
	var last report
	for i, t := range told {
		if i > 0 && t.id == last.id && t.recipient == last.recipient {
			continue
		}
		if last = t; t.At >= g.Oldest {
			kept = append(kept, t)
		}
	}
	return kept
}

// emailsOf returns the emails in which any file has the recipient, some twice.
func (g *generation) emailsOf(r event.RecipientID) (emails []event.EmailID, err error) {
	for _, f := range g.Files {
		if emails, err = f.emailsOf(emails, r); err != nil {
			return nil, f.wrap(err)
		}
	}
	return emails, nil
}

// own appends what the files observed themselves of k; some may be too old.
func (g *generation) own(to []Fact, k key) (_ []Fact, err error) {
	for _, f := range g.Files {
		if e := f.entry(k.email); e == nil || e.max < g.Oldest {
			continue
		}
		if to, err = f.facts(to, k); err != nil {
			return nil, f.wrap(err)
		}
	}
	return to, nil
}
