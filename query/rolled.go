package query

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"mailwake/engine/event"
	"mailwake/query/rollup"
)

// Where rollups are kept, a KPI of rolledKPIs finds in place of one of the tables it
// reads a temporary one, with those rows only that its parameters ask for. Its SQL
// is the same with and without.

// rolledTable is such a table.
type rolledTable struct {
	name string
	rows [][]driver.Value
}

// rolledKPI makes the rows of a table that a KPI reads.
type rolledKPI struct {
	table string
	rows  func(*roller) error
}

var rolledKPIs = map[string]rolledKPI{
	"email_list":           {"email_sums", (*roller).listedEmails},
	"email_summary":        {"email_sums", (*roller).listedEmails},
	"organisation_summary": {"organisation_sums", (*roller).organisation},
	"recipient_activity":   {"engagement", (*roller).activity},
}

// maxRolledRecipients is up to how many recipients are looked up one by one.
const maxRolledRecipients = 2000

// roller makes the rows for one question.
type roller struct {
	ctx   context.Context
	store *store
	state *rollup.State
	args  map[string]any // parameters by name; nil where they were left out
	rows  [][]driver.Value
}

// roll makes the table that q can have from rollups; nil if it has to read events.
func (s *store) roll(ctx context.Context, l *lease, q *question) (*rolledTable, error) {
	if q.rolled == nil {
		return nil, nil
	}
	r := &roller{ctx: ctx, store: s, args: q.given}
	err := s.rolled(ctx, l.view, &l.rules, func(state *rollup.State) error {
		r.state, r.rows = state, nil
		return q.rolled.rows(r)
	})
	switch {
	case err == nil:
		return &rolledTable{name: q.rolled.table, rows: r.rows}, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case !errors.Is(err, errNoRollup):
		s.opts.OnRollupError(s.org, err)
	}
	return nil, nil
}

