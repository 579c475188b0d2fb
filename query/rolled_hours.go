package query

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"mailwake/engine/event"
	"mailwake/engine/rollup"
)

// tally counts c, of which the KPI's name, the email and what say all.
func (r *roller) tally(what string, c rollup.Counting) (*rollup.Tally, error) {
	t, err := r.state.Tally(fmt.Sprint(what, " ", c.Email), c)
	if errors.Is(err, rollup.ErrTooLarge) {
		err = fmt.Errorf("%w: %s is %w", errNoRollup, what, err)
	}
	return t, err
}

// text returns a parameter that is never left out.
func (r *roller) text(name string) string {
	s, _ := r.args[name].(string)
	return s
}

// nonzero returns the groups whose number is not 0, by key.
func nonzero(t *rollup.Tally, number int) []rollup.Group {
	groups := slices.DeleteFunc(slices.Clone(t.Groups()), func(g rollup.Group) bool { return g.Numbers[number] == 0 })
	slices.SortFunc(groups, func(a, b rollup.Group) int { return cmp.Compare(a.Key, b.Key) })
	return groups
}

// Numbers of the groups of hours: four purposes by people, then these.
const (
	hourHuman = 4 + iota
	hourMachine
	hourAny
	hourWidth
)

// hours counts reactions by the hour of the week, of one email or of all.
func (r *roller) hours(email event.EmailID) (*rollup.Tally, error) {
	z := r.store.zone(r.text("zone"))
	return r.tally("hours "+z.name, rollup.Counting{Email: email, Width: hourWidth,
		Pair: func(t *rollup.Tally, _ event.EmailID, who event.RecipientID, facts []rollup.Fact) {
			shapes := r.state.Shapes()
			for _, f := range facts {
				s := &shapes[f.Shape]
				purpose, ok := s.Purpose()
				if !ok {
					continue
				}
				g := t.Group(weekHour(z.local(f.At)))
				t.Person(g, who)
				t.Add(g, hourAny, 1)
				if s.Human() {
					t.Add(g, purpose, 1)
					t.Add(g, hourHuman, 1)
				} else if s.Machine() {
					t.Add(g, hourMachine, 1)
				}
			}
		}})
}

func (r *roller) heatMap() error {
	t, err := r.hours(event.EmailID(r.id("email")))
	if err != nil {
		return err
	}
	for _, g := range nonzero(t, hourAny) {
		n := g.Numbers
		r.rows = append(r.rows, []any{1 + g.Key/24, g.Key % 24, g.People, n[0], n[1], n[2], n[3], n[hourHuman], n[hourMachine]})
	}
	return nil
}

// bestHour makes a row for the recipient, or for each of the first.
func (r *roller) bestHour() error {
	t, err := r.hours(0)
	if err != nil {
		return err
	}
	cohort := nonzero(t, hourHuman)
	best, total := rollup.Group{}, int64(0)
	for _, g := range cohort {
		total += g.Numbers[hourHuman]
		if best.Numbers == nil || g.Numbers[hourHuman] > best.Numbers[hourHuman] {
			best = g
		}
	}
	ids := []event.RecipientID{event.RecipientID(r.id("recipient"))}
	if ids[0] == 0 {
		if r.limit() > maxRolledRecipients {
			return errNoRollup
		}
		ids = r.state.Recipients(r.limit())
	}
	names, err := r.names(ids)
	if err != nil {
		return err
	}
	z := r.store.zone(r.text("zone"))
	for _, id := range ids {
		own, known := map[int64]int64{}, false
		err := r.state.RecipientFacts(id, func(_ event.EmailID, facts []rollup.Fact) {
			known = true
			for _, f := range facts {
				s := &r.state.Shapes()[f.Shape]
				if _, ok := s.Purpose(); ok && s.Human() {
					own[weekHour(z.local(f.At))]++
				}
			}
		})
		if err != nil {
			return err
		}
		if !known {
			continue
		}
		row := []any{int64(id), nil, nil}
		if name, ok := names[id]; ok {
			row[1], row[2] = name[0], name[1]
		}
		r.rows = append(r.rows, append(row, bestOf(own, t, &best, total)...))
	}
	return nil
}

