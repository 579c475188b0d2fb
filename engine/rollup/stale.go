package rollup

import (
	"maps"
	"slices"

	"mailwake/engine/event"
)

// merged makes the State stand on files that hold the very events that its own do: of
// what it has counted nothing changes. Files that came besides stay out, so that they
// are all that is different still.
func (s *State) merged(files []*File) {
	gone, came := without(s.gen.Files, files), without(files, s.gen.Files)
	if into := inPlaceOf(gone, came); len(gone) > 0 && len(into) > 0 {
		s.gen.Files = without(files, without(came, into))
	}
}

// mostCame is how many files inPlaceOf tries to leave out, in all combinations.
const mostCame = 10

// inPlaceOf returns those files of came that hold the very events that gone do, none if
// there are no such.
func inPlaceOf(gone, came []*File) []*File {
	all := sumOf(gone)
	for out := range 1 << min(len(came), mostCame) { // first that none is left out
		var into []*File
		for i, f := range came {
			if out>>i&1 == 0 {
				into = append(into, f)
			}
		}
		if sumOf(into) == all && len(different(gone, into)) == 0 {
			return into
		}
	}
	return nil
}

// stale returns the emails whose sums may be others under next, sorted, or that
// they are not few.
func (s *State) stale(next *generation) (emails []event.EmailID, few bool) {
	set := different(without(s.gen.Files, next.Files), without(next.Files, s.gen.Files))
	if from, to := min(s.gen.Oldest, next.Oldest), max(s.gen.Oldest, next.Oldest); from < to {
		for _, f := range next.Files {
			for i := range f.emails {
				if e := &f.emails[i]; e.min < to && e.max >= from {
					set[e.email] = struct{}{}
				}
			}
		}
	}
	if !s.staleByConsent(set, &next.Consent) {
		return nil, false
	}
	return slices.Sorted(maps.Keys(set)), true
}

// manyChanged is up to how many recipients' emails are looked up.
const manyChanged = 1000

// staleByConsent adds the emails that recipients have whose consent changed. It
// gives up if that may be most of them.
func (s *State) staleByConsent(set map[event.EmailID]struct{}, next *Consent) bool {
	before := &s.gen.Consent
	s.changed = s.changed[:0]
	if before.OptIn != next.OptIn {
		return false
	}
	for r := range event.RecipientID(max(len(before.Marks), len(next.Marks))) {
		if before.hidden(r) == next.hidden(r) {
			continue
		}
		if s.changed = append(s.changed, r); len(s.changed) > manyChanged {
			return false
		}
		emails, err := s.gen.emailsOf(r)
		if err != nil {
			return false // passing all of them finds it again, and says so
		}
		for _, e := range emails {
			set[e] = struct{}{}
		}
	}
	return true
}

func without(list, other []*File) []*File {
	return slices.DeleteFunc(slices.Clone(list), func(f *File) bool { return slices.Contains(other, f) })
}

// emailsOf returns the emails that are in any of the files, sorted.
func emailsOf(files []*File) []event.EmailID {
	var all []event.EmailID
	for _, f := range files {
		for i := range f.emails {
			all = append(all, f.emails[i].email)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
