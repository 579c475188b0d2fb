package query

import (
	"cmp"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

func peopleIn(events []event.Interaction) int64 {
	set := map[event.RecipientID]bool{}
	for _, in := range events {
		set[in.Recipient] = true
	}
	return int64(len(set))
}

func countOf(events []event.Interaction, keep ...func(*event.Interaction) bool) int64 {
	var n int64
	for i := range events {
		if !slices.ContainsFunc(keep, func(k func(*event.Interaction) bool) bool { return !k(&events[i]) }) {
			n++
		}
	}
	return n
}

func ofKind(kinds ...event.Kind) func(*event.Interaction) bool {
	return func(in *event.Interaction) bool { return slices.Contains(kinds, in.Kind) }
}

func group[K comparable](events []event.Interaction, key func(*event.Interaction) K) map[K][]event.Interaction {
	groups := map[K][]event.Interaction{}
	for i := range events {
		k := key(&events[i])
		groups[k] = append(groups[k], events[i])
	}
	return groups
}

func share(a, b int64) any {
	if b == 0 {
		return nil
	}
	return float64(a) / float64(b)
}

func oracleList(events []event.Interaction, emails []registry.Email, limit int) []map[string]any {
	rows := []map[string]any{}
	for _, e := range slices.Backward(emails) {
		if len(rows) == limit {
			break
		}
		mine := only(events, func(in *event.Interaction) bool { return in.Email == e.ID })
		full := map[string]any{}
		summary(full, pairsOf(mine), perEmail, "confirmed_openers_human")
		row := map[string]any{"email_id": int64(e.ID), "subject": e.Subject, "template": e.Template, "follow_state": string(e.Follow), "created_at": e.CreatedAt,
			"people": peopleIn(mine), "last_active_at_human": lastReaction(mine)}
		for _, name := range []string{"sent", "delivered", "openers_human", "clickers_human", "attachment_viewers_human", "repliers_human", "open_rate_human", "click_rate_human", "reply_rate_human"} {
			row[name] = full[name]
		}
		rows = append(rows, row)
	}
	return rows
}

// lastReaction is the time of the last reaction of a person, or nil.
func lastReaction(events []event.Interaction) any {
	var last any
	for _, in := range events {
		if at, ok := last.(event.Micros); reaction(&in) && byPerson(&in) && (!ok || in.OccurredAt > at) {
			last = in.OccurredAt
		}
	}
	return last
}

func wilson(x, n float64) (low, high float64) {
	p := x / n
	mid := p + 3.8416/(2.0*n)
	half := 1.96 * math.Sqrt(p*(1.0-p)/n+3.8416/(4.0*n*n))
	den := 1.0 + 3.8416/n
	return (mid - half) / den, (mid + half) / den
}

func oracleTemplates(events []event.Interaction, emails []registry.Email) []map[string]any {
	state := map[event.EmailID]registry.Email{}
	rows := map[string]map[string]any{}
	for _, e := range emails {
		state[e.ID] = e
		if e.Template == "" {
			continue
		}
		row := rows[e.Template]
		if row == nil {
			row = map[string]any{"template": e.Template, "emails": int64(0), "emails_followed": int64(0), "last_used_at": e.CreatedAt}
			rows[e.Template] = row
		}
		row["emails"] = row["emails"].(int64) + 1
		if e.Follow == registry.FollowOn {
			row["emails_followed"] = row["emails_followed"].(int64) + 1
		}
		row["last_used_at"] = max(row["last_used_at"].(event.Micros), e.CreatedAt)
	}
	followed := only(events, func(in *event.Interaction) bool { return state[in.Email].Follow == registry.FollowOn })
	whole := map[string]any{}
	summary(whole, pairsOf(followed), perEmail, "confirmed_openers_human")
	list := []map[string]any{}
	for name, row := range rows {
		mine := only(followed, func(in *event.Interaction) bool { return state[in.Email].Template == name })
		full := map[string]any{}
		summary(full, pairsOf(mine), perEmail, "confirmed_openers_human")
		for _, column := range []string{"sent", "delivered", "opens_total", "opens_human", "opens_machine", "openers_unique", "openers_human", "clickers_human",
			"replies_total", "repliers_human", "open_rate_human", "click_rate_human", "reply_rate_human"} {
			row[column] = full[column]
		}
		row["people"] = peopleIn(mine)
		row["open_rate_low"], row["open_rate_high"], row["reply_rate_low"], row["reply_rate_high"], row["recommended"] = nil, nil, nil, nil, false
		if d := full["delivered"].(int64); d > 0 {
			row["open_rate_low"], row["open_rate_high"] = wilson(float64(min(d, full["openers_human"].(int64))), float64(d))
			low, high := wilson(float64(min(d, full["repliers_human"].(int64))), float64(d))
			row["reply_rate_low"], row["reply_rate_high"] = low, high
			row["recommended"] = d >= 30 && low > float64(whole["repliers_human"].(int64))/float64(whole["delivered"].(int64))
		}
		list = append(list, row)
	}
	slices.SortFunc(list, func(a, b map[string]any) int {
		bound := func(row map[string]any, column string) float64 {
			if v, ok := row[column].(float64); ok {
				return v
			}
			return math.Inf(-1)
		}
		return cmp.Or(cmp.Compare(bound(b, "reply_rate_low"), bound(a, "reply_rate_low")),
			cmp.Compare(bound(b, "open_rate_low"), bound(a, "open_rate_low")), strings.Compare(a["template"].(string), b["template"].(string)))
	})
	return list
}

// component is a link or an attachment with the columns of its own.
type component struct {
	email   event.EmailID
	ordinal int32
	columns map[string]any
}

func oracleComponents(events []event.Interaction, parts []component, kind event.Kind) []map[string]any {
	rows := []map[string]any{}
	for _, c := range parts {
		mine := only(events, func(in *event.Interaction) bool { return in.Email == c.email })
		full := map[string]any{}
		summary(full, pairsOf(mine), perEmail, "confirmed_openers_human")
		used := only(mine, func(in *event.Interaction) bool { return in.Kind == kind && in.Component == c.ordinal })
		people, machines := only(used, byPerson), only(used, byMachine)
		row := map[string]any{"email_id": int64(c.email), "component": int64(c.ordinal), "people": peopleIn(mine), "delivered": full["delivered"],
			plurals[kind] + "_total": int64(len(used)), plurals[kind] + "_human": int64(len(people)), plurals[kind] + "_machine": int64(len(machines)),
			"people_unique": peopleIn(used), "people_human": peopleIn(people), "people_machine": peopleIn(machines),
			"rate_human": share(peopleIn(people), full["delivered"].(int64)), "share": share(int64(len(people)), full[plurals[kind]+"_human"].(int64)),
			"first_at_human": nil, "last_at_human": nil}
		for i, in := range people {
			if i == 0 || in.OccurredAt < row["first_at_human"].(event.Micros) {
				row["first_at_human"] = in.OccurredAt
			}
			if i == 0 || in.OccurredAt > row["last_at_human"].(event.Micros) {
				row["last_at_human"] = in.OccurredAt
			}
		}
		for name, v := range c.columns {
			row[name] = v
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b map[string]any) int {
		return cmp.Or(cmp.Compare(b["email_id"].(int64), a["email_id"].(int64)), cmp.Compare(a["component"].(int64), b["component"].(int64)))
	})
	return rows
}

func oracleTimes(events []event.Interaction, now event.Micros, window int64) []map[string]any {
	rows := []map[string]any{}
	for i, kind := range []event.Kind{event.Open, event.Click, event.Reply} {
		row := map[string]any{"event": []string{"open", "click", "reply"}[i], "p50_seconds": nil, "p75_seconds": nil, "p90_seconds": nil}
		type wait struct {
			t    event.Micros
			seen bool
		}
		var waits []wait
		set := map[event.RecipientID]bool{}
		var observed int64
		for k, mine := range group(events, func(in *event.Interaction) pairKey { return pairKey{in.Email, in.Recipient} }) {
			least := func(keep ...func(*event.Interaction) bool) *event.Micros {
				var at *event.Micros
				for i := range mine {
					if countOf(mine[i:i+1], keep...) == 1 && (at == nil || mine[i].OccurredAt < *at) {
						at = &mine[i].OccurredAt
					}
				}
				return at
			}
			start := least(ofKind(event.Delivered))
			if sent := least(ofKind(event.Sent)); sent == nil || countOf(mine, ofKind(event.Bounced)) > 0 {
				continue
			} else if start == nil {
				start = sent
			}
			set[k.recipient] = true
			w := wait{t: min(max(now-*start, 0), event.Micros(window)*dayMicros)}
			if first := least(ofKind(kind), byPerson); first != nil {
				if t := max(*first-*start, 0); t <= w.t {
					w = wait{t, true}
					observed++
				}
			}
			waits = append(waits, w)
		}
		if len(waits) == 0 {
			continue
		}
		slices.SortFunc(waits, func(a, b wait) int { return cmp.Compare(a.t, b.t) })
		s := big.NewRat(1, 1)
		for at := 0; at < len(waits); {
			end, seen := at, int64(0)
			for ; end < len(waits) && waits[end].t == waits[at].t; end++ {
				if waits[end].seen {
					seen++
				}
			}
			risk := int64(len(waits) - at)
			s = new(big.Rat).Mul(s, big.NewRat(risk-seen, risk))
			for name, q := range map[string]float64{"p50_seconds": 0.5, "p75_seconds": 0.25, "p90_seconds": 0.1} {
				if row[name] == nil && s.Cmp(new(big.Rat).SetFloat64(q+1e-9)) <= 0 {
					row[name] = float64(waits[at].t) / 1e6
				}
			}
			at = end
		}
		row["people"], row["delivered"], row["observed"], row["waiting"] = int64(len(set)), int64(len(waits)), observed, int64(len(waits))-observed
		rows = append(rows, row)
	}
	return rows
}

func oracleMix(events []event.Interaction, name func(*event.Interaction) string) []map[string]any {
	used := only(events, ofKind(event.Open, event.Click))
	rows := []map[string]any{}
	for name, mine := range group(used, name) {
		row := map[string]any{"name": name, "people": peopleIn(mine), "people_human": peopleIn(only(mine, byPerson)), "events_human": countOf(mine, byPerson),
			"share_human": share(countOf(mine, byPerson), countOf(used, byPerson))}
		for _, kind := range []event.Kind{event.Open, event.Click} {
			row[plurals[kind]+"_total"], row[plurals[kind]+"_human"], row[plurals[kind]+"_machine"] = countOf(mine, ofKind(kind)), countOf(mine, ofKind(kind), byPerson), countOf(mine, ofKind(kind), byMachine)
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b map[string]any) int {
		return cmp.Or(cmp.Compare(b["events_human"].(int64), a["events_human"].(int64)), strings.Compare(a["name"].(string), b["name"].(string)))
	})
	return rows
}

func oracleMachines(events []event.Interaction, name func(*event.Interaction) any) []map[string]any {
	rows := []map[string]any{}
	by := func(actors ...event.Actor) func(*event.Interaction) bool {
		return func(in *event.Interaction) bool { return slices.Contains(actors, in.Actor) }
	}
	for name, mine := range group(only(events, ofKind(event.Open, event.Click, event.AttachmentView)), name) {
		rows = append(rows, map[string]any{"name": name, "people": peopleIn(mine), "events_total": int64(len(mine)), "events_human": countOf(mine, byPerson),
			"events_machine": countOf(mine, byMachine), "events_prefetch": countOf(mine, by(event.Prefetch)), "events_scanner": countOf(mine, by(event.Scanner)),
			"events_bot": countOf(mine, by(event.Bot)), "events_unlabelled": countOf(mine, by(event.ActorUnknown)), "machine_share": share(countOf(mine, byMachine), int64(len(mine)))})
	}
	slices.SortFunc(rows, func(a, b map[string]any) int {
		text := func(v any) string {
			if s, ok := v.(string); ok {
				return s
			}
			return "\U0010FFFF" // NULL is last
		}
		return cmp.Or(cmp.Compare(b["events_total"].(int64), a["events_total"].(int64)), strings.Compare(text(a["name"]), text(b["name"])))
	})
	return rows
}

func oracleHeat(events []event.Interaction, zone *time.Location) []map[string]any {
	rows := []map[string]any{}
	for h, mine := range group(only(events, reaction), func(in *event.Interaction) int64 { return hourOfWeek(in.OccurredAt, zone) }) {
		row := map[string]any{"weekday": 1 + h/24, "hour": h % 24, "people": peopleIn(mine), "events_human": countOf(mine, byPerson), "events_machine": countOf(mine, byMachine)}
		for kind, plural := range plurals {
			row[plural+"_human"] = countOf(mine, ofKind(kind), byPerson)
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b map[string]any) int {
		return cmp.Compare(24*a["weekday"].(int64)+a["hour"].(int64), 24*b["weekday"].(int64)+b["hour"].(int64))
	})
	return rows
}

func oracleFollowed(events []event.Interaction, emails []registry.Email, sentTo map[event.EmailID]int64) []map[string]any {
	rows := []map[string]any{}
	for _, state := range []registry.FollowState{"on", "off", "blocked"} {
		var n, recipients int64
		ids := map[event.EmailID]bool{}
		for _, e := range emails {
			if e.Follow == state {
				n, recipients, ids[e.ID] = n+1, recipients+sentTo[e.ID], true
			}
		}
		if n == 0 {
			continue
		}
		mine := only(events, func(in *event.Interaction) bool { return ids[in.Email] })
		full := map[string]any{}
		summary(full, pairsOf(mine), perEmail, "confirmed_openers_human")
		row := map[string]any{"follow_state": string(state), "emails": n, "share": float64(n) / float64(len(emails)), "recipients": recipients, "people": peopleIn(mine)}
		for _, column := range []string{"sent", "delivered", "openers_human", "clickers_human", "repliers_human", "open_rate_human", "click_rate_human", "reply_rate_human"} {
			row[column] = full[column]
		}
		rows = append(rows, row)
	}
	return rows
}

func oracleCohorts(events []event.Interaction, zone *time.Location, weeks int64) []map[string]any {
	type cell struct {
		week  event.Micros
		after int64
	}
	type facts struct {
		did   [3]map[pairKey]bool
		first int64
	}
	cells := map[cell]*facts{}
	cohort, people := map[event.Micros]int64{}, map[event.Micros]map[event.RecipientID]bool{}
	for k, mine := range group(events, func(in *event.Interaction) pairKey { return pairKey{in.Email, in.Recipient} }) {
		var start event.Micros
		for _, in := range mine {
			if in.Kind == event.Sent && (start == 0 || in.OccurredAt < start) {
				start = in.OccurredAt
			}
		}
		if start == 0 {
			continue
		}
		week := event.At(startOf(start.Time().In(zone), "week"))
		if people[week] == nil {
			people[week] = map[event.RecipientID]bool{}
		}
		cohort[week]++
		people[week][k.recipient] = true
		firstOpen := int64(-1)
		for _, in := range mine {
			i := slices.Index([]event.Kind{event.Open, event.Click, event.Reply}, in.Kind)
			if i < 0 || !byPerson(&in) || in.OccurredAt < start {
				continue
			}
			at := cell{week, int64((in.OccurredAt - start) / (7 * dayMicros))}
			if cells[at] == nil {
				cells[at] = &facts{did: [3]map[pairKey]bool{{}, {}, {}}}
			}
			cells[at].did[i][k] = true
			if in.Kind == event.Open && (firstOpen < 0 || at.after < firstOpen) {
				firstOpen = at.after
			}
		}
		if firstOpen >= 0 {
			cells[cell{week, firstOpen}].first++
		}
	}
	rows := []map[string]any{}
	for at, f := range cells {
		if at.after >= weeks {
			continue
		}
		var opened int64
		for other, g := range cells {
			if other.week == at.week && other.after <= at.after {
				opened += g.first
			}
		}
		rows = append(rows, map[string]any{"week_start": at.week, "weeks_after": at.after, "people": int64(len(people[at.week])), "cohort": cohort[at.week],
			"openers_human": int64(len(f.did[0])), "clickers_human": int64(len(f.did[1])), "repliers_human": int64(len(f.did[2])),
			"first_openers_human": f.first, "open_rate_human": float64(opened) / float64(cohort[at.week])})
	}
	slices.SortFunc(rows, func(a, b map[string]any) int {
		return cmp.Or(cmp.Compare(a["week_start"].(event.Micros), b["week_start"].(event.Micros)), cmp.Compare(a["weeks_after"].(int64), b["weeks_after"].(int64)))
	})
	return rows
}
