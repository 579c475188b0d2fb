package bench

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

// ClickHouse's SQL of each KPI, and of the views that they stand on.
//
//go:embed peers/clickhouse
var clickhouseFiles embed.FS

// clickhouseDDL is the table as ClickHouse is best with it: sorted as mailwake's
// files are, a partition per month, short texts as LowCardinality.
const clickhouseDDL = `CREATE TABLE interactions (event_id Int64, occurred_at DateTime64(6, 'UTC'), kind LowCardinality(String),
  email_id Int64, recipient_id Int64, component Int32, actor LowCardinality(String), reason LowCardinality(String),
  device LowCardinality(String), client LowCardinality(String), os LowCardinality(String), source LowCardinality(String),
  user_agent LowCardinality(Nullable(String)), network LowCardinality(Nullable(String)))
ENGINE = MergeTree PARTITION BY toYYYYMM(occurred_at) ORDER BY (email_id, recipient_id, occurred_at)`

var clickhouseSettings = []string{
	"SET join_use_nulls = 1", "SET session_timezone = 'UTC'", "SET cast_keep_nullable = 1", "SET allow_experimental_correlated_subqueries = 1",
	"SET schema_inference_make_columns_nullable = 1", "SET prefer_column_name_to_alias = 1", "SET output_format_json_quote_64bit_integers = 1",
}

// againstChDB fills ClickHouse from the server's files and asks it, if it is there.
func (k *kpiBench) againstChDB(ctx context.Context, list []asked, answers map[string]string) error {
	store := filepath.Join(k.catalog, "clickhouse")
	p, err := k.o.chdb(ctx, store)
	if errors.Is(err, errAbsent) {
		k.sheet.peer("ClickHouse", "absent: "+err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = p.close() }() // all its answers were read
	k.say.step("filling ClickHouse")
	if err := k.fillClickHouse(p); err != nil {
		return err
	}
	version, err := p.sql("SELECT version() AS v")
	if err != nil {
		return err
	}
	k.sheet.peer("ClickHouse", "chDB "+field(version.Text, "v")+", MergeTree ORDER BY (email_id, recipient_id, occurred_at), PARTITION BY month, LowCardinality texts, OPTIMIZE … FINAL before asking, groups and sorts on disk beyond a third of the memory, no projections or materialised views")
	return k.engine(ctx, "ClickHouse", list, answers, func(a asked) (string, float64, error) {
		text, err := clickhouseKPI(a)
		if err != nil {
			return "", 0, err
		}
		answer, err := p.sql(text)
		return answer.Text, answer.Seconds, err
	})
}

func (k *kpiBench) fillClickHouse(p *peer) error {
	spill := fmt.Sprintf("%.0f", k.sheet.Machine.MemoryMiB/3*(1<<20)) // so that 100 million events have room
	views, err := clickhouseFiles.ReadFile("peers/clickhouse/views.ddl")
	if err != nil {
		return err
	}
	statements := append(append([]string{}, clickhouseSettings...), "SET max_bytes_before_external_group_by = "+spill, "SET max_bytes_before_external_sort = "+spill, clickhouseDDL)
	for _, f := range k.files {
		statements = append(statements, insertFile(f))
	}
	statements = append(statements, "OPTIMIZE TABLE interactions FINAL")
	for _, table := range []string{"emails", "recipients", "links", "attachments"} {
		statements = append(statements, fmt.Sprintf("CREATE TABLE %s ENGINE = MergeTree ORDER BY tuple() AS SELECT * FROM file('%s', Parquet)", table, filepath.Join(k.catalog, table+".parquet")))
	}
	for view := range strings.SplitSeq(string(views), ";\n") {
		if view = strings.TrimSpace(view); view != "" {
			statements = append(statements, view)
		}
	}
	return p.all(statements...)
}

// insertFile inserts one of mailwake's data files.
func insertFile(path string) string {
	return `INSERT INTO interactions SELECT event_id, occurred_at, kind, email_id, recipient_id, component, actor, reason, device, client, os, source, user_agent, network FROM file('` + path + `', Parquet)`
}

var sqlParam = regexp.MustCompile(`\$(\w+)`)

// clickhouseKPI is the SQL of a KPI with its parameters spelled out, all of which
// are ours: numbers, words and times. One that is left out is NULL, or the
// catalogue's default for how many rows there may be.
func clickhouseKPI(a asked) (string, error) {
	text, err := clickhouseFiles.ReadFile("peers/clickhouse/" + a.name + ".sql")
	defaults := map[string]string{"limit": "100", "window": "30", "weeks": "12"}
	if a.name == "email_list" {
		defaults["limit"] = "50"
	}
	return sqlParam.ReplaceAllStringFunc(string(text), func(p string) string {
		name := p[1:]
		v, ok := a.params[name]
		switch {
		case !ok && defaults[name] != "":
			return defaults[name]
		case !ok:
			return "NULL"
		case strings.Trim(v, "0123456789") == "":
			return v
		case name == "now":
			return "parseDateTime64BestEffort('" + v + "', 6, 'UTC')"
		}
		return "'" + v + "'"
	}), err
}

// field returns a column of the first row of an answer.
func field(text, column string) string {
	m := regexp.MustCompile(`"` + column + `":"?([^",}]*)`).FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return m[1]
}
