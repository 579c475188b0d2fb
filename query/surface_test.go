package query

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// What the head of a published table says of its columns is what DuckDB returns,
// and the empty organisation's columns have the types of all others.
func TestSchemaIsTrue(t *testing.T) {
	w := newWorld(t)
	db := w.open(nil)
	types := map[string]string{"bigint": "int64", "integer": "int32", "double": "float64", "varchar": "utf8", "boolean": "bool", "date": "date32", "timestamp": "timestamp[us]"}
	look := func() {
		for _, table := range Schema() {
			res, err := db.SQL(t.Context(), Statement{Org: 1, Text: "SELECT * FROM " + table.Name})
			if err != nil {
				t.Fatal(table.Name, err)
			}
			var want, got []string
			for _, c := range table.Columns {
				want = append(want, c.Name+" "+types[c.Type])
			}
			for _, f := range res.Schema().Fields() {
				got = append(got, fmt.Sprintf("%s %s", f.Name, f.Type))
			}
			res.Close()
			if !slices.Equal(got, want) {
				t.Errorf("%s returns\n%s\nand its head says\n%s", table.Name, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
	look()
	w.add(1, open1(1))
	look()
	w.flush(1, 1)
	look()
}

// consentOf makes a Consent of lists of recipients by kind.
func consentOf(version uint64, optIn bool, lists map[event.Kind][]event.RecipientID) Consent {
	members := func(kind event.Kind) iter.Seq[event.RecipientID] { return slices.Values(lists[kind]) }
	return Consent{OptIn: optIn, Version: version, Denied: members, Granted: members}
}

func (w *world) setRules(change func(*Rules)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.org(1).rules)
}

// A refusal counts from the next query on, in hot data and in files, per purpose,
// and what needs no consent stays.
func TestConsentInTheSurface(t *testing.T) {
	w := newWorld(t)
	dbs := []*DB{w.open(nil), w.openWorkers(nil)}
	id := int64(0)
	for recipient := range event.RecipientID(3) {
		for kind := event.Open; kind <= event.Unsubscribed; kind++ {
			in := open1(id)
			id++
			in.ID, in.Kind, in.Recipient = id, kind, recipient+1
			w.add(1, in)
		}
	}
	w.flush(1, 13)
	rest := " sent delivered bounced complained unsubscribed"
	for i, c := range []struct {
		optIn bool
		lists map[event.Kind][]event.RecipientID
		want  [3]string // kinds that are shown of recipients 1 to 3
	}{
		{false, nil, [3]string{"open click attachment_view reply", "open click attachment_view reply", "open click attachment_view reply"}},
		{false, map[event.Kind][]event.RecipientID{event.Open: {1, 3}, event.Reply: {3}, event.Sent: {1}}, [3]string{"click attachment_view reply", "open click attachment_view reply", "click attachment_view"}},
		{false, map[event.Kind][]event.RecipientID{event.Click: {2}, event.AttachmentView: {2, 70000}}, [3]string{"open click attachment_view reply", "open reply", "open click attachment_view reply"}},
		{true, map[event.Kind][]event.RecipientID{event.Click: {2}, event.AttachmentView: {1, 2, 70000}}, [3]string{"attachment_view", "click attachment_view", ""}},
		{true, nil, [3]string{}},
		{false, nil, [3]string{"open click attachment_view reply", "open click attachment_view reply", "open click attachment_view reply"}},
	} {
		w.setRules(func(r *Rules) { r.Consent = consentOf(uint64(i), c.optIn, c.lists) })
		for recipient, kinds := range c.want {
			want := strings.Fields(kinds + rest)
			slices.Sort(want)
			for _, db := range dbs {
				res, err := db.SQL(t.Context(), Statement{Org: 1, Persons: true, Text: fmt.Sprintf("SELECT kind FROM interactions WHERE recipient_id = %d ORDER BY kind", recipient+1)})
				var got []string
				for _, row := range rowsOf(t, res, err) {
					got = append(got, row["kind"].(string))
				}
				if !slices.Equal(got, want) {
					t.Errorf("step %d, worker %v: of recipient %d there is %v, want %v", i, db.work != nil, recipient+1, got, want)
				}
			}
		}
	}
}

// Large and small changes of consent leave the same table.
func TestConsentInBulk(t *testing.T) {
	w := newWorld(t)
	db := w.open(nil)
	var events []event.Interaction
	for i := range int64(3 * fewChanges) {
		in := open1(i + 1)
		in.Recipient = event.RecipientID(i + 1)
		events = append(events, in)
	}
	w.add(1, events...)
	w.flush(1, fewChanges)
	var all, odd []event.RecipientID
	for _, in := range events {
		if all = append(all, in.Recipient); in.Recipient%2 == 1 {
			odd = append(odd, in.Recipient)
		}
	}
	for i, refused := range [][]event.RecipientID{all, odd, nil, odd, odd[:5], all} {
		w.setRules(func(r *Rules) {
			r.Consent = consentOf(uint64(i), false, map[event.Kind][]event.RecipientID{event.Open: refused})
		})
		if got := ask(t, db, 1, census)[0]["n"]; got != int64(len(all)-len(refused)) {
			t.Errorf("step %d: %v are shown, want %d", i, got, len(all)-len(refused))
		}
	}
}

// What others report twice is shown once, as it came first, wherever the copies are.
func TestReportedTwice(t *testing.T) {
	w := newWorld(t)
	db := w.open(nil)
	report := func(id int64, received event.Micros) event.Interaction {
		in := open1(5)
		in.ID, in.Source, in.ReceivedAt = id, event.API, in.OccurredAt+received
		return in
	}
	expect := func(want ...event.Micros) {
		t.Helper()
		var got []event.Micros
		for _, row := range ask(t, db, 1, "SELECT event_id, epoch_us(received_at) - epoch_us(occurred_at) AS late FROM interactions ORDER BY event_id") {
			got = append(got, event.Micros(row["late"].(int64)))
		}
		if !slices.Equal(got, want) {
			t.Errorf("shown are %v, want %v", got, want)
		}
	}
	w.add(1, report(-7, 30), report(-7, 20))
	expect(20)
	w.flush(1, 1)
	expect(20)
	w.add(1, open1(9), report(-6, 3))
	expect(20, 3, 0)
	w.flush(1, math.MaxInt)
	w.add(1, report(-7, 10), report(-6, 5))
	expect(10, 3, 0)
	w.flush(1, math.MaxInt)
	expect(10, 3, 0)
	if got := ask(t, db, 1, "SELECT opens FROM engagement"); len(got) != 2 {
		t.Errorf("engagement has %v", got)
	}
}

func TestAgeLimit(t *testing.T) {
	w := newWorld(t)
	now := time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC)
	db := w.open(func(o *Options) { o.Clock = func() time.Time { return now } })
	for i := range int64(10) {
		in := open1(i + 1)
		in.OccurredAt = event.At(now.Add(-time.Duration(i) * 24 * time.Hour))
		w.add(1, in)
	}
	w.flush(1, 5)
	for days, want := range map[int]int64{0: 10, 1: 1, 3: 3, 9: 9, 100: 10} {
		w.setRules(func(r *Rules) { r.MaxAge = time.Duration(days) * 24 * time.Hour })
		if got := ask(t, db, 1, census)[0]["n"]; got != want {
			t.Errorf("with at most %d days %v are shown, want %d", days, got, want)
		}
	}
}

func TestFeatureDisabled(t *testing.T) {
	w := newWorld(t)
	db := w.open(nil)
	w.add(1, open1(1))
	for _, state := range []registry.OrgState{registry.OrgDisabled, registry.OrgTerminated, "", registry.OrgEnabled} {
		w.setRules(func(r *Rules) { r.State = state })
		_, err := db.SQL(t.Context(), Statement{Org: 1, Text: census})
		_, kpiErr := db.KPI(t.Context(), Request{Org: 1, Persons: true, Name: "organisation_summary"})
		for _, err := range []error{err, kpiErr} {
			if p := problem.Of(err); state != registry.OrgEnabled && (p.Code != "feature_disabled" || p.Status != 409) || state == registry.OrgEnabled && err != nil {
				t.Errorf("%s: %v", state, err)
			}
		}
	}
}

// An email that was blocked and is retried becomes another row, with its links,
// here and in a worker.
func TestRetriedEmail(t *testing.T) {
	w := newWorld(t)
	o := w.org(1)
	o.emails = []registry.Email{{ID: 1, Follow: registry.FollowBlocked}, {ID: 2, Follow: registry.FollowOn}}
	o.links = []registry.Link{{Email: 2, Ordinal: 1, URL: "https://two"}}
	dbs := []*DB{w.open(nil), w.openWorkers(nil)}
	expect := func(want string) {
		t.Helper()
		for i, db := range dbs {
			res, err := db.SQL(t.Context(), Statement{Org: 1, Persons: true, Text: "SELECT email_id, follow_state, links, recipients, count(url) AS urls FROM emails LEFT JOIN links USING (email_id) GROUP BY ALL ORDER BY 1"})
			var got []string
			for _, row := range rowsOf(t, res, err) {
				got = append(got, fmt.Sprintln(row["email_id"], row["follow_state"], row["links"], row["urls"], row["recipients"]))
			}
			if text := strings.ReplaceAll(strings.Join(got, ", "), "\n", ""); text != want {
				t.Errorf("database %d has %s, want %s", i, text, want)
			}
		}
	}
	expect("1 blocked 0 0 0, 2 on 1 1 0")
	w.mu.Lock()
	o.emails = []registry.Email{o.emails[1], o.emails[1], {ID: 1, Follow: registry.FollowOn}, {ID: 3, Follow: registry.FollowOff}}
	o.links = []registry.Link{{Email: 1, Ordinal: 1, URL: "https://one"}, {Email: 1, Ordinal: 2, URL: "https://more"}, o.links[0]}
	o.sentTo = []registry.EmailRecipient{{Email: 1, Recipient: 4}, {Email: 3, Recipient: 4}}
	w.mu.Unlock()
	expect("1 on 2 2 1, 2 on 1 1 0, 3 off 0 0 1")
	expect("1 on 2 2 1, 2 on 1 1 0, 3 off 0 0 1")
}