// head returns the tables of q.
func (l *lease) head(q *question) (string, error) {
	b := l.base()
	if l.made == nil {
		return b.with(q.reads)
	}
	b.made = l.made.name
	return b.with(readsIn(kpiTables, q.text, b.made))
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

// listedEmails makes sums of the one email, or of the newest.
func (r *roller) listedEmails() error {
	ids := []event.EmailID{event.EmailID(r.id("email"))}
	if ids[0] == 0 {
		var err error
		if ids, err = r.newest(); err != nil {
			return err
		}
	}
	for _, id := range ids {
		sums, err := r.state.Email(id)
		if err != nil {
			return err
		}
		if sums.Pairs > 0 {
			row := sumsRow([]driver.Value{int64(id), sums.Pairs}, &sums)
			r.rows = append(r.rows, append(row, timeIf(sums.Sent > 0, sums.FirstSent), timeIf(sums.Active(), sums.LastActive)))
		}
	}
	return nil
}

// newest returns the emails that a list shows.
func (r *roller) newest() (ids []event.EmailID, err error) {
	text, args := "SELECT email_id FROM catalog_emails WHERE true", []any{}
	if before := r.id("before"); before != 0 {
		text, args = text+" AND email_id < ?", append(args, before)
	}
	if template, ok := r.args["template"].(string); ok {
		text, args = text+" AND template = ?", append(args, template)
	}
	rows, err := r.store.write.QueryContext(r.ctx, text+" ORDER BY email_id DESC LIMIT ?", append(args, r.limit())...)
	if err != nil {
		return nil, fmt.Errorf("list emails: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, event.EmailID(id))
	}
	return ids, rows.Err()
}

func (r *roller) organisation() error {
	t, err := r.state.Total()
	r.rows = append(r.rows, sumsRow([]driver.Value{t.Emails, t.People, t.Reached}, &t.Sums))
	return err
}

// activity makes the pairs of the recipients that are shown.
func (r *roller) activity() error {
	email, recipient := event.EmailID(r.id("email")), event.RecipientID(r.id("recipient"))
	switch {
	case email != 0 && recipient != 0:
		p, err := r.state.Pair(email, recipient)
		if err == nil && !p.Empty() {
			r.rows = append(r.rows, pairRow(email, recipient, &p))
		}
		return err
	case email != 0:
		return r.activeIn(email)
	case recipient != 0:
		return r.recipient(recipient)
	case r.limit() > maxRolledRecipients:
		return errNoRollup
	}
	ids, err := r.state.LastActive(r.limit())
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := r.recipient(id); err != nil {
			return err
		}
	}
	return nil
}

func (r *roller) recipient(id event.RecipientID) error {
	return r.state.Recipient(id, func(email event.EmailID, p *rollup.Pair) {
		r.rows = append(r.rows, pairRow(email, id, p))
	})
}

// activeIn makes the pairs of those who were active last in one email.
func (r *roller) activeIn(email event.EmailID) error {
	ids, err := r.state.LastActiveIn(email, r.limit())
	if err != nil {
		return err
	}
	slices.Sort(ids)
	return r.state.Pairs(email, func(id event.RecipientID, p *rollup.Pair) {
		if _, ok := slices.BinarySearch(ids, id); ok {
			r.rows = append(r.rows, pairRow(email, id, p))
		}
	})
}

func timeIf(set bool, t event.Micros) driver.Value {
	if !set {
		return nil
	}
	return t.Time()
}

// sumsRow appends what tables of sums have in common, in the order of their columns.
func sumsRow(row []driver.Value, s *rollup.Sums) []driver.Value {
	opens := &s.Did[0]
	row = append(row, s.Sent, s.Bounced, s.Delivered, s.Complained, s.Unsubscribed)
	for i := range s.Did {
		d := &s.Did[i]
		row = append(row, d.Total, d.Human, d.Machine, d.Unique, d.ByHuman, d.ByMachine)
		if i == 1 {
			row = append(row, s.Confirmed)
		}
	}
	return append(row, timeIf(opens.Unique > 0, s.FirstOpened), timeIf(opens.ByHuman > 0, s.FirstOpenedHuman),
		timeIf(opens.Unique > 0, s.LastOpened), timeIf(opens.ByHuman > 0, s.LastOpenedHuman))
}

// pairRow is a row of engagement.
func pairRow(email event.EmailID, recipient event.RecipientID, p *rollup.Pair) []driver.Value {
	row := []driver.Value{int64(email), int64(recipient), int64(p.Sends), int64(p.Deliveries), int64(p.Bounces), int64(p.Complaints), int64(p.Unsubscriptions)}
	for i := range p.Did {
		row = append(row, int64(p.Did[i].Total), int64(p.Did[i].Human), int64(p.Did[i].Machine))
	}
	row = append(row, timeIf(p.Sends > 0, p.FirstSent), timeIf(p.Deliveries > 0, p.FirstDelivered))
	for i := range p.Did {
		d := &p.Did[i]
		row = append(row, timeIf(d.Total > 0, d.First), timeIf(d.Human > 0, d.FirstHuman), timeIf(d.Total > 0, d.Last), timeIf(d.Human > 0, d.LastHuman))
	}
	last, active := p.LastActive()
	return append(row, timeIf(active, last))
}

// put makes the table in a connection, for as long as the query lasts.
func (t *rolledTable) put(ctx context.Context, conn *sql.Conn) (drop func(), err error) {
	i := slices.IndexFunc(kpiTables, func(p published) bool { return p.Name == t.name })
	columns := make([]string, len(kpiTables[i].Columns))
	for k, c := range kpiTables[i].Columns {
		columns[k] = c.Name + " " + c.Type
	}
	if _, err := conn.ExecContext(ctx, "CREATE OR REPLACE TEMP TABLE "+t.name+" ("+strings.Join(columns, ", ")+")"); err != nil {
		return nil, fmt.Errorf("make %s: %w", t.name, err)
	}
	drop = func() {
		// What is left is replaced by the next one, and seen by nobody.
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "DROP TABLE "+t.name)
	}
	err = conn.Raw(func(c any) error {
		a, err := duckdb.NewAppenderFromConn(c.(driver.Conn), "", t.name)
		if err != nil {
			return err
		}
		for _, row := range t.rows {
			if err := a.AppendRow(row...); err != nil {
				return errors.Join(err, a.Clear(), a.Close())
			}
		}
		return a.Close()
	})
	if err != nil {
		drop()
		return nil, fmt.Errorf("fill %s: %w", t.name, err)
	}
	return drop, nil
}
