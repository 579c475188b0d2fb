package rollup

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sort"

	"mailwake/engine/event"
)

// block is a block of a section while it is decoded.
type block struct {
	reader
	section *section
	index   int
	buf     []byte
	last    key
}

// load reads block i of s, if it is not the one that is loaded, and begins at its
// first entry.
func (b *block) load(f *File, s *section, i int) error {
	e := &s.blocks[i]
	if b.section != s || b.index != i || len(b.buf) != int(e.size) {
		b.section = nil
		b.buf = slices.Grow(b.buf[:0], int(e.size))[:e.size]
		if _, err := f.file.ReadAt(b.buf, int64(e.at)); errors.Is(err, io.EOF) {
			return ErrDamaged
		} else if err != nil {
			return fmt.Errorf("read rollup: %w", err)
		}
		if crc32.Checksum(b.buf, castagnoli) != e.sum {
			return ErrDamaged
		}
		b.section, b.index = s, i
	}
	b.reader, b.last = reader{buf: b.buf}, e.first
	return nil
}

// key reads the key of the next entry.
func (b *block) key() key {
	b.last.email += event.EmailID(b.count())
	b.last.recipient += event.RecipientID(b.number())
	return b.last
}

// find returns the number of the block in which the first entry of k is, if it is
// anywhere. In repeats, entries of k may begin in the block before.
func (s *section) find(k key, repeats bool) int {
	i := sort.Search(len(s.blocks), func(i int) bool {
		first := s.blocks[i].first
		return k.less(first) || repeats && first == k
	})
	return max(0, i-1)
}

// cursor goes through entries of a section in their order.
type cursor struct {
	f *File
	s *section
	b *block
	i int
}

// at begins at the block in which k may be.
func (f *File) at(s *section, b *block, k key) (c cursor, err error) {
	c = cursor{f: f, s: s, b: b, i: s.find(k, s == &f.told)}
	if len(s.blocks) > 0 {
		err = b.load(f, s, c.i)
	}
	return c, err
}

// next reads the key of the next entry; its body is to be read from c.b.
func (c *cursor) next() (k key, ok bool, err error) {
	if c.b.bad {
		return k, false, ErrDamaged
	}
	if len(c.b.reader.buf) == 0 {
		if c.i+1 >= len(c.s.blocks) {
			return k, false, nil
		}
		c.i++
		if err := c.b.load(c.f, c.s, c.i); err != nil {
			return k, false, err
		}
	}
	k = c.b.key()
	return k, true, nil
}

// facts appends what the data file itself observed of k.
func (f *File) facts(to []Fact, k key) ([]Fact, error) {
	if len(f.pairs.blocks) == 0 {
		return to, nil
	}
	n := len(to)
	c, err := f.at(&f.pairs, &f.block, k)
	for err == nil {
		var at key
		var ok bool
		if at, ok, err = c.next(); err != nil || !ok || k.less(at) {
			break
		}
		to = c.b.facts(to[:n], f.ids)
		if at == k {
			return to, c.bad()
		}
	}
	return to[:n], err
}

func (c *cursor) bad() error {
	if c.b.bad {
		return ErrDamaged
	}
	return nil
}

// reports appends the events of the email, or of one recipient of it, that others
// reported, by recipient.
func (f *File) reports(to []report, email event.EmailID, recipient event.RecipientID) ([]report, error) {
	if e := f.entry(email); e == nil || !e.reported {
		return to, nil
	}
	c, err := f.at(&f.told, &f.block, key{email, recipient})
	for err == nil {
		var at key
		var ok bool
		if at, ok, err = c.next(); err != nil || !ok || at.email > email || recipient != 0 && at.recipient > recipient && at.email == email {
			break
		}
		told := report{key: at}
		c.b.report(&told, f.ids)
		if at.email == email && (recipient == 0 || at.recipient == recipient) {
			to = append(to, told)
		}
		err = c.bad()
	}
	return to, err
}

// emailsOf appends the emails in which the file holds anything of the recipient.
func (f *File) emailsOf(to []event.EmailID, recipient event.RecipientID) ([]event.EmailID, error) {
	if len(f.people.blocks) == 0 {
		return to, nil
	}
	c, err := f.at(&f.people, &f.block, key{recipient: recipient})
	for err == nil {
		var at key
		var ok bool
		if at, ok, err = c.next(); err != nil || !ok || at.recipient > recipient {
			break
		}
		email := event.EmailID(0)
		for range c.b.count() {
			email += event.EmailID(c.b.count())
			if c.b.bad {
				return to, ErrDamaged
			}
			if at.recipient == recipient {
				to = append(to, email)
			}
		}
	}
	return to, err
}
