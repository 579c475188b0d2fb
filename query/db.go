package query

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// DB answers queries. It is safe for concurrent use.
type DB struct {
	opts  Options
	temp  string // folder to remove at Close; empty if the caller's
	kpis  []KPI
	gate  *gate
	work  *workers // nil: statements run in this process
	made  totalsCache
	admit chan struct{} // one token per running query
	// exports has a token for the running export: one at a time, since it lasts.
	exports chan struct{}
	done    chan struct{} // closed by Close
	runs    atomic.Bool   // Run does
	nudge   chan struct{} // Run is to look now

	mu struct {
		sync.Mutex
		closed bool
		stores map[event.OrgID]*store
	}
}

// Request asks for a KPI. Params holds parameters by name as text; those left
// out have the default of the catalogue. Without Persons, only figures about more
// than WorkerOptions.MinPeople people each are answered, and these rounded.
type Request struct {
	Org     event.OrgID
	Name    string
	Params  map[string]string
	Persons bool
	// Seen are Tags of answers that the caller has; one of them is not computed again.
	Seen []string
}

// Statement is one SELECT over the published tables of one organisation. With
// Persons these are about single recipients; without, totals of more than
// WorkerOptions.MinPeople people each, rounded.
type Statement struct {
	Org     event.OrgID
	Persons bool
	Text    string
	Limit   int // most rows returned; 0 is 10,000, never more than WorkerOptions.MaxRows
}

// Open returns a DB. It starts no goroutine, and an organisation's instance is
// opened by its first query.
func Open(opts Options) (db *DB, err error) {
	opts.setDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	db = &DB{opts: opts, admit: make(chan struct{}, opts.Concurrency), exports: make(chan struct{}, 1), done: make(chan struct{}), nudge: make(chan struct{}, 1)}
	db.mu.stores = map[event.OrgID]*store{}
	opened := db // a return of an error sets db to nil
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.Close())
		}
	}()
	if opts.TempDir == "" {
		if db.temp, err = os.MkdirTemp("", "mailwake-query-"); err != nil {
			return nil, fmt.Errorf("open query: %w", err)
		}
		db.opts.TempDir = db.temp
	} else if err := os.MkdirAll(opts.TempDir, 0o700); err != nil {
		return nil, fmt.Errorf("open query: %w", err)
	}
	if db.kpis, err = loadKPIs(); err != nil {
		return nil, err
	}
	if db.gate, err = newGate(); err != nil {
		return nil, err
	}
	if len(opts.Worker.Command) > 0 {
		db.work = newWorkers(&db.opts, feeder{opts: &db.opts, totals: db.totals})
	}
	return db, nil
}

// Close refuses new queries, waits for the running ones, which are bounded by
// Options.Timeout, and frees everything. Results already returned stay valid.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.mu.closed {
		db.mu.Unlock()
		return nil
	}
	db.mu.closed = true
	close(db.done)
	db.mu.Unlock()
	if db.work != nil {
		db.work.close()
	}
	for range cap(db.admit) {
		db.admit <- struct{}{}
	}
	db.exports <- struct{}{}
	var errs []error
	for _, s := range db.mu.stores {
		errs = append(errs, s.close())
	}
	if db.gate != nil {
		errs = append(errs, db.gate.close())
	}
	if db.temp != "" {
		errs = append(errs, os.RemoveAll(db.temp))
	}
	return errors.Join(errs...)
}

// KPIs returns the catalogue, by name.
func (db *DB) KPIs() []KPI { return slices.Clone(db.kpis) }

// KPI answers a KPI as of now: everything acknowledged before the call counts.
// Problems: kpi_not_found, kpi_about_persons, parameter_unknown,
// parameter_missing, parameter_invalid, feature_disabled, query_timeout,
// query_out_of_memory, result_too_large, query_closed. The caller closes the
// result.
func (db *DB) KPI(ctx context.Context, r Request) (*Result, error) {
	q, err := db.question(ctx, r)
	if err != nil {
		return nil, err
	}
	res, err := db.run(ctx, r.Org, q)
	if err == nil && !r.Persons {
		res, err = db.show(ctx, r.Org, res, kpiDisclosures[r.Name], q.given)
	}
	if err != nil {
		return nil, fmt.Errorf("kpi %s: %w", r.Name, err)
	}
	return res, nil
}

