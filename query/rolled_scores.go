package query

import (
	"cmp"
	"math"
	"slices"
	"sort"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/rollup"
)

// halves has what is left of 1 after each day of 14, in billionths, as
// recipient_score has it.
var halves = [14]int64{1000000000, 951695153, 905723664, 861972821, 820335356, 780709182, 742997145, 707106781, 672950096, 640443345, 609506827, 580064693, 552044757, 525378319}

// weights are points of an open, a click, an attachment view and a reply.
var weights = [4]int64{1, 3, 4, 10}

// Numbers of the groups of scores, of which each is a recipient.
const (
	scorePoints = iota // in billionths
	scoreEmails        // active in the last 90 days
	scoreAny           // events by a person
	scoreWidth
)

// score is what is known of one recipient.
type score struct {
	id              event.RecipientID
	points, days, n int64
	last            event.Micros
}

// ranking is what all scores together say.
type ranking struct {
	list               []score // the highest first
	recency, frequency func(int64) int64
}

// ranking ranks, as of now, every recipient for whom a person did anything.
func (r *roller) ranking() (*ranking, error) {
	at, _ := r.args["now"].(time.Time)
	now := event.At(at)
	t, err := r.tally("scores", rollup.Counting{Width: scoreWidth, Edition: int(now), // of now, so that there is only one
		Pair: func(t *rollup.Tally, _ event.EmailID, who event.RecipientID, facts []rollup.Fact) {
			shapes := r.state.Shapes()
			for _, f := range facts {
				s := &shapes[f.Shape]
				purpose, ok := s.Purpose()
				if !ok || !s.Human() || f.At > now {
					continue
				}
				g := t.Group(int64(who))
				age := int64((now - f.At) / aDay)
				t.Add(g, scoreAny, 1)
				t.Add(g, scorePoints, weights[purpose]*halves[age%14]/(1<<min(age/14, 40)))
				if age < 90 {
					t.Once(g, scoreEmails)
				}
			}
		}})
	if err != nil {
		return nil, err
	}
	if known, ok := t.Memo.(*ranking); ok {
		return known, nil
	}
	all := &ranking{}
	if all.list, err = r.scoresOf(t.Groups(), now); err != nil {
		return nil, err
	}
	slices.SortFunc(all.list, func(a, b score) int { return cmp.Or(cmp.Compare(b.points, a.points), cmp.Compare(a.id, b.id)) })
	days, emails := make([]int64, len(all.list)), make([]int64, len(all.list))
	for i, s := range all.list {
		days[i], emails[i] = -s.days, s.n
	}
	newer := quintiles(days)
	all.recency, all.frequency = func(days int64) int64 { return newer(-days) }, quintiles(emails)
	t.Memo = all
	return all, nil
}

func (r *roller) scoresOf(groups []rollup.Group, now event.Micros) (list []score, err error) {
	later := 0
	for i := range groups {
		g := &groups[i]
		if g.Numbers[scoreAny] == 0 {
			continue
		}
		id := event.RecipientID(g.Key)
		last, _, err := r.state.LastActiveOf(id)
		if err != nil {
			return nil, err
		}
		if last > now {
			if later++; later > maxRolledRecipients {
				return nil, errNoRollup
			}
			if last, err = r.lastUntil(id, now); err != nil {
				return nil, err
			}
		}
		list = append(list, score{id: id, points: g.Numbers[scorePoints], n: g.Numbers[scoreEmails], days: int64((now - last) / aDay), last: last})
	}
	return list, nil
}

// lastUntil returns when a person was active last for the recipient, not after now.
func (r *roller) lastUntil(id event.RecipientID, now event.Micros) (last event.Micros, err error) {
	last = math.MinInt64
	err = r.state.RecipientFacts(id, func(_ event.EmailID, facts []rollup.Fact) {
		for _, f := range facts {
			s := &r.state.Shapes()[f.Shape]
			if _, ok := s.Purpose(); ok && s.Human() && f.At <= now {
				last = max(last, f.At)
			}
		}
	})
	return last, err
}

// quintiles returns the function that says which fifth a number is in, of as many
// as there are, where the greater one is in the higher.
func quintiles(numbers []int64) func(int64) int64 {
	slices.Sort(numbers)
	return func(n int64) int64 {
		below := sort.Search(len(numbers), func(i int) bool { return numbers[i] >= n })
		return 1 + 5*int64(below)/int64(len(numbers))
	}
}

func (r *roller) scores() error {
	all, err := r.ranking()
	if err != nil {
		return err
	}
	list := all.list
	if id := event.RecipientID(r.id("recipient")); id != 0 {
		list = slices.DeleteFunc(slices.Clone(list), func(s score) bool { return s.id != id })
	}
	list = list[:min(r.limit(), len(list))]
	ids := make([]event.RecipientID, len(list))
	for i := range list {
		ids[i] = list[i].id
	}
	names, err := r.names(ids)
	if err != nil {
		return err
	}
	everybody := len(all.list)
	for _, s := range list {
		above := sort.Search(everybody, func(i int) bool { return all.list[i].points <= s.points })
		row := []any{int64(s.id), nil, nil, float64(s.points) / 1000000000, float64(100*(everybody-above)) / float64(everybody), s.last, s.days, s.n,
			all.recency(s.days), all.frequency(s.n)}
		if name, ok := names[s.id]; ok {
			row[1], row[2] = name[0], name[1]
		}
		r.rows = append(r.rows, row)
	}
	return nil
}

func (r *roller) grid() error {
	all, err := r.ranking()
	if err != nil {
		return err
	}
	list := all.list
	type cell struct{ people, daysMin, daysMax, emailsMin, emailsMax int64 }
	cells := map[[2]int64]*cell{}
	for _, s := range list {
		at := [2]int64{all.recency(s.days), all.frequency(s.n)}
		c := cells[at]
		if c == nil {
			c = &cell{0, s.days, s.days, s.n, s.n}
			cells[at] = c
		}
		c.people++
		c.daysMin, c.daysMax = min(c.daysMin, s.days), max(c.daysMax, s.days)
		c.emailsMin, c.emailsMax = min(c.emailsMin, s.n), max(c.emailsMax, s.n)
	}
	for at, c := range cells {
		r.rows = append(r.rows, []any{at[0], at[1], c.people, float64(c.people) / float64(len(list)), c.daysMin, c.daysMax, c.emailsMin, c.emailsMax})
	}
	slices.SortFunc(r.rows, func(a, b []any) int {
		return cmp.Or(cmp.Compare(b[0].(int64), a[0].(int64)), cmp.Compare(b[1].(int64), a[1].(int64)))
	})
	return nil
}
