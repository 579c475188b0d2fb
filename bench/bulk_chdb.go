package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// chdb starts ClickHouse, whose version and configuration the report tells; it
// returns nil and nil if it is absent.
func (b *bulkBench) chdb(ctx context.Context, dir, configured string) (*peer, error) {
	p, err := b.o.chdb(ctx, filepath.Join(dir, "clickhouse"))
	if errors.Is(err, errAbsent) {
		b.sheet.peer("ClickHouse", "absent: "+err.Error())
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	version, err := p.sql("SELECT version() AS v")
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	b.sheet.peer("ClickHouse", "chDB "+field(version.Text, "v")+", "+configured)
	return p, nil
}

// againstChDB lets ClickHouse insert the same bodies from files.
func (b *bulkBench) againstChDB(ctx context.Context, dir string) error {
	p, err := b.chdb(ctx, dir, "the same bodies as uncompressed files of "+number(bulkRows)+
		" rows, an INSERT each into a MergeTree sorted and partitioned as mailwake's tables are; no fsync, which is its default; it neither classifies user agents nor asks for consent")
	if p == nil {
		return err
	}
	defer func() { _ = p.close() }() // all its answers were read
	for _, f := range bulkForms {
		if f.encoding != "" {
			continue
		}
		b.say.step("ClickHouse: %s", f.name)
		if err := b.insert(p, f, dir); err != nil {
			return fmt.Errorf("ClickHouse: %s: %w", f.name, err)
		}
	}
	return nil
}

// The rows of bodies as ClickHouse keeps them best.
const (
	clickhouseRows = `occurred_at DateTime64(6, 'UTC'), kind LowCardinality(String), email_id Int64, recipient_id Int64,
  component Int32, user_agent LowCardinality(Nullable(String)), actor LowCardinality(Nullable(String))`
	clickhouseTable = "CREATE TABLE rows (" + clickhouseRows + ") ENGINE = MergeTree PARTITION BY toYYYYMM(occurred_at) ORDER BY (email_id, recipient_id, occurred_at)"
)

// insertInto is the statement that inserts the body in a file.
func insertInto(table, path string, f bulkForm) string {
	at, format, structure := "occurred_at", "ArrowStream", clickhouseRows
	if f.format == formatNDJSON {
		at, format = "fromUnixTimestamp64Micro(occurred_at, 'UTC')", "JSONEachRow"
		structure = "occurred_at Int64, kind String, email_id Int64, recipient_id Int64, component Int32, user_agent Nullable(String), actor Nullable(String)"
	}
	return fmt.Sprintf("INSERT INTO %s (occurred_at, kind, email_id, recipient_id, component, user_agent, actor) SELECT %s, kind, email_id, recipient_id, component, user_agent, actor FROM file('%s', %s, $$%s$$)",
		table, at, path, format, structure)
}

func (b *bulkBench) insert(p *peer, f bulkForm, dir string) error {
	bodies, err := b.bodies(f)
	if err != nil {
		return err
	}
	if err := p.all("DROP TABLE IF EXISTS rows SYNC", clickhouseTable); err != nil {
		return err
	}
	path := filepath.Join(dir, "body")
	statement := insertInto("rows", path, f)
	var seconds, cpu float64
	var inserts int
	for i := 0; seconds < b.o.Duration.Seconds(); i++ {
		if err := os.WriteFile(path, bodies[i%len(bodies)], 0o600); err != nil {
			return err
		}
		a, err := p.sql(statement)
		if err != nil {
			return err
		}
		if i > 0 { // the first one warms up
			seconds, cpu, inserts = seconds+a.Seconds, cpu+a.CPU, inserts+1
		}
	}
	count, err := p.sql("SELECT count() AS n FROM rows")
	if err != nil {
		return err
	}
	if want := fmt.Sprint((inserts + 1) * bulkRows); field(count.Text, "n") != want {
		return fmt.Errorf("%s rows are stored of %s", field(count.Text, "n"), want)
	}
	b.sheet.add(f.name, "ClickHouse, events/s", float64(inserts)*bulkRows/seconds, "/s")
	b.sheet.add(f.name, insertedPerCore, float64(inserts)*bulkRows/cpu, "/s")
	return nil
}
