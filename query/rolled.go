package query

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"mailwake/engine/event"
	"mailwake/engine/rollup"
)

// rolledKPI says how a KPI is answered without reading events and without DuckDB:
// rows makes what is below the last SELECT of its SQL, in columns of these names, or
// without names the rows of the KPI themselves.
type rolledKPI struct {
	below []string
	rows  func(*roller) error
}

var rolledKPIs = map[string]rolledKPI{
	"email_list":           {slices.Concat(emailColumns, sumColumns, []string{"last_active_at_human"}), (*roller).emails},
	"email_summary":        {slices.Concat(emailColumns, sumColumns, []string{"last_active_at_human"}), (*roller).emails},
	"organisation_summary": {slices.Concat([]string{"emails_total", "emails_followed", "emails_sent", "people_reached"}, sumColumns), (*roller).organisation},
	"recipient_activity":   {slices.Concat([]string{"recipient_id", "address", "name"}, ofRecipient(sumColumns), []string{"last_active_at_human"}), (*roller).activity},

	"attachment_table":       {nil, (*roller).attachments},
	"device_mix":             {nil, (*roller).deviceMix},
	"email_timeline":         {nil, (*roller).timeline},
	"followed_comparison":    {nil, (*roller).followed},
	"heat_map":               {nil, (*roller).heatMap},
	"link_table":             {nil, (*roller).links},
	"machine_share":          {nil, (*roller).machineShare},
	"recency_frequency_grid": {nil, (*roller).grid},
	"recipient_best_hour":    {nil, (*roller).bestHour},
	"recipient_score":        {nil, (*roller).scores},
	"template_table":         {nil, (*roller).templates},
	"time_to_first":          {nil, (*roller).firsts},
	"weekly_cohorts":         {nil, (*roller).cohorts},
}

var emailColumns = []string{"email_id", "subject", "template", "follow_state", "created_at", "links", "attachments"}

// sumColumns are the columns of sums, in the order of sumsRow.
var sumColumns = func() []string {
	names := []string{"people", "sent", "bounced", "delivered", "complained", "unsubscribed", "confirmed_openers_human"}
	for _, did := range [][2]string{{"opens", "openers"}, {"clicks", "clickers"}, {"attachment_views", "attachment_viewers"}, {"replies", "repliers"}} {
		names = append(names, did[0]+"_total", did[0]+"_human", did[0]+"_machine", did[1]+"_unique", did[1]+"_human", did[1]+"_machine")
	}
	return append(names, "sent_at", "first_opened_at", "first_opened_at_human", "last_opened_at", "last_opened_at_human")
}()

// ofRecipient names counts of recipients of an email as what they are in sums of a
// recipient: counts of emails.
func ofRecipient(names []string) []string {
	r := strings.NewReplacer("confirmed_openers", "emails_confirmed_opened", "openers", "emails_opened", "clickers", "emails_clicked",
		"attachment_viewers", "emails_attachment_viewed", "repliers", "emails_replied")
	names = slices.Clone(names)
	for i := range names {
		names[i] = r.Replace(names[i])
	}
	return names
}

const (
	// maxRolledRows is up to how many rows are made here. Beyond, DuckDB is as fast.
	maxRolledRows = 10_000
	// maxRolledRecipients is up to how many recipients are looked up one by one.
	maxRolledRecipients = 2000
)

// roller makes the rows for one question.
type roller struct {
	ctx   context.Context
	store *store
	state *rollup.State
	args  map[string]any // parameters by name; nil where they were left out
	rows  [][]any
}

// roll answers q from rollups; nil if it has to read events.
func (s *store) roll(ctx context.Context, l *lease, q *question) (*Result, error) {
	if q.rolled == nil {
		return nil, nil
	}
	s.asked.Store(s.opts.Clock().Unix())
	r := &roller{ctx: ctx, store: s, args: q.given}
	if r.limit() > maxRolledRows {
		return nil, nil
	}
	w := wanted{flushed: takeAll, email: event.EmailID(r.id("email")), tail: math.MaxInt}
	if s.runs.Load() {
		w.flushed, w.tail = takeNone, s.rollups.most.tail
	}
	err := s.rolled(ctx, l.view, &l.rules, w, func(state *rollup.State) error {
		r.state, r.rows = state, nil
		return q.rolled.rows(r)
	})
	switch {
	case err == nil:
		s.rollups.long = false
		return q.last.result(r.rows), nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, errBehind) && q.waits:
		return nil, errBehind
	case !errors.Is(err, errNoRollup):
		s.opts.OnRollupError(s.org, err)
	case errors.Is(err, errLongTail) && !s.rollups.long:
		s.rollups.long = true
		s.opts.OnRollupError(s.org, err)
	}
	return nil, nil
}

