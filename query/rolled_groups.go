package query

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"mailwake/engine/event"
	"mailwake/engine/rollup"
)

// grouped adds up what is known of emails of the same group, and of whom. Emails
// that are not registered, or that group says nothing of, do not count.
func (r *roller) grouped(what string, group func(*knownEmail) (string, bool)) (sums map[string]*rollup.Sums, people map[string]int64, err error) {
	known := r.store.known
	sums, people = map[string]*rollup.Sums{}, map[string]int64{}
	err = r.state.Emails(func(id event.EmailID, s *rollup.Sums) {
		e := known.byID[id]
		if e == nil {
			return
		}
		name, ok := group(e)
		if !ok {
			return
		}
		if sums[name] == nil {
			empty := rollup.NewSums()
			sums[name] = &empty
		}
		sums[name].Add(s)
	})
	if err != nil {
		return nil, nil, err
	}
	t, err := r.tally(what, rollup.Counting{Width: 1, Edition: known.version,
		Pair: func(t *rollup.Tally, email event.EmailID, who event.RecipientID, _ []rollup.Fact) {
			if e := known.email(email); e != nil {
				if name, ok := group(e); ok {
					t.Person(t.Group(known.number(name)), who)
				}
			}
		}})
	if err != nil {
		return nil, nil, err
	}
	for name := range sums {
		if g := t.Of(known.number(name)); g != nil {
			people[name] = g.People
		}
	}
	return sums, people, nil
}

func (r *roller) followed() error {
	state := func(e *knownEmail) (string, bool) { return e.follow, true }
	sums, people, err := r.grouped("follow", state)
	if err != nil {
		return err
	}
	emails, recipients := map[string]int64{}, map[string]int64{}
	for _, e := range r.store.known.byID {
		emails[e.follow]++
		recipients[e.follow] += e.sentTo
	}
	for name, n := range emails {
		s := sums[name]
		if s == nil {
			s = &rollup.Sums{}
		}
		r.rows = append(r.rows, []any{name, n, ratio(n, int64(len(r.store.known.ids))), recipients[name], people[name], s.Sent, s.Delivered,
			s.Did[0].ByHuman, s.Did[1].ByHuman, s.Did[3].ByHuman,
			ratio(s.Did[0].ByHuman, s.Delivered), ratio(s.Did[1].ByHuman, s.Delivered), ratio(s.Did[3].ByHuman, s.Delivered)})
	}
	slices.SortFunc(r.rows, func(a, b []any) int { return strings.Compare(b[0].(string), a[0].(string)) })
	return nil
}

func (r *roller) templates() error {
	sums, people, err := r.grouped("template", func(e *knownEmail) (string, bool) { return e.template, e.follow == "on" })
	if err != nil {
		return err
	}
	type use struct {
		emails, followed int64
		last             event.Micros
	}
	uses := map[string]*use{}
	for _, e := range r.store.known.byID {
		if e.template == "" {
			continue
		}
		u := uses[e.template]
		if u == nil {
			u = &use{last: e.created}
			uses[e.template] = u
		}
		u.emails++
		u.last = max(u.last, e.created)
		u.followed += int64(bit(e.follow == "on"))
	}
	var replied, delivered int64
	for _, s := range sums {
		replied += s.Did[3].ByHuman
		delivered += s.Delivered
	}
	for name, u := range uses {
		s := sums[name]
		if s == nil {
			s = &rollup.Sums{}
		}
		openLow, openHigh := wilsonOf(s.Did[0].ByHuman, s.Delivered)
		replyLow, replyHigh := wilsonOf(s.Did[3].ByHuman, s.Delivered)
		recommended := s.Delivered >= 30 && replyLow.(float64) > float64(replied)/float64(delivered)
		r.rows = append(r.rows, []any{name, u.emails, u.followed, u.last, people[name], s.Sent, s.Delivered,
			s.Did[0].Total, s.Did[0].Human, s.Did[0].Machine, s.Did[0].Unique, s.Did[0].ByHuman, s.Did[1].ByHuman, s.Did[3].Total, s.Did[3].ByHuman,
			ratio(s.Did[0].ByHuman, s.Delivered), openLow, openHigh, ratio(s.Did[1].ByHuman, s.Delivered),
			ratio(s.Did[3].ByHuman, s.Delivered), replyLow, replyHigh, recommended})
	}
	slices.SortFunc(r.rows, func(a, b []any) int {
		return cmp.Or(cmp.Compare(orLess(b[20]), orLess(a[20])), cmp.Compare(orLess(b[16]), orLess(a[16])), strings.Compare(a[0].(string), b[0].(string)))
	})
	r.rows = r.rows[:min(r.limit(), len(r.rows))]
	return nil
}

