package query

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// randomEvents returns events of every kind, actor and shape over a year, with
// repeats, ties in time, reactions of bounced recipients and strangers.
func randomEvents(r *rand.Rand, n int) []event.Interaction {
	start := event.At(time.Date(2025, 9, 1, 0, 0, 0, 0, time.UTC))
	events := make([]event.Interaction, n)
	for i := range events {
		events[i] = event.Interaction{
			ID: int64(i + 1), OccurredAt: start + event.Micros(r.Int64N(300*24*3600))*1e6,
			Kind: event.Kind(1 + r.IntN(len(event.Kinds())-1)), Email: event.EmailID(1 + r.IntN(12)), Recipient: event.RecipientID(1 + r.IntN(40)),
			Actor: event.Actor(r.IntN(len(event.Actors()))), Device: event.Device(r.IntN(4)), Source: event.Source(r.IntN(5)), Component: int32(r.IntN(3)),
		}
		if r.IntN(3) > 0 { // many sent, few bounced
			events[i].Kind = []event.Kind{event.Sent, event.Open, event.Click}[r.IntN(3)]
		}
		if i > 0 && r.IntN(10) == 0 {
			events[i].OccurredAt = events[i-1].OccurredAt
		}
		events[i].ReceivedAt = events[i].OccurredAt + event.Micros(r.IntN(5e6))
	}
	return events
}

type scene struct {
	db     *DB
	events []event.Interaction
	emails []registry.Email
	people map[event.RecipientID]registry.Recipient
	links  map[event.EmailID]int64
}

// newScene spreads n random events over files and segments.
func newScene(t *testing.T, n int) *scene {
	r := rand.New(rand.NewPCG(uint64(n), 7))
	w := newWorld(t)
	s := &scene{db: w.open(nil), events: randomEvents(r, n), people: map[event.RecipientID]registry.Recipient{}, links: map[event.EmailID]int64{}}
	o := w.org(1)
	for id := range event.EmailID(14) { // two without events
		e := registry.Email{ID: id + 1, Subject: fmt.Sprintf("Subject %d", id), Template: []string{"", "welcome"}[id%2], CreatedAt: event.Micros(id) * 1e9}
		s.emails = append(s.emails, e)
		for l := range int32(id) % 4 {
			o.links = append(o.links, registry.Link{Email: e.ID, Ordinal: l + 1, URL: "https://example.com"})
			s.links[e.ID]++
		}
	}
	for id := range event.RecipientID(35) { // five are strangers
		p := registry.Recipient{ID: id + 1, Address: fmt.Sprintf("p%d@example.com", id), Name: "Péter"}
		s.people[p.ID] = p
		o.recipients = append(o.recipients, p)
	}
	o.emails = s.emails
	for at := 0; at < n; {
		k := min(1+r.IntN(max(1, n/4)), n-at)
		w.add(1, s.events[at:at+k]...)
		at += k
		if r.IntN(2) == 0 {
			ask(t, s.db, 1, census)
		}
		if r.IntN(2) == 0 {
			w.flush(1, r.IntN(n))
		}
	}
	return s
}

func (s *scene) expect(t *testing.T, name string, params map[string]string, want []map[string]any) {
	t.Helper()
	res, err := s.db.KPI(t.Context(), Request{Org: 1, Name: name, Params: params})
	got := rowsOf(t, res, err)
	if len(got) != len(want) {
		t.Fatalf("%s %v: %d rows, want %d", name, params, len(got), len(want))
	}
	for i := range want {
		for column, v := range want[i] {
			if got[i][column] != v {
				t.Errorf("%s %v: row %d: %s is %v, want %v", name, params, i, column, got[i][column], v)
			}
		}
		for column := range got[i] {
			if _, ok := want[i][column]; !ok {
				t.Errorf("%s: column %s is not in the oracle", name, column)
			}
		}
	}
}

func TestKPIsAgainstOracle(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 60, 5000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			s := newScene(t, n)
			of := func(email event.EmailID, recipient event.RecipientID) []event.Interaction {
				return only(s.events, func(in *event.Interaction) bool {
					return (email == 0 || in.Email == email) && (recipient == 0 || in.Recipient == recipient)
				})
			}
			s.expect(t, "organisation_summary", nil, oracleOrganisation(s.events, s.emails))
			s.expect(t, "email_summary", nil, oracleEmails(s.events, s.emails, s.links, 100))
			s.expect(t, "email_summary", map[string]string{"limit": "3"}, oracleEmails(s.events, s.emails, s.links, 3))
			s.expect(t, "email_summary", map[string]string{"email": "5"}, oracleEmails(s.events, s.emails[4:5], s.links, 1))
			s.expect(t, "email_summary", map[string]string{"email": "999"}, nil)
			s.expect(t, "recipient_activity", nil, oracleRecipients(s.events, s.people, 100))
			s.expect(t, "recipient_activity", map[string]string{"email": "3", "limit": "7"}, oracleRecipients(of(3, 0), s.people, 7))
			s.expect(t, "recipient_activity", map[string]string{"recipient": "38"}, oracleRecipients(of(0, 38), s.people, 100))
			s.expect(t, "recipient_activity", map[string]string{"recipient": "2", "email": "2"}, oracleRecipients(of(2, 2), s.people, 100))
			s.expect(t, "email_timeline", nil, oracleTimeline(s.events, "hour", time.UTC))
			for _, bucket := range []string{"minute", "hour", "day", "week", "month"} {
				s.expect(t, "email_timeline", map[string]string{"email": "4", "bucket": bucket}, oracleTimeline(of(4, 0), bucket, time.UTC))
				s.expect(t, "email_timeline", map[string]string{"bucket": bucket, "zone": "Europe/Berlin"}, oracleTimeline(s.events, bucket, berlin))
			}
		})
	}
}

