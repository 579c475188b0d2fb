package query

import (
	"cmp"
	"slices"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

// The KPIs once more, in plain Go.

type pairKey struct {
	email     event.EmailID
	recipient event.RecipientID
}

// pairFacts counts the events of one email and recipient by kind and by who: all,
// human, machine.
type pairFacts struct {
	counts      map[event.Kind]*[3]int64
	first, last [3]*event.Micros // opens
}

const (
	anyone = iota
	human
	machine
)

func classes(a event.Actor) []int {
	switch a {
	case event.Human, event.Proxy:
		return []int{anyone, human}
	case event.Prefetch, event.Scanner, event.Bot:
		return []int{anyone, machine}
	}
	return []int{anyone}
}

func pairsOf(events []event.Interaction) map[pairKey]*pairFacts {
	pairs := map[pairKey]*pairFacts{}
	for _, in := range events {
		k := pairKey{in.Email, in.Recipient}
		p := pairs[k]
		if p == nil {
			p = &pairFacts{counts: map[event.Kind]*[3]int64{}}
			for kind := range event.Kinds() {
				p.counts[event.Kind(kind)] = new([3]int64)
			}
			pairs[k] = p
		}
		for _, c := range classes(in.Actor) {
			p.counts[in.Kind][c]++
			if in.Kind == event.Open {
				p.first[c] = least(p.first[c], &in.OccurredAt, -1)
				p.last[c] = least(p.last[c], &in.OccurredAt, 1)
			}
		}
	}
	return pairs
}

// least returns the smaller time for sign -1, the greater for 1; nil is none.
func least(a, b *event.Micros, sign int) *event.Micros {
	if a == nil || b != nil && cmp.Compare(*b, *a) == sign {
		if b == nil {
			return nil
		}
		v := *b
		return &v
	}
	return a
}

var (
	perEmail     = map[event.Kind]string{event.Open: "openers", event.Click: "clickers", event.AttachmentView: "attachment_viewers", event.Reply: "repliers"}
	perRecipient = map[event.Kind]string{event.Open: "emails_opened", event.Click: "emails_clicked", event.AttachmentView: "emails_attachment_viewed", event.Reply: "emails_replied"}
	plurals      = map[event.Kind]string{event.Open: "opens", event.Click: "clicks", event.AttachmentView: "attachment_views", event.Reply: "replies"}
)

// summary adds the columns that three of the KPIs share.
func summary(row map[string]any, pairs map[pairKey]*pairFacts, unique map[event.Kind]string, confirmed string) {
	n := map[string]int64{}
	var first, last [3]*event.Micros
	for _, p := range pairs {
		yes := func(name string, is bool) {
			if n[name] += 0; is {
				n[name]++
			}
		}
		sent := p.counts[event.Sent][anyone] > 0
		bounced := p.counts[event.Bounced][anyone] > 0
		yes("sent", sent)
		yes("bounced", sent && bounced)
		yes("delivered", sent && !bounced)
		yes("complained", p.counts[event.Complained][anyone] > 0)
		yes("unsubscribed", p.counts[event.Unsubscribed][anyone] > 0)
		yes(confirmed, p.counts[event.Open][human]+p.counts[event.Click][human] > 0)
		for kind, plural := range plurals {
			for c, suffix := range []string{"_total", "_human", "_machine"} {
				n[plural+suffix] += p.counts[kind][c]
			}
			for c, suffix := range []string{"_unique", "_human", "_machine"} {
				yes(unique[kind]+suffix, p.counts[kind][c] > 0)
			}
		}
		for c := range first {
			first[c], last[c] = least(first[c], p.first[c], -1), least(last[c], p.last[c], 1)
		}
	}
	if len(pairs) == 0 {
		for _, name := range []string{"sent", "bounced", "delivered", "complained", "unsubscribed", confirmed} {
			n[name] = 0
		}
		for kind, plural := range plurals {
			for _, suffix := range []string{"_total", "_human", "_machine"} {
				n[plural+suffix] = 0
			}
			for _, suffix := range []string{"_unique", "_human", "_machine"} {
				n[unique[kind]+suffix] = 0
			}
		}
	}
	for name, v := range n {
		row[name] = v
	}
	ratio := func(name, numerator, denominator string) {
		if row[name] = nil; n[denominator] > 0 {
			row[name] = float64(n[numerator]) / float64(n[denominator])
		}
	}
	ratio("delivery_rate", "delivered", "sent")
	for name, kind := range map[string]event.Kind{"open_rate": event.Open, "click_rate": event.Click, "reply_rate": event.Reply} {
		ratio(name, unique[kind]+"_unique", "delivered")
		ratio(name+"_human", unique[kind]+"_human", "delivered")
	}
	ratio("click_to_open_rate_human", unique[event.Click]+"_human", confirmed)
	for name, t := range map[string]*event.Micros{"first_opened_at": first[anyone], "first_opened_at_human": first[human],
		"last_opened_at": last[anyone], "last_opened_at_human": last[human]} {
		if row[name] = nil; t != nil {
			row[name] = *t
		}
	}
}

func only(events []event.Interaction, keep func(*event.Interaction) bool) []event.Interaction {
	var kept []event.Interaction
	for i := range events {
		if keep(&events[i]) {
			kept = append(kept, events[i])
		}
	}
	return kept
}

func oracleOrganisation(events []event.Interaction, emails []registry.Email) []map[string]any {
	sent, reached := map[event.EmailID]bool{}, map[event.RecipientID]bool{}
	for _, in := range events {
		if in.Kind == event.Sent {
			sent[in.Email], reached[in.Recipient] = true, true
		}
	}
	followed := 0
	for _, e := range emails {
		if e.Follow == registry.FollowOn {
			followed++
		}
	}
	row := map[string]any{"emails_total": int64(len(emails)), "emails_followed": int64(followed), "people": peopleIn(events), "emails_sent": int64(len(sent)), "people_reached": int64(len(reached))}
	summary(row, pairsOf(events), perEmail, "confirmed_openers_human")
	return []map[string]any{row}
}

func oracleEmails(events []event.Interaction, emails []registry.Email, links, attached map[event.EmailID]int64, limit int) []map[string]any {
	rows := []map[string]any{}
	for _, e := range slices.Backward(emails) {
		if len(rows) == limit {
			break
		}
		mine := only(events, func(in *event.Interaction) bool { return in.Email == e.ID })
		row := map[string]any{"email_id": int64(e.ID), "subject": e.Subject, "template": e.Template, "follow_state": string(e.Follow), "created_at": e.CreatedAt,
			"links": links[e.ID], "attachments": attached[e.ID], "people": peopleIn(mine), "sent_at": nil}
		var sentAt *event.Micros
		for _, in := range mine {
			if in.Kind == event.Sent {
				sentAt = least(sentAt, &in.OccurredAt, -1)
			}
		}
		if sentAt != nil {
			row["sent_at"] = *sentAt
		}
		summary(row, pairsOf(mine), perEmail, "confirmed_openers_human")
		rows = append(rows, row)
	}
	return rows
}

func oracleRecipients(events []event.Interaction, people map[event.RecipientID]registry.Recipient, limit int) []map[string]any {
	by := map[event.RecipientID][]event.Interaction{}
	for _, in := range events {
		by[in.Recipient] = append(by[in.Recipient], in)
	}
	rows := []map[string]any{}
	for id, mine := range by {
		row := map[string]any{"recipient_id": int64(id), "address": nil, "name": nil, "last_active_at_human": nil}
		if r, ok := people[id]; ok {
			row["address"], row["name"] = r.Address, r.Name
		}
		var active *event.Micros
		for _, in := range mine {
			if in.Kind <= event.Reply && (in.Actor == event.Human || in.Actor == event.Proxy) {
				active = least(active, &in.OccurredAt, 1)
			}
		}
		if active != nil {
			row["last_active_at_human"] = *active
		}
		summary(row, pairsOf(mine), perRecipient, "emails_confirmed_opened_human")
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b map[string]any) int {
		x, _ := a["last_active_at_human"].(event.Micros)
		y, _ := b["last_active_at_human"].(event.Micros)
		return cmp.Or(cmp.Compare(y, x), cmp.Compare(a["recipient_id"].(int64), b["recipient_id"].(int64)))
	})
	return rows[:min(limit, len(rows))]
}

