package retention

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
	"mailwake/query"
)

// openQuery puts the query layer on views of n, as a server does. With a folder it
// keeps rollups there, from which KPIs are answered; without one, DuckDB does it.
func (w *world) openQuery(n *node, folder string, views query.SourceFunc) *query.DB {
	o := query.Options{
		Source: views, Catalog: w.reg, Rules: w.rules, Clock: func() time.Time { return w.now },
		Folders: func(event.OrgID) ([]string, error) {
			files, err := n.lake.Folder("acme")
			return []string{files}, err
		},
		Threads: 1, Timeout: time.Hour, // whatever the machine is busy with
	}
	if folder != "" {
		o.TempDir, o.RollupDir = filepath.Join(folder, "tmp"), filepath.Join(folder, "rollups")
		o.OnRollupError = func(_ event.OrgID, err error) { w.t.Errorf("rollups: %v", err) }
	}
	db, err := query.Open(o)
	must(w.t, err)
	return db
}

// rules are the organisation's, with the model's refusals.
func (w *world) rules(org event.OrgID) (query.Rules, error) {
	s := w.reg.Snapshot()
	o, ok := s.Org(org)
	if !ok {
		return query.Rules{}, problem.New(404, "org_not_found", "")
	}
	c, refusals := s.Consent(org), maps.Clone(w.model.refusals)
	return query.Rules{
		State: o.State, PurgeAt: o.PurgeAt, MaxAge: time.Duration(o.Policy.MaxAgeDays) * 24 * time.Hour, Emptied: c.Emptied,
		Consent: query.Consent{Version: c.Version<<32 + w.model.changes, Denied: func(k event.Kind) iter.Seq[event.RecipientID] {
			return func(yield func(event.RecipientID) bool) {
				for r := range c.Denied(registry.PurposeOf(k)) {
					if !yield(r) {
						return
					}
				}
				for _, r := range refusals {
					if r.Purposes.Has(registry.PurposeOf(k)) && !yield(r.Recipient) {
						return
					}
				}
			}
		}},
	}, nil
}

// shown says what queries that begin now may show: of rows, as of a time.
func (w *world) shown() func(rows []event.Interaction, now time.Time) []event.Interaction {
	refusals, erased, age := maps.Clone(w.model.refusals), w.reg.ErasedRecipients(w.org), w.model.policy.MaxAgeDays
	return func(rows []event.Interaction, now time.Time) (list []event.Interaction) {
		const minute = 60_000_000 // the limit moves by
		oldest := (event.At(now) - days(age) + minute - 1) / minute * minute
		for _, in := range rows {
			p := registry.PurposeOf(in.Kind)
			hidden := p != registry.NoPurpose && (slices.Contains(erased, in.Recipient) || refusals[in.Recipient].Purposes.Has(p))
			if !hidden && (age == 0 || in.OccurredAt >= oldest) {
				list = append(list, in)
			}
		}
		slices.SortFunc(list, byID)
		return list
	}
}

// everything has the names of parquetRow.
const everything = `SELECT event_id AS EventID, epoch_us(occurred_at) AS OccurredAt, epoch_us(received_at) - epoch_us(occurred_at) AS Delay,
  kind, email_id AS EmailID, recipient_id AS RecipientID, component, actor, reason, device, client, os, source, user_agent AS UserAgent, network
FROM interactions`

// events are what SQL shows, by id.
func (w *world) events(db *query.DB) (list []event.Interaction, err error) {
	rows, err := ask[parquetRow](db.SQL(context.Background(), query.Statement{Org: w.org, Persons: true, Text: everything}))
	for i := range rows {
		list = append(list, rows[i].interaction())
	}
	slices.SortFunc(list, byID)
	return list, err
}

func byID(a, b event.Interaction) int { return cmp.Compare(a.ID, b.ID) }