// What the head of a file says of its columns is what DuckDB returns.
func TestCatalogueIsTrue(t *testing.T) {
	w := newWorld(t)
	db := w.open(nil)
	var names []string
	types := map[string]string{"bigint": "int64", "double": "float64", "varchar": "utf8", "timestamp": "timestamp[us]"}
	for _, k := range db.KPIs() {
		names = append(names, k.Name)
		res, err := db.KPI(t.Context(), Request{Org: 1, Name: k.Name})
		if err != nil {
			t.Fatal(err)
		}
		var want, got []string
		for _, c := range k.Columns {
			want = append(want, c.Name+" "+types[c.Type])
		}
		for _, f := range res.Schema().Fields() {
			got = append(got, fmt.Sprintf("%s %s", f.Name, f.Type))
		}
		res.Close()
		if !slices.Equal(got, want) {
			t.Errorf("%s returns\n%s\nand its head says\n%s", k.Name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if want := []string{"email_summary", "email_timeline", "organisation_summary", "recipient_activity"}; !slices.Equal(names, want) {
		t.Errorf("the catalogue has %v", names)
	}
}

func TestParameters(t *testing.T) {
	w := newWorld(t)
	db := w.open(nil)
	for _, c := range []struct {
		kpi, params, code string
	}{
		{"nothing", "", "kpi_not_found"},
		{"../doc", "", "kpi_not_found"},
		{"organisation_summary", "email=1", "parameter_unknown"},
		{"email_summary", "emial=1", "parameter_unknown"},
		{"email_summary", "email=", "parameter_invalid"},
		{"email_summary", "email=0", "parameter_invalid"},
		{"email_summary", "email=-1", "parameter_invalid"},
		{"email_summary", "email=1 OR true", "parameter_invalid"},
		{"email_summary", "email=9223372036854775808", "parameter_invalid"},
		{"email_summary", "limit=1000001", "parameter_invalid"},
		{"email_timeline", "bucket=year", "parameter_invalid"},
		{"email_timeline", "zone=Mars/Olympus", "parameter_invalid"},
		{"email_timeline", "zone=';", "parameter_invalid"},
		{"email_timeline", "zone=Asia/Kathmandu", ""},
		{"email_summary", "email=9223372036854775807", ""},
		{"email_summary", "limit=1", ""},
	} {
		params := map[string]string{}
		if name, value, ok := strings.Cut(c.params, "="); ok {
			params[name] = value
		}
		res, err := db.KPI(t.Context(), Request{Org: 1, Name: c.kpi, Params: params})
		switch {
		case err == nil && c.code != "":
			t.Errorf("%s %s: answered", c.kpi, c.params)
		case err != nil && problem.Of(err).Code != c.code:
			t.Errorf("%s %s: %v", c.kpi, c.params, err)
		}
		if res != nil {
			res.Close()
		}
	}
}

func TestParseKPI(t *testing.T) {
	const head = "-- title: T\n-- meaning: M\n--   goes on\n-- formula: F\n-- unit: U\n-- source: S\n-- column a bigint: A\n"
	k, err := parseKPI("x", head+"-- param limit count = 5: most\n-- param b choice = hour (hour day): width\n-- param id id: needed\n\nSELECT $id, $limit, $b, $id")
	if err != nil {
		t.Fatal(err)
	}
	if k.Meaning != "M goes on" || k.sql != "SELECT $3, $1, $2, $3" || !k.Params[0].Optional || k.Params[2].Optional || !slices.Equal(k.Params[1].Choices, []string{"hour", "day"}) {
		t.Errorf("got %+v", k)
	}
	if _, err := k.bind(nil, nil); problem.Of(err).Code != "parameter_missing" {
		t.Errorf("got %v", err)
	}
	args, err := k.bind(map[string]string{"id": "7"}, nil)
	if err != nil || !slices.Equal(args, []any{int64(5), "hour", int64(7)}) {
		t.Errorf("got %v, %v", args, err)
	}
	for name, text := range map[string]string{
		"no title":       "-- meaning: M\nSELECT 1",
		"unknown line":   head + "-- colour: red\nSELECT 1",
		"no form":        head + "--nothing\nSELECT 1",
		"type of column": head + "-- column b text: B\nSELECT 1",
		"type of param":  head + "-- param b text: B\nSELECT $b",
		"not used":       head + "-- param b id: B\nSELECT 1",
		"not declared":   head + "SELECT $b",
	} {
		if k, err := parseKPI("x", text); err == nil {
			t.Errorf("%s: parsed %q", name, k.sql)
		}
	}
}
