package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"

	"mailwake/query"
)

type sqlCmd struct {
	clientFlags
	rowFlags
	Limit int    `help:"Rows at most; 0 is 10,000." default:"10000"`
	Query string `arg:"" optional:"" help:"One SELECT, or .schema; without it, it is read from standard input, on a terminal line by line."`
}

// Help shows examples.
func (sqlCmd) Help() string {
	return `Without a statement, on a terminal, it is a prompt with history and completion; .help says what it knows.

Examples:
  mailwake sql
  mailwake sql .schema
  mailwake sql "select kind, actor, count(*) from interactions group by all"
  mailwake sql --format parquet --output clicks.parquet "from interactions where kind = 'click'"
  mailwake sql < report.sql`
}

// maxPiped bounds a statement from standard input; the server takes less.
const maxPiped = 1 << 20

// Run asks the server for the rows of a statement, or of many, one after the other.
func (s *sqlCmd) Run(ctx context.Context, e *env) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	if s.Query == "" && isTerminal(os.Stdin) {
		return newREPL(s, e, c).run(ctx)
	}
	if s.Query == "" {
		text, err := io.ReadAll(io.LimitReader(os.Stdin, maxPiped))
		if err != nil {
			return fmt.Errorf("read statement: %w", err)
		}
		s.Query = string(text)
	}
	switch strings.TrimSpace(s.Query) {
	case "":
		return errors.New("no statement; try: mailwake sql \"select count(*) from interactions\"")
	case ".schema":
		schema, err := s.schema(ctx, c)
		if err != nil {
			return err
		}
		return printSchema(e.out, schema, "")
	}
	rows, err := s.ask(ctx, c, s.Query, s.Format)
	if err != nil {
		return err
	}
	defer rows.Close()
	return s.write(e, rows)
}

func (s *sqlCmd) ask(ctx context.Context, c *client, text, format string) (io.ReadCloser, error) {
	return c.call(ctx, http.MethodPost, s.orgPath("/sql"), url.Values{"format": {format}}, map[string]any{"sql": text, "limit": s.Limit})
}

func (s *sqlCmd) schema(ctx context.Context, c *client) (schema query.SQLSchema, err error) {
	err = c.get(ctx, http.MethodGet, s.orgPath("/sql/schema"), nil, nil, &schema)
	return schema, err
}

// printSchema writes the tables, or the one named, with their columns.
func printSchema(w io.Writer, schema query.SQLSchema, only string) error {
	found := false
	for _, table := range schema.Tables {
		if only != "" && table.Name != only {
			continue
		}
		found = true
		fmt.Fprintf(w, "%s: %s\n", table.Name, table.Meaning)
		t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		for _, c := range table.Columns {
			fmt.Fprintf(t, "  %s\t%s\t%s\n", c.Name, c.Type, c.Meaning)
		}
		if err := t.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	if !found {
		return fmt.Errorf("there is no table %s", only)
	}
	return nil
}
