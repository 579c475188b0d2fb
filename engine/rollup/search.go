package rollup

import "mailwake/engine/event"

// Has reports whether the data file holds anything of one of the recipients, by
// looking them up in its rollup in dir, which lists everybody of whom a data file has
// a row. ErrDamaged or os.ErrNotExist if there is none that is whole, of this version,
// and of source.
func Has(dir string, source Source, recipients []event.RecipientID) (found bool, err error) {
	f, err := Open(source.In(dir), source)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // was only read

	var emails []event.EmailID
	for _, r := range recipients {
		if emails, err = f.emailsOf(emails[:0], r); err != nil || len(emails) > 0 {
			return err == nil, err
		}
	}
	return false, nil
}

// Holds reports whether the rollup at path has anything of a recipient who is
// wanted: in any of its sections, whatever data file it is of. ErrDamaged or
// os.ErrNotExist if there is none that is whole and of this version.
func Holds(path string, wanted func(event.RecipientID) bool) (bool, error) {
	f, err := open(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // was only read

	ids, facts := make([]uint32, len(f.shapes)), []Fact(nil) // what was done does not matter
	sections := []struct {
		*section
		skip func(*reader)
	}{
		{&f.pairs, func(r *reader) { facts = r.facts(facts[:0], ids) }},
		{&f.told, func(r *reader) { r.report(new(report), ids) }},
		{&f.people, func(r *reader) {
			for n := r.count(); n > 0 && !r.bad; n-- {
				r.count()
			}
		}},
	}
	for _, s := range sections {
		if len(s.blocks) == 0 {
			continue
		}
		c, err := f.at(s.section, &f.block, s.blocks[0].first)
		for err == nil {
			var at key
			var ok bool
			if at, ok, err = c.next(); err != nil || !ok {
				break
			}
			s.skip(&c.b.reader)
			if err = c.bad(); err == nil && wanted(at.recipient) {
				return true, nil
			}
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}
