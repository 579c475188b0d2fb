package query

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

// randomEvents returns events of every kind, actor and shape over a year, with
// repeats, ties in time, reactions of bounced recipients and strangers, late
// events, and events that others report, some of them twice.
func randomEvents(r *rand.Rand, n int) []event.Interaction {
	start := event.At(time.Date(2025, 9, 1, 0, 0, 0, 0, time.UTC))
	events := make([]event.Interaction, n)
	for i := range events {
		in := event.Interaction{
			ID: int64(i + 1), OccurredAt: start + event.Micros(r.Int64N(300*24*3600))*1e6,
			Kind: event.Kind(1 + r.IntN(len(event.Kinds())-1)), Email: event.EmailID(1 + r.IntN(12)), Recipient: event.RecipientID(1 + r.IntN(40)),
			Actor: event.Actor(r.IntN(len(event.Actors()))), Device: event.Device(r.IntN(4)), Source: event.Source(r.IntN(5)), Component: int32(r.IntN(4)),
			Client: []string{"", "Apple Mail", "Outlook"}[r.IntN(3)], OS: []string{"iOS", "Windows"}[r.IntN(2)],
			Reason: []string{"browser", "known scanner"}[r.IntN(2)], Network: []string{"", "192.0.2.0/24"}[r.IntN(2)],
		}
		if r.IntN(3) > 0 { // many sent, few bounced
			in.Kind = []event.Kind{event.Sent, event.Open, event.Click}[r.IntN(3)]
		}
		if i > 0 && r.IntN(10) == 0 {
			in.OccurredAt = events[i-1].OccurredAt
		}
		in.ReceivedAt = in.OccurredAt + event.Micros(r.IntN(5e6))
		if r.IntN(4) == 0 {
			in.ID, in.Source = -in.ID, event.API
		}
		if i > 0 && r.IntN(12) == 0 { // the same report once more, later or earlier
			if again := events[r.IntN(i)]; again.ID < 0 {
				in, in.ReceivedAt = again, again.ReceivedAt+event.Micros(i)*dayMicros/24
			}
		}
		events[i] = in
	}
	return events
}

// scene is a history with all that is known of it.
type scene struct {
	world  *world
	db     *DB
	now    time.Time
	events []event.Interaction // those that may be shown, each once
	emails []registry.Email
	people map[event.RecipientID]registry.Recipient

	links, attached, sentTo map[event.EmailID]int64
	linkParts, fileParts    []component
}

// newScene spreads n random events over files and segments.
func newScene(t *testing.T, seed uint64, n int) *scene {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	w := newWorld(t)
	now := time.Date(2026, 6, 1+r.IntN(60), 12, 30, r.IntN(60), 0, time.UTC)
	s := &scene{world: w, now: now, people: map[event.RecipientID]registry.Recipient{},
		links: map[event.EmailID]int64{}, attached: map[event.EmailID]int64{}, sentTo: map[event.EmailID]int64{}}
	s.db = s.open()
	s.register(r)
	all := randomEvents(r, n)
	rules := randomRules(r)
	for at := 0; at < n; {
		k := min(1+r.IntN(max(1, n/4)), n-at)
		w.add(1, all[at:at+k]...)
		at += k
		if r.IntN(2) == 0 {
			ask(t, s.db, 1, census)
		}
		if r.IntN(2) == 0 {
			w.flush(1, r.IntN(n))
		}
		if r.IntN(3) == 0 { // consent changes in the middle: the last one counts
			w.setRules(func(r *Rules) { *r = rules })
		}
	}
	w.setRules(func(r *Rules) { *r = rules })
	s.events = visible(all, &rules, event.At(now))
	return s
}

func (s *scene) open() *DB {
	return s.world.open(func(o *Options) { o.Clock = func() time.Time { return s.now } })
}