// id returns a parameter that is an id, 0 if it was left out.
func (r *roller) id(name string) int64 {
	id, _ := r.args[name].(int64)
	return id
}

func (r *roller) limit() int {
	n, _ := r.args["limit"].(int64)
	return int(n)
}

// emails makes a row for the one email, or for each of the newest.
func (r *roller) emails() error {
	known := r.store.known
	ids := []event.EmailID{event.EmailID(r.id("email"))}
	if ids[0] == 0 {
		var template *string
		if text, ok := r.args["template"].(string); ok {
			template = &text
		}
		ids = known.newest(event.EmailID(r.id("before")), template, r.limit())
	}
	for _, id := range ids {
		e, ok := known.byID[id]
		if !ok {
			continue
		}
		sums, err := r.state.Email(id)
		if err != nil {
			return err
		}
		row := []any{int64(id), e.subject, e.template, e.follow, e.created, e.links, e.attachments}
		row = append(append(row, sumsRow(&sums)...), timeIf(sums.Active(), sums.LastActive))
		r.rows = append(r.rows, row)
	}
	return nil
}

func (r *roller) organisation() error {
	t, err := r.state.Total()
	known := r.store.known
	sums := sumsRow(&t.Sums)
	if t.Pairs == 0 { // sums of nothing are a row too
		for i := range len(sumColumns) - 5 {
			sums[i] = int64(0)
		}
	}
	sums[0] = t.People
	r.rows = append(r.rows, append([]any{int64(len(known.ids)), known.followed, t.Emails, t.Reached}, sums...))
	return err
}

// activity makes a row for each recipient that is shown.
func (r *roller) activity() (err error) {
	email, recipient := event.EmailID(r.id("email")), event.RecipientID(r.id("recipient"))
	ids := []event.RecipientID{recipient}
	switch {
	case recipient != 0:
	case email != 0:
		ids, err = r.state.LastActiveIn(email, r.limit())
	case r.limit() > maxRolledRecipients:
		return errNoRollup
	default:
		ids, err = r.state.LastActive(r.limit())
	}
	if err != nil {
		return err
	}
	names, err := r.names(ids)
	if err != nil {
		return err
	}
	for _, id := range ids {
		sums := rollup.NewSums()
		if email != 0 {
			var p rollup.Pair
			if p, err = r.state.Pair(email, id); !p.Empty() {
				sums.Count(&p)
			}
		} else {
			err = r.state.Recipient(id, func(_ event.EmailID, p *rollup.Pair) { sums.Count(p) })
		}
		if err != nil {
			return err
		}
		if sums.Pairs == 0 {
			continue
		}
		row := []any{int64(id), nil, nil}
		if name, ok := names[id]; ok {
			row[1], row[2] = name[0], name[1]
		}
		r.rows = append(r.rows, append(append(row, sumsRow(&sums)...), timeIf(sums.Active(), sums.LastActive)))
	}
	return nil
}

// names returns addresses and names of recipients.
func (r *roller) names(ids []event.RecipientID) (names map[event.RecipientID][2]string, err error) {
	names = map[event.RecipientID][2]string{}
	if len(ids) == 0 {
		return names, nil
	}
	list := strings.Trim(strings.ReplaceAll(fmt.Sprint(ids), " ", ","), "[]")
	rows, err := r.store.write.QueryContext(r.ctx, "SELECT recipient_id, address, name FROM catalog_recipients WHERE recipient_id IN ("+list+")")
	if err != nil {
		return nil, fmt.Errorf("names of recipients: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id int64
		var of [2]string
		if err := rows.Scan(&id, &of[0], &of[1]); err != nil {
			return nil, err
		}
		names[event.RecipientID(id)] = of
	}
	return names, rows.Err()
}

func timeIf(set bool, t event.Micros) any {
	if !set {
		return nil
	}
	return t
}

// sumsRow returns the values of sumColumns; sums of nothing are NULL.
func sumsRow(s *rollup.Sums) []any {
	if s.Pairs == 0 {
		return make([]any, len(sumColumns))
	}
	row := append(make([]any, 0, 2*len(sumColumns)), s.Pairs, s.Sent, s.Bounced, s.Delivered, s.Complained, s.Unsubscribed, s.Confirmed)
	for i := range s.Did {
		d := &s.Did[i]
		row = append(row, d.Total, d.Human, d.Machine, d.Unique, d.ByHuman, d.ByMachine)
	}
	opens := &s.Did[0]
	return append(row, timeIf(s.Sent > 0, s.FirstSent), timeIf(opens.Unique > 0, s.FirstOpened), timeIf(opens.ByHuman > 0, s.FirstOpenedHuman),
		timeIf(opens.Unique > 0, s.LastOpened), timeIf(opens.ByHuman > 0, s.LastOpenedHuman))
}