// bestOf says when to write to somebody who did so much in each hour, where
// everybody did as much as t says, the most in best.
func bestOf(own map[int64]int64, t *rollup.Tally, best *rollup.Group, total int64) []any {
	var n int64
	for _, k := range own {
		n += k
	}
	switch {
	case total == 0:
		return []any{n, nil, int64(8), nil, "rule"}
	case n < 5:
		return []any{n, 1 + best.Key/24, best.Key % 24, float64(best.Numbers[hourHuman]) / float64(total), "cohort"}
	}
	bin, chance := best.Key, 20*best.Numbers[hourHuman]
	for _, k := range slices.Sorted(maps.Keys(own)) {
		if c := own[k]*total + 20*t.Of(k).Numbers[hourHuman]; c > chance || c == chance && k < bin {
			bin, chance = k, c
		}
	}
	return []any{n, 1 + bin/24, bin % 24, float64(chance) / float64((n+20)*total), "own"}
}

// Numbers of the groups of the timeline: its columns behind people, then whether
// there is anything.
const (
	timelineAny   = 18
	timelineWidth = timelineAny + 1
)

// timelineOf has, for each purpose, the places of its total and of its uniques.
var timelineOf = [4][2]int{{2, 5}, {7, 10}, {12, -1}, {15, -1}}

func (r *roller) timeline() error {
	email, bucket := event.EmailID(r.id("email")), r.text("bucket")
	if email == 0 && (bucket == "minute" || bucket == "hour") {
		return errNoRollup // too many to know each one's people
	}
	z := r.store.zone(r.text("zone"))
	t, err := r.tally("timeline "+bucket+" "+z.name, rollup.Counting{Email: email, Width: timelineWidth,
		Pair: func(t *rollup.Tally, _ event.EmailID, who event.RecipientID, facts []rollup.Fact) {
			shapes := r.state.Shapes()
			for _, f := range facts {
				start, _ := z.bucket(bucket, f.At)
				g := t.Group(int64(start))
				t.Person(g, who)
				t.Add(g, timelineAny, 1)
				countInTimeline(t, g, &shapes[f.Shape])
			}
		}})
	if err != nil {
		return err
	}
	if rows, ok := t.Memo.([][]any); ok {
		r.rows = rows
		return nil
	}
	groups := nonzero(t, timelineAny)
	_, far := z.bucket(bucket, 0)
	utc := map[event.Micros]event.Micros{}
	if far {
		local := make([]event.Micros, len(groups))
		for i := range groups {
			local[i] = event.Micros(groups[i].Key)
		}
		if utc, err = z.utc(r.ctx, r.store.write, local); err != nil {
			return err
		}
	}
	for _, g := range groups {
		start := event.Micros(g.Key)
		if far {
			start = utc[start]
		}
		row := []any{start, g.People}
		for _, n := range g.Numbers[:timelineAny] {
			row = append(row, n)
		}
		r.rows = append(r.rows, row)
	}
	t.Memo = r.rows
	return nil
}

func countInTimeline(t *rollup.Tally, g int, s *rollup.Shape) {
	switch s.Kind {
	case event.Sent:
		t.Add(g, 0, 1)
	case event.Bounced:
		t.Add(g, 1, 1)
	}
	i, ok := s.Purpose()
	if !ok {
		return
	}
	total, unique := timelineOf[i][0], timelineOf[i][1]
	t.Add(g, total, 1)
	if s.Human() {
		t.Add(g, total+1, 1)
	} else if s.Machine() {
		t.Add(g, total+2, 1)
	}
	if unique >= 0 {
		if t.Once(g, unique); s.Human() {
			t.Once(g, unique+1)
		}
	}
}