// orLess returns a number, one below all others for NULL.
func orLess(v any) float64 {
	if f, ok := v.(float64); ok {
		return f
	}
	return math.Inf(-1)
}

// wilsonOf is the interval of template_table, in the order in which its SQL works
// it out; NULL without n.
func wilsonOf(x, n int64) (low, high any) {
	if n == 0 {
		return nil, nil
	}
	m := float64(n)
	p := float64(min(x, n)) / m
	mid := p + 3.8416/(2.0*m)
	half := 1.96 * math.Sqrt(p*(1.0-p)/m+3.8416/(4.0*m*m))
	return (mid - half) / (1.0 + 3.8416/m), (mid + half) / (1.0 + 3.8416/m)
}

// Numbers of the groups of cohorts: pairs in it, or who did what in a week.
const (
	cohortPairs = iota
	cohortOpened
	cohortClicked
	cohortReplied
	cohortFirst
	cohortWidth
)

// weekKey names a week after a week of sending, or with -1 the cohort.
func weekKey(start event.Micros, after int64) int64 {
	return int64((start-monday)/(7*aDay))<<32 | (after + 1)
}

func (r *roller) cohorts() error {
	z := r.store.zone(r.text("zone"))
	t, err := r.tally("cohorts "+z.name, rollup.Counting{Width: cohortWidth, Moves: true,
		Pair: func(t *rollup.Tally, _ event.EmailID, who event.RecipientID, facts []rollup.Fact) {
			countCohort(t, z, who, r.state.Shapes(), facts)
		}})
	if err != nil {
		return err
	}
	var starts []event.Micros
	for _, g := range t.Groups() {
		if g.Key&(1<<32-1) == 0 {
			starts = append(starts, event.Micros(g.Key>>32)*7*aDay+monday)
		}
	}
	utc, err := z.utc(r.ctx, r.store.write, starts)
	if err != nil {
		return err
	}
	weeks, _ := r.args["weeks"].(int64)
	groups := slices.Clone(t.Groups())
	slices.SortFunc(groups, func(a, b rollup.Group) int { return cmp.Compare(a.Key, b.Key) })
	opened, week := int64(0), int64(-1)
	for _, g := range groups {
		after := g.Key&(1<<32-1) - 1
		if g.Key>>32 != week {
			week, opened = g.Key>>32, 0
		}
		n := g.Numbers
		if after < 0 || after >= weeks || n[cohortOpened]+n[cohortClicked]+n[cohortReplied] == 0 {
			continue
		}
		opened += n[cohortFirst]
		cohort := t.Of(weekKey(event.Micros(week)*7*aDay+monday, -1))
		r.rows = append(r.rows, []any{utc[event.Micros(week)*7*aDay+monday], after, cohort.People, cohort.Numbers[cohortPairs],
			n[cohortOpened], n[cohortClicked], n[cohortReplied], n[cohortFirst], float64(opened) / float64(cohort.Numbers[cohortPairs])})
	}
	return nil
}

// countCohort counts a pair in the week it was sent in, and in those after it in
// which something was done.
func countCohort(t *rollup.Tally, z *zone, who event.RecipientID, shapes []rollup.Shape, facts []rollup.Fact) {
	sent, was := event.Micros(0), false
	for _, f := range facts {
		if shapes[f.Shape].Kind == event.Sent && (!was || f.At < sent) {
			sent, was = f.At, true
		}
	}
	if !was {
		return
	}
	start := floor(z.local(sent), 7*aDay, monday)
	g := t.Group(weekKey(start, -1))
	t.Once(g, cohortPairs)
	t.Person(g, who)
	first := int64(-1)
	for _, f := range facts {
		s := &shapes[f.Shape]
		did := 0
		switch s.Kind {
		case event.Open:
			did = cohortOpened
		case event.Click:
			did = cohortClicked
		case event.Reply:
			did = cohortReplied
		}
		if did == 0 || !s.Human() || f.At < sent {
			continue
		}
		after := int64((f.At - sent) / (7 * aDay))
		t.Once(t.Group(weekKey(start, after)), did)
		if s.Kind == event.Open && (first < 0 || after < first) {
			first = after
		}
	}
	if first >= 0 {
		t.Once(t.Group(weekKey(start, first)), cohortFirst)
	}
}
