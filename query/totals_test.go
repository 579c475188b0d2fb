package query

import (
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
		people, eager := 1+r.IntN(14), r.IntN(85)
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

// No figure and no difference of figures is about fewer than k people.
func TestTotalsAreOfMany(t *testing.T) {
	few := func(n int64) bool { return n > 0 && n < minPeople }
	shown, hidden := 0, 0
	for seed := range uint64(8) {
		w, events := totalsWorld(t, seed)
		db := w.openTotals()
		sums := map[string]int64{}
		audience := map[int64]int64{}
		for _, row := range askTotals(t, db, "SELECT * EXCLUDE (created_on) FROM email_totals") {
			people := row["people"].(int64)
			audience[row["email_id"].(int64)] = people
			if people < minPeople {
				t.Errorf("seed %d: an email of %d people", seed, people)
			}
			for _, name := range []string{"bounced", "opened", "opened_human", "clicked", "clicked_human", "viewed", "replied"} {
				n, ok := row["people_"+name].(int64)
				if !ok {
					hidden++
					continue
				}
				shown++
				outer, human := row["people_"+strings.TrimSuffix(name, "_human")].(int64)
				if few(n) || few(people-n) || human && few(outer-n) {
					t.Errorf("seed %d: %s is %d of %d", seed, name, n, people)
				}
			}
			for kind, name := range map[string]string{"open": "opens", "click": "clicks", "attachment_view": "attachment_views", "reply": "replies"} {
				if n, ok := row[name].(int64); ok {
					sums[kind] += n
				}
			}
		}
		for _, row := range askTotals(t, db, "SELECT kind, first_day::TIMESTAMP AS first, last_day::TIMESTAMP AS last, people, events FROM day_totals") {
			kind := row["kind"].(string)
			sums[kind] -= row["events"].(int64)
			if row["people"].(int64) < minPeople {
				t.Errorf("seed %d: days of %v people", seed, row["people"])
			}
			who := map[event.RecipientID]bool{}
			for _, in := range events {
				if in.Kind.String() == kind && audience[int64(in.Email)] > 0 && in.OccurredAt >= row["first"].(event.Micros) && in.OccurredAt < row["last"].(event.Micros)+event.Micros(24*time.Hour/time.Microsecond) {
					who[in.Recipient] = true
				}
			}
			if n := row["people"].(int64); n > int64(len(who)) {
				t.Errorf("seed %d: %d people in %s from %v, and there are %d", seed, n, kind, row["first"], len(who))
			}
		}
		for kind, rest := range sums {
			if rest != 0 {
				t.Errorf("seed %d: the days of %s differ from the emails by %d", seed, kind, rest)
			}
		}
	}
	if shown < 50 || hidden < 50 {
		t.Errorf("%d figures shown and %d hidden: the histories prove little", shown, hidden)
	}
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
	if got := sum(); got == second || !strings.Contains(got, "opens:0") {
		t.Errorf("%s after consent has changed", got)
	}
}
