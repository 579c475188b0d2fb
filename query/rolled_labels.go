package query

import (
	"cmp"
	"slices"
	"strings"

	"mailwake/engine/event"
	"mailwake/engine/rollup"
)

// alike numbers shapes by a text of theirs: with the first shape that has it.
type alike struct {
	text  func(*rollup.Shape) string
	first map[string]int64
	of    []int64 // by shape; below 0 is not known yet
}

func newAlike(text func(*rollup.Shape) string) *alike {
	return &alike{text: text, first: map[string]int64{}}
}

func (a *alike) id(shapes []rollup.Shape, shape uint32) int64 {
	for len(a.of) < len(shapes) {
		a.of = append(a.of, -1)
	}
	if a.of[shape] < 0 {
		text := a.text(&shapes[shape])
		id, ok := a.first[text]
		if !ok {
			id = int64(shape)
			a.first[text] = id
		}
		a.of[shape] = id
	}
	return a.of[shape]
}

// deviceTexts are the choices of device_mix.
var deviceTexts = map[string]func(*rollup.Shape) string{
	"device": func(s *rollup.Shape) string { return s.Device },
	"client": func(s *rollup.Shape) string { return s.Client },
	"os":     func(s *rollup.Shape) string { return s.OS },
}

// Numbers of the groups of device_mix: opens and clicks, each in total, by people
// and by machines, and recipients with one by a person.
const (
	mixPeople = 6
	mixWidth  = mixPeople + 1
)

func (r *roller) deviceMix() error {
	by := r.text("by")
	text := deviceTexts[by]
	groups := newAlike(text)
	email := event.EmailID(r.id("email"))
	used, err := r.tally("devices "+by, rollup.Counting{Email: email, Width: mixWidth,
		Pair: func(t *rollup.Tally, _ event.EmailID, who event.RecipientID, facts []rollup.Fact) {
			shapes := r.state.Shapes()
			for _, f := range facts {
				s := &shapes[f.Shape]
				if i, ok := s.Purpose(); ok && i < 2 {
					g := t.Group(2 * groups.id(shapes, f.Shape))
					t.Person(g, who)
					t.Add(g, 3*i, 1)
					if s.Human() {
						t.Add(g, 3*i+1, 1)
						t.Person(t.Group(2*groups.id(shapes, f.Shape)+1), who)
					} else if s.Machine() {
						t.Add(g, 3*i+2, 1)
					}
				}
			}
		}})
	if err != nil {
		return err
	}
	var total int64
	for _, g := range used.Groups() {
		total += g.Numbers[1] + g.Numbers[4]
	}
	for _, g := range used.Groups() {
		n := g.Numbers
		if n[0]+n[3] == 0 { // of people only, or all taken back
			continue
		}
		var people int64
		if human := used.Of(g.Key + 1); human != nil {
			people = human.People
		}
		events := n[1] + n[4]
		row := []any{text(&r.state.Shapes()[g.Key/2]), g.People, n[0], n[1], n[2], n[3], n[4], n[5], people, events, nil}
		if total > 0 {
			row[10] = float64(events) / float64(total)
		}
		r.rows = append(r.rows, row)
	}
	slices.SortFunc(r.rows, func(a, b []any) int {
		return cmp.Or(cmp.Compare(b[9].(int64), a[9].(int64)), strings.Compare(a[0].(string), b[0].(string)))
	})
	return nil
}

// Numbers of the groups of machine_share.
const (
	shareTotal = iota
	shareHuman
	sharePrefetch
	shareScanner
	shareBot
	shareWidth
)

// shareOf has the numbers of actors, beside the total.
var shareOf = map[event.Actor]int{event.Human: shareHuman, event.Proxy: shareHuman, event.Prefetch: sharePrefetch, event.Scanner: shareScanner, event.Bot: shareBot}

func (r *roller) machineShare() error {
	by, people := r.text("by"), &r.store.known.people
	edition := 0
	var group func(event.RecipientID, []rollup.Shape, uint32) int64
	var name func(int64) any
	switch by {
	case "reason":
		reasons := newAlike(func(s *rollup.Shape) string { return s.Reason })
		group = func(_ event.RecipientID, shapes []rollup.Shape, shape uint32) int64 { return reasons.id(shapes, shape) }
		name = func(k int64) any { return r.state.Shapes()[k].Reason }
	case "domain":
		if people.odd {
			return errNoRollup
		}
		edition = people.version
		group = func(who event.RecipientID, _ []rollup.Shape, _ uint32) int64 { return int64(people.domain(who)) }
		name = func(k int64) any {
			if k == 0 {
				return nil
			}
			return people.domains[k-1]
		}
	default:
		return errNoRollup // rollups do not have networks
	}
	used, err := r.tally("machines "+by, rollup.Counting{Width: shareWidth, Edition: edition,
		Pair: func(t *rollup.Tally, _ event.EmailID, who event.RecipientID, facts []rollup.Fact) {
			shapes := r.state.Shapes()
			for _, f := range facts {
				s := &shapes[f.Shape]
				if i, ok := s.Purpose(); !ok || i > 2 {
					continue
				}
				g := t.Group(group(who, shapes, f.Shape))
				t.Person(g, who)
				t.Add(g, shareTotal, 1)
				if i, ok := shareOf[s.Actor]; ok {
					t.Add(g, i, 1)
				}
			}
		}})
	if err != nil {
		return err
	}
	for _, g := range used.Groups() {
		n := g.Numbers
		if n[shareTotal] == 0 {
			continue
		}
		machines := n[sharePrefetch] + n[shareScanner] + n[shareBot]
		r.rows = append(r.rows, []any{name(g.Key), g.People, n[shareTotal], n[shareHuman], machines, n[sharePrefetch], n[shareScanner], n[shareBot],
			n[shareTotal] - n[shareHuman] - machines, float64(machines) / float64(n[shareTotal])})
	}
	slices.SortFunc(r.rows, func(a, b []any) int {
		return cmp.Or(cmp.Compare(b[2].(int64), a[2].(int64)), nullsLast(a[0], b[0]))
	})
	r.rows = r.rows[:min(r.limit(), len(r.rows))]
	return nil
}

// nullsLast compares texts of which some are NULL.
func nullsLast(a, b any) int {
	s, ok := a.(string)
	t, also := b.(string)
	return cmp.Or(bit(!ok)-bit(!also), strings.Compare(s, t))
}
