package query

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"strconv"
	"sync"
	"time"

	"mailwake/engine/event"
)

// The surface of those who may not see persons: tables of figures that went
// through many.show. They are made here, in the process that holds the rows, and
// only they reach the worker.
//
//go:embed totals/*.sql
var totalsFiles embed.FS

// totalTables are the tables of the folder totals, in the order listed to people.
var totalTables = surface{"email_totals", "day_totals"}

// totalsAge is how old the tables may be that a statement reads, unless consent
// has changed: making them reads all rows, and figures that move with each single
// event would tell of single people.
const totalsAge = 10 * time.Second

// totalsQueries are the SELECTs of totalTables with exact figures.
var totalsDocs, totalsQueries = must2(loadTotals())

func must2[A, B any](a A, b B, err error) (A, B) {
	if err != nil {
		panic(err)
	}
	return a, b
}

func loadTotals() (docs []TableDoc, queries map[string]string, err error) {
	queries = map[string]string{}
	for _, name := range totalTables {
		text, err := totalsFiles.ReadFile("totals/" + name + ".sql")
		if err != nil {
			return nil, nil, fmt.Errorf("read table of totals: %w", err)
		}
		var head KPI
		body, err := head.parseHead(string(text))
		if err != nil {
			return nil, nil, fmt.Errorf("table of totals %s: %w", name, err)
		}
		queries[name] = body
		docs = append(docs, TableDoc{Name: name, Title: head.Title, Meaning: head.Meaning, Columns: head.Columns})
	}
	return docs, queries, nil
}

// TotalsSchema documents the tables of those who may not see persons.
func TotalsSchema() []TableDoc { return totalsDocs }

// totalsCache keeps the tables of each organisation for totalsAge.
type totalsCache struct {
	sync.Mutex
	made   map[event.OrgID]madeTotals
	serial int
}

type madeTotals struct {
	version string
	rules   string // what of the rules they were made under
	at      time.Time
	tables  []workerTable
}

// totals returns the tables of the aggregate surface of org.
func (db *DB) totals(ctx context.Context, org event.OrgID) (version string, tables []workerTable, err error) {
	rules, err := db.opts.Rules(org)
	if err != nil {
		return "", nil, fmt.Errorf("rules: %w", err)
	}
	now := db.opts.Clock()
	under := fmt.Sprint(rules.Consent.Version, rules.Consent.OptIn, rules.MaxAge)
	db.made.Lock()
	known, ok := db.made.made[org]
	db.made.Unlock()
	if ok && known.rules == under && now.Sub(known.at) < totalsAge {
		return known.version, known.tables, nil
	}
	for _, name := range totalTables {
		table, err := db.makeTotals(ctx, org, name)
		if err != nil {
			return "", nil, fmt.Errorf("make %s: %w", name, err)
		}
		tables = append(tables, table)
	}
	db.made.Lock()
	defer db.made.Unlock()
	if db.made.made == nil {
		db.made.made = map[event.OrgID]madeTotals{}
	}
	db.made.serial++
	version = strconv.Itoa(db.made.serial)
	db.made.made[org] = madeTotals{version: version, rules: under, at: now, tables: tables}
	return version, tables, nil
}

func (db *DB) makeTotals(ctx context.Context, org event.OrgID, name string) (t workerTable, err error) {
	text := totalsQueries[name]
	res, err := db.run(ctx, org, question{text: text, reads: readsOf(text), limit: db.opts.MaxRows})
	if err == nil {
		res, err = db.show(ctx, org, res, totalDisclosures[name], nil)
	}
	if err != nil {
		return t, err
	}
	defer res.Close()
	var ipc bytes.Buffer
	if err := res.Write(&ipc, Arrow); err != nil {
		return t, err
	}
	return workerTable{Name: name, IPC: ipc.Bytes()}, nil
}
