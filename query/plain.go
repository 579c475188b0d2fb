package query

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// Plain is DuckDB by itself over Parquet files: the SQL of the catalogue over the
// same published tables, with nothing kept beside the files. Benchmarks hold DB
// against it. One goroutine uses it.
type Plain struct {
	db   *sql.DB
	kpis []KPI
	base base
}

// plainCatalog is how the tables of the catalogue are read from the files that an
// analyst's SELECT gave.
var plainCatalog = map[string]string{
	"emails":      "email_id, sender, subject, template, created_at, links, follow_state, attachments, recipients",
	"recipients":  "recipient_id, address, name, person",
	"links":       "email_id, component, url",
	"attachments": "email_id, component, name, media_type, size, followed",
}

// OpenPlain returns a Plain over files of interactions; the folder catalog has
// emails.parquet, recipients.parquet, links.parquet and attachments.parquet.
func OpenPlain(ctx context.Context, files []string, catalog string, threads int, memory int64) (p *Plain, err error) {
	p = &Plain{base: base{own: []string{"SELECT " + fileColumns + " FROM read_parquet([" + literals(files) + "])"}, persons: true}}
	if p.kpis, err = loadKPIs(); err != nil {
		return nil, err
	}
	if p.db, err = openDuck(threads, memory); err != nil {
		return nil, err
	}
	for table, columns := range plainCatalog {
		text := fmt.Sprintf("CREATE TABLE catalog_%s AS SELECT %s FROM read_parquet(%s)", table, columns, literal(filepath.Join(catalog, table+".parquet")))
		if _, err := p.db.ExecContext(ctx, text); err != nil {
			return nil, errors.Join(fmt.Errorf("load %s: %w", table, err), p.db.Close())
		}
	}
	return p, nil
}

// KPI answers as DB.KPI does for those who may see persons, in the zone UTC. The
// caller closes the result.
func (p *Plain) KPI(ctx context.Context, name string, params map[string]string) (*Result, error) {
	k, err := (&DB{kpis: p.kpis}).find(name)
	if err != nil {
		return nil, err
	}
	args, err := k.bind(params, surroundings{now: minuteAfter(time.Now()), zone: "UTC", knowsZone: func(string) (bool, error) { return true, nil }})
	if err != nil {
		return nil, err
	}
	text, ok := k.spelled(k.sql, args)
	if !ok {
		return nil, fmt.Errorf("kpi %s: a parameter that is a text is not supported", name)
	}
	head, err := p.base.with(k.reads)
	if err != nil {
		return nil, err
	}
	conn, err := p.db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	return collectDirect(ctx, conn, head+"SELECT * FROM (\n"+text+"\n)", question{limit: maxCount}, 1<<30)
}

// Close frees the instance.
func (p *Plain) Close() error { return p.db.Close() }
