package query

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"mailwake/engine/problem"
)

// gate checks foreign statements with DuckDB's own parser, on an instance that
// has no data. It is safe for concurrent use.
type gate struct{ db *sql.DB }

const (
	maxStatement = 64 << 10
	gateMemory   = 256 << 20
	maxCuts      = 100 // a parse costs about 0.1 ms
)

func newGate() (*gate, error) {
	db, err := openDuck(1, gateMemory)
	if err != nil {
		return nil, err
	}
	for _, statement := range []string{"SET enable_external_access = false", "SET lock_configuration = true"} {
		if _, err := db.Exec(statement); err != nil {
			return nil, errors.Join(fmt.Errorf("lock parser: %w", err), db.Close())
		}
	}
	return &gate{db: db}, nil
}

func (g *gate) close() error { return g.db.Close() }

// knowsZone says whether name is a time zone.
func (g *gate) knowsZone(ctx context.Context, name string) (known bool, err error) {
	err = g.db.QueryRowContext(ctx, "SELECT count(*) > 0 FROM pg_timezone_names() WHERE name = $1", name).Scan(&known)
	if err != nil {
		return false, fmt.Errorf("look up zone: %w", err)
	}
	return known, nil
}

// parsed is what json_serialize_sql says of a text.
type parsed struct {
	Error      bool              `json:"error"`
	Type       string            `json:"error_type"`
	Message    string            `json:"error_message"`
	Position   string            `json:"position"`
	Statements []json.RawMessage `json:"statements"`
}

func (g *gate) parse(ctx context.Context, text string) (p parsed, err error) {
	var tree string
	if err := g.db.QueryRowContext(ctx, "SELECT json_serialize_sql($1::VARCHAR)::VARCHAR", text).Scan(&tree); err != nil {
		return p, fmt.Errorf("parse statement: %w", err)
	}
	if json.Unmarshal([]byte(tree), &p) != nil {
		// DuckDB writes valid JSON; what cannot be read is deeper than Go reads.
		return p, problem.New(400, "sql_invalid", "The statement is nested too deeply.")
	}
	return p, nil
}

// check returns text without what follows the statement, if it is one SELECT that
// reads the published tables only. What it returns can stand in parentheses: it
// is a whole statement by itself.
func (g *gate) check(ctx context.Context, text string) (string, error) {
	if len(text) > maxStatement || strings.ContainsRune(text, 0) {
		return "", problem.New(400, "sql_invalid", "The statement is longer than %d bytes or holds a NUL character.", maxStatement)
	}
	p, err := g.parse(ctx, text)
	switch {
	case err != nil:
		return "", err
	case p.Error && p.Type == "parser":
		position, err := strconv.Atoi(p.Position)
		if err != nil {
			position = -1
		}
		return "", invalid("Parser Error: "+p.Message, text, position)
	case p.Error || len(p.Statements) == 0:
		return "", problem.New(400, "sql_not_select", "Only SELECT statements are answered; this is none.")
	case len(p.Statements) > 1:
		return "", problem.New(400, "sql_not_select", "There are %d statements; send one at a time.", len(p.Statements))
	}
	if err := inspect(text, p.Statements[0]); err != nil {
		return "", err
	}
	return g.trim(ctx, text, p.Statements[0])
}

// trim cuts text at the semicolon that ends the statement, which could not stand
// in parentheses. A cut that leaves the parse tree as it was, positions included,
// cut nothing of the statement. Semicolons are tried from the end, at most
// maxCuts: the others are in strings or long comments.
func (g *gate) trim(ctx context.Context, text string, tree json.RawMessage) (string, error) {
	end := len(text)
	for range maxCuts {
		end = strings.LastIndexByte(text[:end], ';')
		if end < 0 {
			break
		}
		p, err := g.parse(ctx, text[:end])
		if err != nil {
			return "", err
		}
		if len(p.Statements) == 1 && string(p.Statements[0]) == string(tree) {
			text = text[:end]
		}
	}
	return text, nil
}

// The tables and table functions that statements may name, besides their own CTEs.
const (
	publishedTables    = " interactions emails recipients links "
	publishedFunctions = " range generate_series unnest "
)

var plainName = regexp.MustCompile(`^[\p{L}_][\p{L}\p{N}_]*$`)

// inspector walks a parse tree. Functions of tables reach files, settings and
// other statements; names that are no table become files. Both are refused here
// with a clear word, and again by the locked instance.
type inspector struct {
	text string
	ctes map[string]bool
}

func inspect(text string, statement json.RawMessage) error {
	var tree struct {
		Node any `json:"node"`
	}
	if err := json.Unmarshal(statement, &tree); err != nil {
		return fmt.Errorf("read parse tree: %w", err)
	}
	in := inspector{text: text, ctes: map[string]bool{}}
	in.collect(tree.Node)
	return in.walk(tree.Node)
}

// collect notes the names of all CTEs, wherever they are in scope: a name out of
// scope fails later, and reaches nothing.
func (in *inspector) collect(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			in.collect(e)
		}
	case map[string]any:
		if name, ok := v["cte_name"].(string); ok {
			in.ctes[strings.ToLower(name)] = true
		}
		if ctes, ok := v["cte_map"].(map[string]any); ok {
			entries, _ := ctes["map"].([]any)
			for _, e := range entries {
				if e, ok := e.(map[string]any); ok {
					in.ctes[strings.ToLower(field(e, "key"))] = true
				}
			}
		}
		for _, e := range v {
			in.collect(e)
		}
	}
}

func (in *inspector) walk(v any) error {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if err := in.walk(e); err != nil {
				return err
			}
		}
	case map[string]any:
		if err := in.visit(v); err != nil {
			return err
		}
		for _, e := range v {
			if err := in.walk(e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (in *inspector) visit(v map[string]any) error {
	switch {
	case field(v, "class") == "PARAMETER":
		return invalid("There are no values for parameters here; write the value into the statement.", in.text, location(v))
	case field(v, "type") == "TABLE_FUNCTION":
		f, _ := v["function"].(map[string]any)
		name := strings.ToLower(field(f, "function_name"))
		if !strings.Contains(publishedFunctions, " "+name+" ") {
			return forbidden(fmt.Sprintf("The table function %s is not available; there are%s.", name, listed(publishedFunctions)), in.text, location(v))
		}
	case field(v, "type") == "BASE_TABLE":
		name := strings.ToLower(field(v, "table_name"))
		known := in.ctes[name] || strings.Contains(publishedTables, " "+name+" ")
		if !known || !plainName.MatchString(name) || field(v, "schema_name") != "" || field(v, "catalog_name") != "" {
			return forbidden(fmt.Sprintf("There is no table %s; there are%s.", field(v, "table_name"), listed(publishedTables)), in.text, location(v))
		}
	}
	return nil
}

func listed(names string) string {
	return " " + strings.Join(strings.Fields(names), ", ")
}

func field(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

func location(m map[string]any) int {
	f, ok := m["query_location"].(float64)
	if !ok || f > maxStatement {
		return -1
	}
	return int(f)
}
