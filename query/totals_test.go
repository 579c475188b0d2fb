package query

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

const minPeople = 4

// totalsWorld has emails with few and with many people, in which few and many react.
func totalsWorld(t *testing.T, seed uint64) (*world, []event.Interaction) {
	w := newWorld(t)
	r := rand.New(rand.NewPCG(seed, 2))
	var events []event.Interaction
	id := int64(0)
	add := func(kind event.Kind, email, recipient int, actor event.Actor) {
		id++
		at := event.Micros(1.75e15) + event.Micros(r.Int64N(10*24*3600))*1e6
		events = append(events, event.Interaction{ID: id, OccurredAt: at, ReceivedAt: at, Kind: kind, Email: event.EmailID(email), Recipient: event.RecipientID(recipient), Actor: actor})
	}
	for email := 1; email <= 12; email++ {
		w.org(1).emails = append(w.org(1).emails, registry.Email{ID: event.EmailID(email), Template: "t", CreatedAt: 1.75e15})
		people, eager := 1+r.IntN(24), r.IntN(85)
		for p := 1; p <= people; p++ {
			add(event.Sent, email, p, event.Human)
			for _, kind := range Purposes() {
				for r.IntN(100) < eager {
					add(kind, email, p, []event.Actor{event.Human, event.Proxy, event.Prefetch}[r.IntN(3)])
				}
			}
		}
	}
	w.add(1, events...)
	return w, events
}

func (w *world) openTotals() *DB {
	return w.openWorkers(func(o *Options) { o.Worker.MinPeople = minPeople })
}

func askTotals(t *testing.T, db *DB, text string) []map[string]any {
	t.Helper()
	res, err := db.SQL(t.Context(), Statement{Org: 1, Text: text})
	return rowsOf(t, res, err)
}

// Both doors show the same rounded figures, and none of few.
func TestTotalsAreOfMany(t *testing.T) {
	shown, hidden := 0, 0
	for seed := range uint64(4) {
		w, events := totalsWorld(t, seed)
		db := w.openTotals()
		exact := map[string]map[event.RecipientID]bool{}
		for _, in := range events {
			for _, key := range []string{fmt.Sprint(in.Kind.String(), in.Email), fmt.Sprint(in.Kind.String(), int64(in.OccurredAt)/86400e6)} {
				if exact[key] == nil {
					exact[key] = map[event.RecipientID]bool{}
				}
				exact[key][in.Recipient] = true
			}
		}
		check := func(key string, v any, unit int64) {
			n, ok := v.(int64)
			if !ok {
				hidden++
				return
			}
			shown++
			if e := int64(len(exact[key])); n%(minPeople*unit) != 0 || e < minPeople || unit == 1 && 2*max(n-e, e-n) >= 3*minPeople {
				t.Errorf("seed %d: %s is %d of %d people", seed, key, n, e)
			}
		}
		res, err := db.KPI(t.Context(), Request{Org: 1, Name: "email_list"})
		listed := map[any]map[string]any{}
		for _, row := range rowsOf(t, res, err) {
			listed[row["email_id"]] = row
		}
		for _, row := range askTotals(t, db, "SELECT * EXCLUDE (created_on) FROM email_totals") {
			id := row["email_id"]
			for kind, names := range map[string][2]string{"sent": {"people", "people"}, "open": {"people_opened", "opens"}, "click": {"people_clicked", "clicks"}, "attachment_view": {"people_viewed", "attachment_views"}, "reply": {"people_replied", "replies"}} {
				check(fmt.Sprint(kind, id), row[names[0]], 1)
				if kind != "sent" {
					check(fmt.Sprint(kind, id), row[names[1]], oftenMost)
				}
			}
			for totals, kpi := range map[string]string{"people": "people", "people_opened_human": "openers_human", "people_clicked_human": "clickers_human"} {
				if listed[id] == nil || row[totals] != listed[id][kpi] {
					t.Errorf("seed %d: email %d: SQL says %v, the KPI %v", seed, id, row[totals], listed[id])
				}
			}
		}
		for _, row := range askTotals(t, db, "SELECT kind, epoch(day)::BIGINT // 86400 AS day, people, events FROM day_totals") {
			check(fmt.Sprint(row["kind"], row["day"]), row["people"], 1)
			check(fmt.Sprint(row["kind"], row["day"]), row["events"], oftenMost)
		}
	}
	if shown < 50 || hidden < 50 {
		t.Errorf("%d figures shown and %d hidden: the histories prove little", shown, hidden)
	}
}