// register fills the catalog: emails in all states, two without events, and five
// recipients of events who are unknown.
func (s *scene) register(r *rand.Rand) {
	o := s.world.org(1)
	for id := range event.EmailID(14) {
		e := registry.Email{ID: id + 1, Subject: fmt.Sprintf("Subject %d", id), Template: []string{"", "welcome", "news"}[id%3],
			Follow: []registry.FollowState{"on", "on", "off", "on", "blocked"}[r.IntN(5)], CreatedAt: event.Micros(id) * 1e9}
		s.emails = append(s.emails, e)
		for l := range int32(id) % 4 {
			url := fmt.Sprintf("https://example.com/%d", l)
			o.links = append(o.links, registry.Link{Email: e.ID, Ordinal: l + 1, URL: url})
			s.linkParts = append(s.linkParts, component{e.ID, l + 1, map[string]any{"url": url}})
			s.links[e.ID]++
		}
		for a := range int32(id) % 3 {
			file := registry.EmailAttachment{Ordinal: a + 1, Followed: a == 0, Attachment: registry.Attachment{Name: fmt.Sprintf("%d.pdf", a), ContentType: "application/pdf", Size: int64(id)}}
			o.attached = append(o.attached, registry.AttachmentOfEmail{Email: e.ID, EmailAttachment: file})
			s.fileParts = append(s.fileParts, component{e.ID, a + 1, map[string]any{"name": file.Name, "media_type": file.ContentType, "size": file.Size, "followed": file.Followed}})
			s.attached[e.ID]++
		}
		for p := range event.RecipientID(id) {
			o.sentTo = append(o.sentTo, registry.EmailRecipient{Email: e.ID, Recipient: p + 1})
			s.sentTo[e.ID]++
		}
	}
	for id := range event.RecipientID(35) {
		p := registry.Recipient{ID: id + 1, Address: fmt.Sprintf("p%d@Example%d.com", id, id%3), Name: "Péter"}
		s.people[p.ID] = p
		o.recipients = append(o.recipients, p)
	}
	o.emails = s.emails
}

// randomRules refuse or allow some recipients some purposes.
func randomRules(r *rand.Rand) Rules {
	lists := map[event.Kind][]event.RecipientID{}
	optIn := r.IntN(3) == 0
	for _, kind := range Purposes() {
		for id := range event.RecipientID(45) {
			if r.IntN(4) == 0 != optIn {
				lists[kind] = append(lists[kind], id+1)
			}
		}
	}
	rules := Rules{State: registry.OrgEnabled, Consent: consentOf(1+r.Uint64N(1000), optIn, lists), Zone: []string{"", "UTC", "Europe/Berlin"}[r.IntN(3)]}
	if r.IntN(4) == 0 {
		rules.Consent = consentOf(1+r.Uint64N(1000), false, nil)
	}
	if r.IntN(3) == 0 {
		rules.MaxAge = time.Duration(100+r.IntN(200)) * 24 * time.Hour
	}
	return rules
}

// visible says once more, in plain Go, what may be shown.
func visible(all []event.Interaction, rules *Rules, now event.Micros) []event.Interaction {
	type copies struct {
		pairKey
		id int64
	}
	first := map[copies]event.Micros{}
	for _, in := range all {
		k := copies{pairKey{in.Email, in.Recipient}, in.ID}
		if at, ok := first[k]; !ok || in.ReceivedAt < at {
			first[k] = in.ReceivedAt
		}
	}
	listed := map[event.Kind][]event.RecipientID{}
	for _, kind := range Purposes() {
		members := rules.Consent.Denied
		if rules.Consent.OptIn {
			members = rules.Consent.Granted
		}
		listed[kind] = slices.Collect(members(kind))
	}
	oldest := event.Micros(math.MinInt64)
	if rules.MaxAge > 0 {
		const minute = 60 * 1e6
		oldest = (now - event.Micros(rules.MaxAge.Microseconds()) + minute - 1) / minute * minute
	}
	return only(all, func(in *event.Interaction) bool {
		if reaction(in) && slices.Contains(listed[in.Kind], in.Recipient) != rules.Consent.OptIn {
			return false
		}
		return in.OccurredAt >= oldest && in.ReceivedAt == first[copies{pairKey{in.Email, in.Recipient}, in.ID}]
	})
}

