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
	// cuts are the pairs of emails that have events on both sides of Oldest, made of
	// the data file's rows that are not older.
	cuts map[cutKey][]cutPair
}

type cutKey struct {
	file  *File
	email event.EmailID
}

type cutPair struct {
	recipient event.RecipientID
	pair      Pair
}

// stream goes through the pairs of a file.
type stream struct {
	c     cursor
	block block
	head  key
	pair  Pair
	more  bool // head and pair are set
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
	s.c.b.pair(&s.pair)
	return s.c.bad()
}

// fold calls each for every recipient of whom the files hold anything that is not
// too old about the email, by recipient. Consent is not applied. The Pair is each's
// to change.
func (g *generation) fold(email event.EmailID, each func(event.RecipientID, *Pair) error) (err error) {
	var streams []*stream
	defer func() {
		if err != nil { // they stopped in the middle
			for _, s := range streams {
				s.more = false
			}
		}
	}()
	var lists [][]cutPair
	reported := false
	for _, f := range g.Files {
		e := f.entry(email)
		if e == nil {
			continue
		}
		reported = reported || e.reported
		switch {
		case e.max < g.Oldest || len(f.pairs.blocks) == 0:
		case e.min < g.Oldest:
			lists = append(lists, g.cuts[cutKey{f, email}])
		default:
			if err := f.stream.seek(f, email); err != nil {
				return f.wrap(err)
			}
			streams = append(streams, &f.stream)
		}
	}
	if reported {
		told, err := g.reports(nil, email, 0)
		if err != nil {
			return err
		}
		lists = append(lists, g.pairsOf(told))
	}
	return merge(email, streams, lists, each)
}

// merge joins what has the same recipient, in the order of recipients.
func merge(email event.EmailID, streams []*stream, lists [][]cutPair, each func(event.RecipientID, *Pair) error) error {
	for {
		var next event.RecipientID
		found := false
		look := func(r event.RecipientID) {
			if !found || r < next {
				next, found = r, true
			}
		}
		for _, s := range streams {
			if s.more && s.head.email == email {
				look(s.head.recipient)
			}
		}
		for _, l := range lists {
			if len(l) > 0 {
				look(l[0].recipient)
			}
		}
		if !found {
			return nil
		}
		var whole Pair
		for _, s := range streams {
			if s.more && s.head == (key{email, next}) {
				whole.Merge(&s.pair)
				if err := s.next(); err != nil {
					return s.c.f.wrap(err)
				}
			}
		}
		for i, l := range lists {
			if len(l) > 0 && l[0].recipient == next {
				whole.Merge(&l[0].pair)
				lists[i] = l[1:]
			}
		}
		if err := each(next, &whole); err != nil {
			return err
		}
	}
}

// reports appends what others reported of the email, or of one recipient of it, to
// any of the files.
func (g *generation) reports(to []Event, email event.EmailID, recipient event.RecipientID) (_ []Event, err error) {
	for _, f := range g.Files {
		if to, err = f.reports(to, email, recipient); err != nil {
			return nil, f.wrap(err)
		}
	}
	return to, nil
}

// pairsOf counts events that others reported, each once: as it came first. Whether
// it is too old is asked of that one.
func (g *generation) pairsOf(told []Event) []cutPair {
	slices.SortFunc(told, func(a, b Event) int {
		return cmp.Or(cmp.Compare(a.Recipient, b.Recipient), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Received, b.Received), cmp.Compare(a.At, b.At))
	})
	var pairs []cutPair
	for i := range told {
		e := &told[i]
		if i > 0 && e.ID == told[i-1].ID && e.Recipient == told[i-1].Recipient || e.At < g.Oldest {
			continue
		}
		if n := len(pairs); n == 0 || pairs[n-1].recipient != e.Recipient {
			pairs = append(pairs, cutPair{recipient: e.Recipient})
		}
		pairs[len(pairs)-1].pair.Add(e.Kind, e.Actor, e.At)
	}
	return pairs
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

// own adds to p what the files observed themselves of k.
func (g *generation) own(k key, p *Pair) error {
	for _, f := range g.Files {
		e := f.entry(k.email)
		if e == nil || e.max < g.Oldest {
			continue
		}
		var part Pair
		var found bool
		if e.min < g.Oldest {
			cut := g.cuts[cutKey{f, k.email}]
			i, ok := slices.BinarySearchFunc(cut, k.recipient, func(c cutPair, r event.RecipientID) int { return cmp.Compare(c.recipient, r) })
			if found = ok; found {
				part = cut[i].pair
			}
		} else {
			var err error
			if found, err = f.pair(k, &part); err != nil {
				return f.wrap(err)
			}
		}
		if found {
			p.Merge(&part)
		}
	}
	return nil
}
