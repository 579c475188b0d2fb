package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"mailwake/engine/problem"
)

// maxFindings bounds what Check reports of one kind; more would not help anybody.
const maxFindings = 20

// Check reads the whole database and returns all that is wrong with it, nil when
// nothing is: damaged pages, rows whose parent is missing, ids above their counter
// (it would give them out twice), keys whose hash is not one, preferences that the
// consent ledger does not lead to, answers that do not follow from the preferences,
// ledgers and audit trails that were altered. Findings have code registry_corrupt
// and hold no personal data. It takes time in proportion to the size of the registry.
func (r *Registry) Check(ctx context.Context) error {
	var findings []error
	for _, check := range []func(context.Context) ([]string, error){r.checkPages, r.checkParents, r.checkRows, r.checkConsent, r.checkLedgers} {
		faults, err := check(ctx)
		for _, f := range faults {
			findings = append(findings, problem.New(500, "registry_corrupt", "%s.", f))
		}
		if err != nil {
			// What SQLite cannot read is a finding too; the other checks may still run.
			findings = append(findings, storeError("check registry", err))
		}
	}
	return errors.Join(findings...)
}

func (r *Registry) checkPages(ctx context.Context) (faults []string, err error) {
	var lines []string
	if err := r.reader.NewRaw(fmt.Sprintf("PRAGMA integrity_check(%d)", maxFindings)).Scan(ctx, &lines); err != nil {
		return nil, err
	}
	for _, line := range lines {
		if line != "ok" {
			faults = append(faults, "Integrity: "+line)
		}
	}
	return faults, nil
}

func (r *Registry) checkParents(ctx context.Context) (faults []string, err error) {
	var rows []struct {
		Table  string `bun:"table"`
		Parent string `bun:"parent"`
		N      int    `bun:"n"`
	}
	err = r.reader.NewRaw(`SELECT "table", "parent", count(*) AS n FROM pragma_foreign_key_check GROUP BY 1, 2`).Scan(ctx, &rows)
	for _, row := range rows {
		faults = append(faults, fmt.Sprintf("%d rows of %s have no parent in %s", row.N, row.Table, row.Parent))
	}
	return faults, err
}

func (r *Registry) checkRows(ctx context.Context) (faults []string, err error) {
	for _, c := range []struct{ fault, query string }{
		{"The counter of organisations is below the id %d", `SELECT id FROM organisations
			WHERE id > (SELECT last FROM sequences WHERE name = 'organisation')`},
		{"The counter of organisations is below the id %d, which was purged", `SELECT org_id FROM purges
			WHERE org_id > (SELECT last FROM sequences WHERE name = 'organisation')`},
		{"The counter of keys is below the id %d", `SELECT id FROM api_keys
			WHERE id > (SELECT last FROM sequences WHERE name = 'key')`},
		{"The counter of emails is below an id in organisation %d", `SELECT o.id FROM organisations AS o
			WHERE (SELECT max(id) FROM emails WHERE org_id = o.id) > o.last_email_id`},
		{"The counter of recipients is below an id in organisation %d", `SELECT o.id FROM organisations AS o
			WHERE (SELECT max(id) FROM recipients WHERE org_id = o.id) > o.last_recipient_id`},
		{"The counter of attachments is below an id in organisation %d", `SELECT o.id FROM organisations AS o
			WHERE (SELECT max(id) FROM attachments WHERE org_id = o.id) > o.last_attachment_id`},
		{"The hash of key %d is damaged", `SELECT id FROM api_keys WHERE length(hash) <> 64 OR hash GLOB '*[^0-9a-f]*'`},
	} {
		var ids []int64
		if err := r.reader.NewRaw("? LIMIT ?", bun.Safe(c.query), maxFindings).Scan(ctx, &ids); err != nil {
			return faults, err
		}
		for _, id := range ids {
			faults = append(faults, fmt.Sprintf(c.fault, id))
		}
	}
	return faults, nil
}

// Summary tells the size of the registry, without personal data.
type Summary struct {
	Schema string // newest migration, e.g. 0001
	Tables []TableSize
}

// TableSize is the number of rows of one table.
type TableSize struct {
	Name string
	Rows int64
}

// Summary counts the rows of every table.
func (r *Registry) Summary(ctx context.Context) (Summary, error) {
	version, err := schemaVersion(ctx, r.reader)
	if err != nil {
		return Summary{}, storeError("summarise registry", err)
	}
	out := Summary{Schema: version}
	var tables []string
	err = r.reader.NewRaw(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'sequences'
		AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'bun_%' ORDER BY rowid`).Scan(ctx, &tables)
	if err != nil {
		return Summary{}, storeError("list tables", err)
	}
	for _, table := range tables {
		n, err := r.reader.NewSelect().TableExpr("?", bun.Ident(table)).Count(ctx)
		if err != nil {
			return Summary{}, storeError("count "+table, err)
		}
		out.Tables = append(out.Tables, TableSize{table, n})
	}
	return out, nil
}