// ask reads a whole result.
func ask[T any](res *query.Result, err error) (list []T, _ error) {
	if err != nil {
		return nil, err
	}
	defer res.Close()
	var text bytes.Buffer
	if err := res.Write(&text, query.NDJSON); err != nil {
		return nil, err
	}
	lines := json.NewDecoder(&text)
	lines.UseNumber()
	for lines.More() {
		var one T
		if err := lines.Decode(&one); err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}

// checkAnswers compares what SQL and KPIs on n say with rows, which are all that its
// View has.
func (w *world) checkAnswers(n *node, rows []event.Interaction) {
	got, err := w.events(n.db)
	if w.acme().State != registry.OrgEnabled {
		if problem.Of(err).Code != "feature_disabled" {
			w.t.Errorf("node %d: SQL on what is not enabled: %v", n.id, err)
		}
		return
	}
	must(w.t, err)
	want := w.shown()(rows, w.now)
	w.same(fmt.Sprintf("SQL on node %d", n.id), got, want)
	w.checkAddresses(n)
	emails := counted(want, []string{"openers", "clickers", "attachment_viewers", "repliers"}, func(in *event.Interaction) int64 { return int64(in.Email) })
	for _, id := range []int64{1, 2, 3} {
		if emails[id] == nil {
			emails[id] = map[string]int64{"sent": 0, "openers_unique": 0, "opens_total": 0, "replies_total": 0}
		}
	}
	w.checkKPI(n, "email_summary", "email_id", emails)
	w.checkKPI(n, "recipient_activity", "recipient_id", counted(want, []string{"emails_opened", "emails_clicked", "emails_attachment_viewed", "emails_replied"},
		func(in *event.Interaction) int64 { return int64(in.Recipient) }))
}

func (w *world) same(what string, got, want []event.Interaction) {
	for i := range max(len(got), len(want)) {
		if i < len(got) && i < len(want) && got[i] == want[i] {
			continue
		}
		w.t.Errorf("%s shows %d rows, want %d; the first that differs is\n%+v, want\n%+v", what, len(got), len(want), got[min(i, len(got)):min(i+1, len(got))], want[min(i, len(want)):min(i+1, len(want))])
		return
	}
}

// checkKPI compares the answer of a KPI with figures by its key.
func (w *world) checkKPI(n *node, name, key string, want map[int64]map[string]int64) {
	rows, err := ask[map[string]any](n.db.KPI(context.Background(), query.Request{Org: w.org, Name: name, Persons: true}))
	must(w.t, err)
	for _, row := range rows {
		id, err := row[key].(json.Number).Int64()
		must(w.t, err)
		if want[id] == nil {
			w.t.Errorf("%s on node %d has a row of %d", name, n.id, id)
		}
		for column, figure := range want[id] {
			if row[column] != json.Number(fmt.Sprint(figure)) {
				w.t.Errorf("%s on node %d: %s of %d is %v, want %d", name, n.id, column, id, row[column], figure)
			}
		}
		delete(want, id)
	}
	if len(want) > 0 {
		w.t.Errorf("%s on node %d has no row of %v", name, n.id, want)
	}
}

// checkAddresses finds who was erased and has an address in SQL.
func (w *world) checkAddresses(n *node) {
	erased := w.erased()
	if len(erased) == 0 {
		return
	}
	text := "SELECT recipient_id AS id FROM recipients WHERE address <> '' AND recipient_id IN (" + strings.Join(strings.Fields(strings.Trim(fmt.Sprint(erased), "[]")), ", ") + ")"
	left, err := ask[struct{ ID int64 }](n.db.SQL(context.Background(), query.Statement{Org: w.org, Persons: true, Text: text}))
	if must(w.t, err); len(left) > 0 {
		w.t.Errorf("node %d still shows addresses of people who were erased: %v", n.id, left)
	}
}

// counted is what rows come to, by the names that the columns of KPIs have.
func counted(rows []event.Interaction, unique []string, of func(*event.Interaction) int64) map[int64]map[string]int64 {
	const all, human, machine = 0, 1, 2
	type pair struct {
		email     event.EmailID
		recipient event.RecipientID
	}
	pairs, keys := map[pair]*[3][16]int64{}, map[pair]int64{}
	for _, in := range rows {
		p := pair{in.Email, in.Recipient}
		if pairs[p] == nil {
			pairs[p], keys[p] = new([3][16]int64), of(&in)
		}
		pairs[p][all][in.Kind]++
		switch in.Actor {
		case event.Human, event.Proxy:
			pairs[p][human][in.Kind]++
		case event.Prefetch, event.Scanner, event.Bot:
			pairs[p][machine][in.Kind]++
		}
	}
	figures := map[int64]map[string]int64{}
	for p, n := range pairs {
		f := figures[keys[p]]
		if f == nil {
			f = map[string]int64{}
			figures[keys[p]] = f
		}
		add := func(column string, n int64) { f[column] += n }
		one := func(column string, yes bool) { add(column, map[bool]int64{true: 1}[yes]) }
		sent := n[all][event.Sent] > 0
		one("sent", sent)
		one("bounced", sent && n[all][event.Bounced] > 0)
		one("delivered", sent && n[all][event.Bounced] == 0)
		one("complained", n[all][event.Complained] > 0)
		one("unsubscribed", n[all][event.Unsubscribed] > 0)
		for i, kind := range []event.Kind{event.Open, event.Click, event.AttachmentView, event.Reply} {
			total := []string{"opens", "clicks", "attachment_views", "replies"}[i]
			for who, suffixes := range [][2]string{{"_total", "_unique"}, {"_human", "_human"}, {"_machine", "_machine"}} {
				add(total+suffixes[0], n[who][kind])
				one(unique[i]+suffixes[1], n[who][kind] > 0)
			}
		}
	}
	return figures
}

// begin begins a query and stops it where it has its View, until finish.
func (w *world) begin(n *node) (v query.View, finish func()) {
	type answer struct {
		rows []event.Interaction
		err  error
	}
	taken, goOn, done := make(chan query.View), make(chan struct{}), make(chan answer, 1)
	db := w.openQuery(n, "", func(ctx context.Context, org event.OrgID) (query.View, error) {
		v, err := n.eng.View(ctx, org)
		if err != nil {
			close(taken)
			return nil, err
		}
		taken <- v
		<-goOn
		return v, nil
	})
	shown := w.shown()
	go func() {
		rows, err := w.events(db)
		done <- answer{rows, err}
	}()
	v = <-taken
	rows := w.rows(v)
	return v, func() {
		close(goOn)
		a := <-done
		if a.err != nil {
			w.t.Errorf("a query that was running: %v", a.err)
		}
		w.same("a query that was running", a.rows, shown(rows, w.now))
		must(w.t, db.Close())
	}
}

// rows are all that a View has.
func (w *world) rows(v query.View) []event.Interaction {
	list := w.content(v)
	for _, in := range v.Rows(0) {
		one := *in
		one.Org, one.Client = 0, strings.Clone(in.Client)
		list = append(list, one)
	}
	return list
}
