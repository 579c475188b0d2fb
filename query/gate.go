package query

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"mailwake/engine/problem"
)

// gate decides which foreign statements run. It takes the parse tree that
// DuckDB's own parser makes of a text, on an instance that has no data, holds
// every object of the tree against allow-lists (gate_walk.go), and gives back the
// text that DuckDB writes for that tree: what runs is what was looked at, not what
// was typed. It is safe for concurrent use.
type gate struct {
	db          *sql.DB
	read, write *sql.Stmt // text to tree, tree to text
}

const (
	// maxStatement bounds a statement in bytes: the longest hand-written report seen
	// has 9 kB, and a parse tree is about a hundred times its text.
	maxStatement = 64 << 10
	gateMemory   = 256 << 20
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
	g := &gate{db: db}
	if g.read, err = db.Prepare("SELECT json_serialize_sql($1::VARCHAR)::VARCHAR"); err == nil {
		g.write, err = db.Prepare("SELECT json_deserialize_sql($1::JSON)")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare parser: %w", err), db.Close())
	}
	return g, nil
}

func (g *gate) close() error { return errors.Join(g.read.Close(), g.write.Close(), g.db.Close()) }

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

	tree string // the answer as it came
}

func (g *gate) parse(ctx context.Context, text string) (p parsed, err error) {
	if err := g.read.QueryRowContext(ctx, text).Scan(&p.tree); err != nil {
		return p, fmt.Errorf("parse statement: %w", err)
	}
	if json.Unmarshal([]byte(p.tree), &p) != nil {
		// DuckDB writes valid JSON; what cannot be read is deeper than Go reads.
		return p, problem.New(400, "sql_invalid", "The statement is nested too deeply.")
	}
	return p, nil
}

// passed is a statement that may run: one SELECT, fit to stand in parentheses.
type passed struct {
	text   string // canonical
	places places // from bytes of text to bytes of what was typed
}

// check lets a statement pass that is one SELECT over the tables of s. Problems:
// sql_invalid, sql_not_select, sql_forbidden.
func (g *gate) check(ctx context.Context, text string, s surface) (passed, error) {
	if len(text) > maxStatement || strings.ContainsRune(text, 0) {
		return passed{}, problem.New(400, "sql_invalid", "The statement is longer than %d bytes or holds a NUL character.", maxStatement)
	}
	typed, err := g.parse(ctx, text)
	switch {
	case err != nil:
		return passed{}, err
	case typed.Error && typed.Type == "parser":
		position, err := strconv.Atoi(typed.Position)
		if err != nil {
			position = -1
		}
		return passed{}, invalid("Parser Error: "+typed.Message, text, position)
	case typed.Error || len(typed.Statements) == 0:
		return passed{}, problem.New(400, "sql_not_select", "Only SELECT statements are answered; this is none. (PIVOT needs its IN list.)")
	case len(typed.Statements) > 1:
		return passed{}, problem.New(400, "sql_not_select", "There are %d statements; send one at a time.", len(typed.Statements))
	}
	tree, err := inspect(text, typed.Statements[0], s)
	if err != nil {
		return passed{}, err
	}
	return g.canonical(ctx, typed.tree, tree, text, s)
}

// canonical writes the tree as text and looks at the tree of that text too: a
// statement that DuckDB writes differently from how it reads it must not slip
// through between the two.
func (g *gate) canonical(ctx context.Context, serialized string, tree any, text string, s surface) (passed, error) {
	var p passed
	if err := g.write.QueryRowContext(ctx, serialized).Scan(&p.text); err != nil {
		return passed{}, fmt.Errorf("write statement: %w", err)
	}
	again, err := g.parse(ctx, p.text)
	if err != nil {
		return passed{}, err
	}
	if again.Error || len(again.Statements) != 1 {
		return passed{}, forbidden("DuckDB does not read this statement back as it writes it; put it in simpler words.", text, -1)
	}
	second, err := inspect(p.text, again.Statements[0], s)
	if err != nil {
		return passed{}, err
	}
	p.places = places{}
	p.places.match(second, tree)
	return p, nil
}

// places maps where the canonical text has an expression to where the typed text
// has it, so that an error of the one can be shown in the other.
type places map[int]int

// match walks two trees of the same statement; where their shapes part, nothing
// is noted.
func (p places) match(canonical, typed any) {
	switch c := canonical.(type) {
	case []any:
		t, ok := typed.([]any)
		if !ok || len(t) != len(c) {
			return
		}
		for i := range c {
			p.match(c[i], t[i])
		}
	case map[string]any:
		t, ok := typed.(map[string]any)
		if !ok {
			return
		}
		if from, to := location(c), location(t); from >= 0 && to >= 0 {
			p[from] = to
		}
		for key := range c {
			p.match(c[key], t[key])
		}
	}
}

// of returns the place in the typed text of an error at position of the canonical
// one; -1 if it is not known.
func (p places) of(position int) int {
	if at, ok := p[position]; ok {
		return at
	}
	return -1
}