// What one person does moves one figure in k at most, on both doors, and by k.
func TestOnePersonHardlyCounts(t *testing.T) {
	moved, all := 0, 0
	for seed := range uint64(3) {
		w, _ := totalsWorld(t, seed)
		now := time.Unix(1_760_000_000, 0)
		db := w.openWorkers(func(o *Options) {
			o.Worker.MinPeople = minPeople
			o.Clock = func() time.Time { return now }
			o.Secret = func(context.Context, event.OrgID) ([]byte, error) { return fmt.Append(nil, seed), nil }
		})
		before := figuresOf(t, db)
		for i := range 12 {
			in := open1(int64(1<<20 + i))
			in.Email, in.Recipient, in.Actor = event.EmailID(i+1), 1000, event.Human
			sent := in
			sent.ID, sent.Kind = in.ID+100, event.Sent
			w.add(1, in, sent)
		}
		now = now.Add(totalsAge)
		after := figuresOf(t, db)
		for name, n := range before {
			all++
			if m, ok := after[name]; ok && m != n {
				moved++
				if (m-n)%minPeople != 0 {
					t.Errorf("%s moves from %d to %d", name, n, m)
				}
			}
		}
	}
	if all < 200 || moved > all/minPeople || moved == 0 {
		t.Errorf("%d of %d figures moved", moved, all)
	}
}

// figuresOf are all figures that those see who may not see persons, named.
func figuresOf(t *testing.T, db *DB) map[string]int64 {
	figures := map[string]int64{}
	note := func(door string, d disclosure, rows []map[string]any) {
		for _, row := range rows {
			for name, v := range row {
				if n, ok := v.(int64); ok && !words(d.plain)[name] {
					figures[door+" "+groupName(&d, row)+" "+name] = n
				}
			}
		}
	}
	for name, d := range kpiDisclosures {
		res, err := db.KPI(t.Context(), Request{Org: 1, Name: name})
		note(name, d, rowsOf(t, res, err))
	}
	note("email_totals", totalDisclosures["email_totals"], askTotals(t, db, "SELECT * EXCLUDE (created_on), 0 AS created_on FROM email_totals"))
	note("day_totals", totalDisclosures["day_totals"], askTotals(t, db, "SELECT * REPLACE (epoch(day)::BIGINT AS day) FROM day_totals"))
	return figures
}

// Whoever may not see persons reaches nothing but totals.
func TestTotalsAreAll(t *testing.T) {
	w, _ := totalsWorld(t, 1)
	db := w.openTotals()
	list := readList(t, "attacks.txt", strings.NewReplacer())
	for _, a := range list {
		if a.group == "exhaustion" {
			continue
		}
		res, err := db.SQL(t.Context(), Statement{Org: 1, Text: a.text})
		if err == nil {
			res.Close()
			for _, table := range surfaceOrder {
				if a.group != "scopes of WITH" && strings.Contains(a.text, "FROM "+table) {
					t.Errorf("answered: %s", a.text)
				}
			}
		} else if p := problem.Of(err); p.Code == "internal" {
			t.Errorf("%s: %v", a.text, err)
		}
	}
	for _, table := range surfaceOrder {
		_, err := db.SQL(t.Context(), Statement{Org: 1, Text: "SELECT * FROM " + table})
		if p := problem.Of(err); p.Code != "sql_forbidden" || !strings.Contains(p.Detail, "there are email_totals, day_totals") {
			t.Errorf("%s: %v", table, err)
		}
	}
	if got := askTotals(t, db, "SELECT e.email_id FROM email_totals e, day_totals d LIMIT 1"); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

// Totals follow consent at once, and new events after totalsAge.
func TestTotalsAge(t *testing.T) {
	w, _ := totalsWorld(t, 3)
	now := time.Unix(1_760_000_000, 0)
	db := w.openWorkers(func(o *Options) {
		o.Worker.MinPeople = 1
		o.Clock = func() time.Time { return now }
	})
	sum := func() string {
		return fmt.Sprint(askTotals(t, db, "SELECT sum(people)::BIGINT AS people, sum(opens)::BIGINT AS opens FROM email_totals"))
	}
	first := sum()
	w.add(1, event.Interaction{ID: 1 << 40, Kind: event.Sent, Email: 1, Recipient: 99, OccurredAt: 1.75e15, ReceivedAt: 1.75e15})
	if got := sum(); got != first {
		t.Errorf("%s after %s, at once", got, first)
	}
	now = now.Add(totalsAge)
	if got := sum(); got == first {
		t.Errorf("%s is still said", got)
	}
	second := sum()
	w.mu.Lock()
	w.orgs[1].rules.Consent = Consent{OptIn: true, Version: 2, Granted: func(event.Kind) iter.Seq[event.RecipientID] { return func(func(event.RecipientID) bool) {} }}
	w.mu.Unlock()
	if got := sum(); got == second || !strings.Contains(got, "opens:<nil>") {
		t.Errorf("%s after consent has changed", got)
	}
}