func oracleTimeline(events []event.Interaction, bucket string, zone *time.Location) []map[string]any {
	by := map[event.Micros][]event.Interaction{}
	for _, in := range events {
		start := event.At(startOf(in.OccurredAt.Time().In(zone), bucket))
		by[start] = append(by[start], in)
	}
	rows := []map[string]any{}
	for start, mine := range by {
		row := map[string]any{"bucket_start": start, "people": peopleIn(mine)}
		full := map[string]any{}
		summary(full, pairsOf(mine), perEmail, "confirmed_openers_human")
		for _, name := range []string{"openers_unique", "openers_human", "clickers_unique", "clickers_human"} {
			row[name] = full[name]
		}
		for _, plural := range plurals {
			for _, suffix := range []string{"_total", "_human", "_machine"} {
				row[plural+suffix] = full[plural+suffix]
			}
		}
		row["sent"] = int64(len(only(mine, func(in *event.Interaction) bool { return in.Kind == event.Sent })))
		row["bounced"] = int64(len(only(mine, func(in *event.Interaction) bool { return in.Kind == event.Bounced })))
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b map[string]any) int {
		return cmp.Compare(a["bucket_start"].(event.Micros), b["bucket_start"].(event.Micros))
	})
	return rows
}

func startOf(t time.Time, bucket string) time.Time {
	y, m, d := t.Date()
	switch bucket {
	case "minute":
		return t.Truncate(time.Minute)
	case "hour": // zones of whole hours only
		return t.Truncate(time.Hour)
	case "day":
		return time.Date(y, m, d, 0, 0, 0, 0, t.Location())
	case "week":
		return time.Date(y, m, d-(int(t.Weekday())+6)%7, 0, 0, 0, 0, t.Location())
	}
	return time.Date(y, m, 1, 0, 0, 0, 0, t.Location())
}