// question is the statement that answers r.
func (db *DB) question(ctx context.Context, r Request) (q question, err error) {
	rules, err := db.opts.Rules(r.Org)
	if err != nil {
		return q, fmt.Errorf("rules: %w", err)
	}
	if err := rules.readable(); err != nil {
		return q, err // before anything else is said
	}
	k, err := db.find(r.Name)
	if err != nil {
		return q, err
	}
	if !r.Persons && k.aboutPersons() {
		return q, problem.New(403, "kpi_about_persons", "KPI %s is about single persons; this key may see figures of at least %d people.", k.Name, db.opts.Worker.MinPeople)
	}
	q = question{text: k.sql, reads: k.reads, limit: db.opts.MaxRows, seen: r.Seen}
	q.args, err = k.bind(r.Params, surroundings{
		now: minuteAfter(db.opts.Clock()), zone: rules.Zone,
		knowsZone: func(zone string) (bool, error) { return db.gate.knowsZone(ctx, zone) },
	})
	if err != nil {
		return q, err
	}
	q.given = k.named(q.args)
	if !r.Persons {
		q.seen = nil // a tag changes with each event
		if err := k.mayAsk(r.Params); err != nil {
			return q, err
		}
	}
	if made, ok := rolledKPIs[k.Name]; ok {
		q.rolled, q.last = &made, k.last
	}
	if text, ok := k.spelled(q.text, q.args); ok {
		q.text, q.args = text, nil
	}
	return q, nil
}

// SQL runs one SELECT of an analyst as of now, in a process of its own that holds
// nothing but the rows the analyst may see. A large result is a stream.
// Problems: sql_not_select, sql_invalid with DuckDB's message and the place,
// sql_forbidden, sql_failed, feature_disabled, sql_timeout, sql_worker_ended, query_out_of_memory,
// result_too_large, query_closed. The caller closes the result.
func (db *DB) SQL(ctx context.Context, st Statement) (*Result, error) {
	if st.Limit < 0 {
		return nil, problem.New(400, "parameter_invalid", "limit must not be negative.")
	}
	if st.Limit == 0 {
		st.Limit = defaultRows
	}
	if db.work != nil {
		rules, err := db.opts.Rules(st.Org)
		if err != nil {
			return nil, fmt.Errorf("rules: %w", err)
		}
		if err := rules.readable(); err != nil {
			return nil, err
		}
		db.work.forgetBefore(st.Org, rules.Emptied)
		st.Limit = min(st.Limit, db.opts.Worker.MaxRows)
		return db.work.sql(ctx, st)
	}
	q, err := db.check(ctx, st.Text, publishedTables)
	if err != nil {
		return nil, err
	}
	q.limit = min(st.Limit, db.opts.MaxRows)
	return db.run(ctx, st.Org, q)
}

// Readable refuses organisations whose data nobody may read. Problem:
// feature_disabled.
func (db *DB) Readable(org event.OrgID) error {
	rules, err := db.opts.Rules(org)
	if err != nil {
		return fmt.Errorf("rules: %w", err)
	}
	return rules.readable()
}

func (db *DB) check(ctx context.Context, text string, s surface) (question, error) {
	limited, cancel := context.WithTimeout(ctx, db.opts.Timeout)
	defer cancel()
	q := question{text: text, typed: text, foreign: true, reads: s}
	p, err := db.gate.check(limited, text, s)
	if err != nil {
		return question{}, explain(ctx, limited, err, q, 0, nil)
	}
	q.text, q.places = p.text, p.places
	return q, nil
}

func (db *DB) store(org event.OrgID) (*store, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.mu.closed {
		return nil, errClosed()
	}
	s, ok := db.mu.stores[org]
	if !ok {
		s = newStore(org, &db.opts, &db.runs)
		db.mu.stores[org] = s
	}
	return s, nil
}

func errClosed() error {
	return problem.New(503, "query_closed", "The query engine is shutting down.")
}

// spillDir is the folder of what org's instance cannot keep in memory. Instances
// must not share one: their file names are equal.
func (o *Options) spillDir(org event.OrgID) string {
	return filepath.Join(o.TempDir, "org-"+strconv.FormatUint(uint64(org), 10))
}

// rollupDir is the folder of org's rollups; "" if none are kept.
func (o *Options) rollupDir(org event.OrgID) string {
	if o.RollupDir == "" {
		return ""
	}
	return filepath.Join(o.RollupDir, "org-"+strconv.FormatUint(uint64(org), 10))
}

// literal quotes s as an SQL string.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func literals(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = literal(s)
	}
	return strings.Join(quoted, ", ")
}