// asked is a KPI with parameters and what the oracle says to it.
type asked struct {
	kpi    string
	params string // name=value name=value
	want   func() []map[string]any
}

func (s *scene) of(email event.EmailID, recipient event.RecipientID) []event.Interaction {
	return only(s.events, func(in *event.Interaction) bool {
		return (email == 0 || in.Email == email) && (recipient == 0 || in.Recipient == recipient)
	})
}

func first(rows []map[string]any, n int) []map[string]any { return rows[:min(n, len(rows))] }

// sceneQuestions asks for every KPI in several ways.
func sceneQuestions(s *scene) []asked {
	type rows = []map[string]any
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	now := event.At(minuteAfter(s.now))
	march := event.At(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	list := []asked{
		{"organisation_summary", "", func() rows { return oracleOrganisation(s.events, s.emails) }},
		{"email_summary", "", func() rows { return oracleEmails(s.events, s.emails, s.links, s.attached, 100) }},
		{"email_summary", "limit=3", func() rows { return oracleEmails(s.events, s.emails, s.links, s.attached, 3) }},
		{"email_summary", "email=5", func() rows { return oracleEmails(s.events, s.emails[4:5], s.links, s.attached, 1) }},
		{"email_summary", "email=999", func() rows { return nil }},
		{"email_list", "", func() rows { return oracleList(s.events, s.emails, 50) }},
		{"email_list", "before=9 limit=2", func() rows { return oracleList(s.events, s.emails[:8], 2) }},
		{"email_list", "template=news", func() rows {
			return oracleList(s.events, slices.DeleteFunc(slices.Clone(s.emails), func(e registry.Email) bool { return e.Template != "news" }), 50)
		}},
		{"recipient_activity", "", func() rows { return oracleRecipients(s.events, s.people, 100) }},
		{"recipient_activity", "email=3 limit=7", func() rows { return oracleRecipients(s.of(3, 0), s.people, 7) }},
		{"recipient_activity", "recipient=38", func() rows { return oracleRecipients(s.of(0, 38), s.people, 100) }},
		{"recipient_activity", "recipient=2 email=2", func() rows { return oracleRecipients(s.of(2, 2), s.people, 100) }},
		{"recipient_score", "", func() rows { return oracleScore(s.events, s.people, now) }},
		{"recipient_score", "now=2026-03-01T00:00:00Z limit=4", func() rows { return first(oracleScore(s.events, s.people, march), 4) }},
		{"recency_frequency_grid", "", func() rows { return oracleGrid(s.events, now) }},
		{"recency_frequency_grid", "now=2026-03-01T00:00:00Z", func() rows { return oracleGrid(s.events, march) }},
		{"recipient_best_hour", "zone=UTC", func() rows { return oracleBestHour(s.events, s.people, time.UTC) }},
		{"recipient_best_hour", "zone=Europe/Berlin limit=5", func() rows { return first(oracleBestHour(s.events, s.people, berlin), 5) }},
		{"template_table", "", func() rows { return oracleTemplates(s.events, s.emails) }},
		{"link_table", "", func() rows { return oracleComponents(s.events, s.linkParts, event.Click) }},
		{"link_table", "email=4", func() rows { return oracleComponents(s.events, partsOf(s.linkParts, 4), event.Click) }},
		{"attachment_table", "", func() rows { return oracleComponents(s.events, s.fileParts, event.AttachmentView) }},
		{"time_to_first", "", func() rows { return oracleTimes(s.events, now, 30) }},
		{"time_to_first", "now=2026-03-01T00:00:00Z window=200", func() rows { return oracleTimes(s.events, march, 200) }},
		{"time_to_first", "email=2 window=100", func() rows { return oracleTimes(s.of(2, 0), now, 100) }},
		{"device_mix", "", func() rows {
			return oracleMix(s.events, func(in *event.Interaction) string { return in.Device.String() })
		}},
		{"device_mix", "by=client", func() rows { return oracleMix(s.events, func(in *event.Interaction) string { return in.Client }) }},
		{"device_mix", "by=os email=3", func() rows { return oracleMix(s.of(3, 0), func(in *event.Interaction) string { return in.OS }) }},
		{"machine_share", "", func() rows {
			return oracleMachines(s.events, func(in *event.Interaction) any {
				if p, ok := s.people[in.Recipient]; ok {
					return strings.ToLower(p.Address[strings.IndexByte(p.Address, '@')+1:])
				}
				return nil
			})
		}},
		{"machine_share", "by=network", func() rows {
			return oracleMachines(s.events, func(in *event.Interaction) any {
				if in.Network == "" {
					return nil
				}
				return in.Network
			})
		}},
		{"machine_share", "by=reason", func() rows { return oracleMachines(s.events, func(in *event.Interaction) any { return in.Reason }) }},
		{"heat_map", "zone=UTC", func() rows { return oracleHeat(s.events, time.UTC) }},
		{"heat_map", "zone=Europe/Berlin email=6", func() rows { return oracleHeat(s.of(6, 0), berlin) }},
		{"followed_comparison", "", func() rows { return oracleFollowed(s.events, s.emails, s.sentTo) }},
		{"weekly_cohorts", "zone=UTC", func() rows { return oracleCohorts(s.events, time.UTC, 12) }},
		{"weekly_cohorts", "zone=Europe/Berlin weeks=3", func() rows { return oracleCohorts(s.events, berlin, 3) }},
	}
	for _, bucket := range []string{"minute", "hour", "day", "week", "month"} {
		list = append(list, asked{"email_timeline", "zone=UTC email=4 bucket=" + bucket, func() rows { return oracleTimeline(s.of(4, 0), bucket, time.UTC) }},
			asked{"email_timeline", "zone=Europe/Berlin bucket=" + bucket, func() rows { return oracleTimeline(s.events, bucket, berlin) }})
	}
	return list
}

func partsOf(parts []component, email event.EmailID) []component {
	return slices.DeleteFunc(slices.Clone(parts), func(c component) bool { return c.email != email })
}

func (a *asked) request() Request {
	r := Request{Org: 1, Persons: true, Name: a.kpi, Params: map[string]string{}}
	for pair := range strings.FieldsSeq(a.params) {
		name, value, _ := strings.Cut(pair, "=")
		r.Params[name] = value
	}
	return r
}

// check compares answers with the oracle's to the last digit.
func (s *scene) check(t *testing.T, when string, questions []asked) {
	t.Helper()
	for _, q := range questions {
		res, err := s.db.KPI(t.Context(), q.request())
		got, want := rowsOf(t, res, err), q.want()
		if len(got) != len(want) {
			t.Errorf("%s: %s %s: %d rows, want %d", when, q.kpi, q.params, len(got), len(want))
			continue
		}
		for i := range want {
			for column, v := range want[i] {
				if got[i][column] != v {
					t.Errorf("%s: %s %s: row %d: %s is %v, want %v", when, q.kpi, q.params, i, column, got[i][column], v)
				}
			}
			for column := range got[i] {
				if _, ok := want[i][column]; !ok {
					t.Errorf("%s: column %s is not in the oracle", q.kpi, column)
				}
			}
		}
	}
}

func TestKPIsAgainstOracle(t *testing.T) {
	for _, n := range []int{0, 1, 60, 5000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			s := newScene(t, 7, n)
			s.check(t, "all", sceneQuestions(s))
		})
	}
}

// Random histories, each asked a random part of the questions as it is, after all
// is flushed, and by a new DB. All of them together ask everything several times.
func TestHistories(t *testing.T) {
	const histories, each = 100, 4
	for seed := range uint64(histories) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 11))
			s := newScene(t, seed, 20+r.IntN(500))
			some := func() []asked {
				all := sceneQuestions(s)
				r.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
				return all[:each]
			}
			s.check(t, "as it is", some())
			s.world.flush(1, math.MaxInt)
			s.check(t, "flushed", some())
			s.db = s.open()
			s.check(t, "reopened", some())
		})
	}
}
