package query

import (
	"cmp"
	"math"
	"slices"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

const dayMicros = event.Micros(24 * 3600 * 1e6)

func byPerson(in *event.Interaction) bool { return slices.Contains(classes(in.Actor), human) }
func byMachine(in *event.Interaction) bool {
	return slices.Contains(classes(in.Actor), machine)
}
func reaction(in *event.Interaction) bool { return in.Kind >= event.Open && in.Kind <= event.Reply }

// standing is what recipient_score and recency_frequency_grid say of a recipient.
type standing struct {
	id                event.RecipientID
	points            int64
	last              event.Micros
	days, emails      int64
	recency, frequent int64 // quintiles
	score             float64
}

func standings(events []event.Interaction, now event.Micros) []standing {
	weights := map[event.Kind]int64{event.Open: 1, event.Click: 3, event.AttachmentView: 4, event.Reply: 10}
	by := map[event.RecipientID]*standing{}
	lately := map[pairKey]bool{}
	for _, in := range events {
		if !reaction(&in) || !byPerson(&in) || in.OccurredAt > now {
			continue
		}
		age := int64((now - in.OccurredAt) / dayMicros)
		s := by[in.Recipient]
		if s == nil {
			s = &standing{id: in.Recipient, days: age}
			by[in.Recipient] = s
		}
		s.points += weights[in.Kind] * int64(math.Round(1e9*math.Exp2(-float64(age%14)/14))) / (1 << min(age/14, 40))
		s.last, s.days = max(s.last, in.OccurredAt), min(s.days, age)
		if k := (pairKey{in.Email, in.Recipient}); age < 90 && !lately[k] {
			lately[k] = true
			s.emails++
		}
	}
	var all []standing
	n := int64(len(by))
	for _, s := range by {
		var atMost, later, rarer int64
		for _, o := range by {
			if o.points <= s.points {
				atMost++
			}
			if o.days > s.days {
				later++
			}
			if o.emails < s.emails {
				rarer++
			}
		}
		s.score = float64(100*atMost) / float64(n)
		s.recency, s.frequent = 1+5*later/n, 1+5*rarer/n
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b standing) int { return cmp.Or(cmp.Compare(b.points, a.points), cmp.Compare(a.id, b.id)) })
	return all
}

func whois(row map[string]any, id event.RecipientID, people map[event.RecipientID]registry.Recipient) {
	row["recipient_id"], row["address"], row["name"] = int64(id), nil, nil
	if r, ok := people[id]; ok {
		row["address"], row["name"] = r.Address, r.Name
	}
}

func oracleScore(events []event.Interaction, people map[event.RecipientID]registry.Recipient, now event.Micros) []map[string]any {
	rows := []map[string]any{}
	for _, s := range standings(events, now) {
		row := map[string]any{"points": float64(s.points) / 1e9, "score": s.score, "last_active_at_human": s.last, "recency_days": s.days,
			"emails_active_90d": s.emails, "recency_quintile": s.recency, "frequency_quintile": s.frequent}
		whois(row, s.id, people)
		rows = append(rows, row)
	}
	return rows
}

func oracleGrid(events []event.Interaction, now event.Micros) []map[string]any {
	cells := map[[2]int64]map[string]any{}
	all := standings(events, now)
	for _, s := range all {
		at := [2]int64{s.recency, s.frequent}
		row := cells[at]
		if row == nil {
			row = map[string]any{"recency_quintile": s.recency, "frequency_quintile": s.frequent, "people": int64(0),
				"recency_days_min": s.days, "recency_days_max": s.days, "emails_active_90d_min": s.emails, "emails_active_90d_max": s.emails}
			cells[at] = row
		}
		row["people"] = row["people"].(int64) + 1
		row["share"] = float64(row["people"].(int64)) / float64(len(all))
		row["recency_days_min"] = min(row["recency_days_min"].(int64), s.days)
		row["recency_days_max"] = max(row["recency_days_max"].(int64), s.days)
		row["emails_active_90d_min"] = min(row["emails_active_90d_min"].(int64), s.emails)
		row["emails_active_90d_max"] = max(row["emails_active_90d_max"].(int64), s.emails)
	}
	rows := []map[string]any{}
	for r := int64(5); r > 0; r-- {
		for f := int64(5); f > 0; f-- {
			if row := cells[[2]int64{r, f}]; row != nil {
				rows = append(rows, row)
			}
		}
	}
	return rows
}

// hourOfWeek counts from Monday 00:00.
func hourOfWeek(at event.Micros, zone *time.Location) int64 {
	t := at.Time().In(zone)
	return int64((int(t.Weekday())+6)%7*24 + t.Hour())
}

func oracleBestHour(events []event.Interaction, people map[event.RecipientID]registry.Recipient, zone *time.Location) []map[string]any {
	own := map[event.RecipientID]map[int64]int64{}
	cohort := map[int64]int64{}
	var total int64
	for _, in := range events {
		if own[in.Recipient] == nil {
			own[in.Recipient] = map[int64]int64{}
		}
		if reaction(&in) && byPerson(&in) {
			h := hourOfWeek(in.OccurredAt, zone)
			own[in.Recipient][h]++
			cohort[h]++
			total++
		}
	}
	best := int64(-1)
	for h := range int64(168) {
		if cohort[h] > 0 && (best < 0 || cohort[h] > cohort[best]) {
			best = h
		}
	}
	rows := []map[string]any{}
	for id, bins := range own {
		var n int64
		for _, count := range bins {
			n += count
		}
		row := map[string]any{"events_human": n, "weekday": nil, "hour": int64(8), "share": nil, "basis": "rule"}
		whois(row, id, people)
		at := best
		switch {
		case n >= 5:
			for h := range int64(168) { // all of them, by the formula
				if bins[h]*total+20*cohort[h] > bins[at]*total+20*cohort[at] || bins[h]*total+20*cohort[h] == bins[at]*total+20*cohort[at] && h < at {
					at = h
				}
			}
			row["basis"], row["share"] = "own", float64(bins[at]*total+20*cohort[at])/float64((n+20)*total)
		case total > 0:
			row["basis"], row["share"] = "cohort", float64(cohort[best])/float64(total)
		}
		if at >= 0 {
			row["weekday"], row["hour"] = 1+at/24, at%24
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b map[string]any) int {
		return cmp.Compare(a["recipient_id"].(int64), b["recipient_id"].(int64))
	})
	return rows
}
