package query

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// surface is the tables that a statement may name, in the order they are listed
// to people.
type surface []string

// publishedTables is the surface of those who may see persons.
var publishedTables = surface(surfaceOrder)

// insiders begin the names of the tables behind the surface. Nobody may take such
// a name for a CTE, so that no rule of scopes can put one for the other.
var insiders = regexp.MustCompile(`^(hot|catalog|consent|surface|rollup|duckdb|sqlite|pg|information)(_|$)`)

// maxDepth bounds how deep a tree nests; DuckDB's own limit for expressions is
// 1,000, and each of them is two or three levels here.
const maxDepth = 2000

// plainName is what tables and CTEs may be called: nothing that could be a path,
// a pattern or an address.
var plainName = regexp.MustCompile(`^[\p{L}_][\p{L}\p{N}_]*$`)

// What a tree may be made of.
var (
	queryNodes  = words("SELECT_NODE SET_OPERATION_NODE RECURSIVE_CTE_NODE")
	tableRefs   = words("BASE_TABLE SUBQUERY JOIN TABLE_FUNCTION EMPTY EXPRESSION_LIST PIVOT")
	expressions = words(`CASE CAST COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION OPERATOR STAR SUBQUERY WINDOW
		BETWEEN COLLATE LAMBDA POSITIONAL_REFERENCE`)
	otherNodes = words(`ORDER_MODIFIER LIMIT_MODIFIER LIMIT_PERCENT_MODIFIER DISTINCT_MODIFIER ORDER_DEFAULT ASCENDING DESCENDING
		DECIMAL_TYPE_INFO LIST_TYPE_INFO STRUCT_TYPE_INFO ARRAY_TYPE_INFO STRING_TYPE_INFO UNBOUND_TYPE_INFO`)
	// typeNames are types that the parser does not know by itself.
	typeNames = words("json enum")
	// sessionNames are columns by their looks and functions by their nature.
	sessionNames = words("current_catalog current_database current_role current_schema current_user session_user user")
)

// inspector walks a parse tree.
type inspector struct {
	text    string
	surface surface
}

// scope is the CTEs that are visible at a place: those before it in its own WITH
// and in the ones around it.
type scope struct {
	names map[string]bool
	outer *scope
}

func (s *scope) has(name string) bool {
	for ; s != nil; s = s.outer {
		if s.names[name] {
			return true
		}
	}
	return false
}

// inspect returns the tree of a statement whose every object is allowed.
func inspect(text string, statement json.RawMessage, s surface) (any, error) {
	var tree struct {
		Node   any   `json:"node"`
		Params []any `json:"named_param_map"`
	}
	if err := json.Unmarshal(statement, &tree); err != nil {
		return nil, fmt.Errorf("read parse tree: %w", err)
	}
	in := inspector{text: text, surface: s}
	if len(tree.Params) > 0 {
		return nil, invalid(noParameters, text, -1)
	}
	if m, ok := tree.Node.(map[string]any); !ok || m["cte_map"] == nil {
		return nil, in.refuse(nil, "This kind of statement is not answered")
	}
	return tree.Node, in.walk(tree.Node, nil, 0)
}

const noParameters = "There are no values for parameters here; write the value into the statement."

func (in *inspector) refuse(at map[string]any, format string, args ...any) error {
	return forbidden(fmt.Sprintf(format, args...)+".", in.text, location(at))
}

func (in *inspector) walk(v any, sc *scope, depth int) error {
	if depth > maxDepth {
		return invalid("The statement is nested too deeply.", in.text, -1)
	}
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if err := in.walk(e, sc, depth+1); err != nil {
				return err
			}
		}
	case map[string]any:
		sc, err := in.visit(v, sc, depth)
		if err != nil {
			return err
		}
		for key, e := range v {
			if key == "cte_map" {
				continue // visit has been there
			}
			if err := in.walk(e, sc, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// visit holds one object against the lists and returns the scope of what is in it.
func (in *inspector) visit(v map[string]any, sc *scope, depth int) (*scope, error) {
	kind, typed := v["type"].(string)
	class, isExpression := v["class"].(string)
	_, isNode := v["cte_map"]
	var err error
	switch {
	case isExpression:
		err = in.expression(class, v)
	case isNode:
		return in.node(kind, v, sc, depth)
	case typed && kind == "BASE_TABLE":
		err = in.table(v, sc)
	case typed && kind == "TABLE_FUNCTION":
		err = in.tableFunction(v)
	case typed && !tableRefs[kind] && !otherNodes[kind]:
		err = in.refuse(v, "%s is not available", spelled(kind))
	}
	if err == nil {
		err = in.stray(v, kind, class)
	}
	return sc, err
}

// stray refuses names where no rule above has looked at them.
func (in *inspector) stray(v map[string]any, kind, class string) error {
	if _, ok := v["table_name"]; ok && kind != "BASE_TABLE" {
		return in.refuse(v, "%s is not available", spelled(kind))
	}
	if _, ok := v["function_name"]; ok && class != "FUNCTION" && class != "WINDOW" {
		return in.refuse(v, "A function cannot be called here")
	}
	if v["pivot_enum"] != nil && v["pivot_enum"] != "" {
		return in.refuse(v, "PIVOT over a type is not available; list the values after IN")
	}
	if kind == "UNBOUND_TYPE_INFO" && (!typeNames[folded(field(v, "name"))] || field(v, "schema") != "" || field(v, "catalog") != "") {
		return in.refuse(v, "There is no type %s", printable(field(v, "name")))
	}
	return nil
}

// node opens the scope of a query. Its CTEs see those before them, and a
// recursive one itself.
func (in *inspector) node(kind string, v map[string]any, outer *scope, depth int) (*scope, error) {
	if !queryNodes[kind] {
		return nil, in.refuse(v, "%s is not available", spelled(kind))
	}
	sc := &scope{names: map[string]bool{}, outer: outer}
	if name, ok := v["cte_name"].(string); ok {
		if err := in.nameCTE(sc, name); err != nil {
			return nil, err
		}
	}
	ctes, _ := v["cte_map"].(map[string]any)
	entries, _ := ctes["map"].([]any)
	for _, e := range entries {
		e, _ := e.(map[string]any)
		if err := in.walk(e["value"], sc, depth+1); err != nil {
			return nil, err
		}
		if err := in.nameCTE(sc, field(e, "key")); err != nil {
			return nil, err
		}
	}
	return sc, nil
}

func (in *inspector) nameCTE(sc *scope, name string) error {
	lower := folded(name)
	switch {
	case !plainName.MatchString(name):
		return in.refuse(nil, "A WITH cannot be called %q; use letters, digits and underscores", printable(name))
	case slices.Contains(in.surface, lower), insiders.MatchString(lower):
		return in.refuse(nil, "A WITH cannot be called %s; that name is taken", lower)
	}
	sc.names[lower] = true
	return nil
}

func (in *inspector) table(v map[string]any, sc *scope) error {
	name := field(v, "table_name")
	lower := folded(name)
	known := sc.has(lower) || slices.Contains(in.surface, lower)
	if !known || !plainName.MatchString(name) || field(v, "schema_name") != "" || field(v, "catalog_name") != "" {
		return in.refuse(v, "There is no table %s; there are %s", printable(name), strings.Join(in.surface, ", "))
	}
	if v["at_clause"] != nil {
		return in.refuse(v, "AT is not available")
	}
	return nil
}

// tableFunctions are the functions that may stand in FROM. They make rows as they
// are asked for, so limits of time and memory hold them.
var tableFunctions = words("range generate_series unnest")

func (in *inspector) tableFunction(v map[string]any) error {
	f, _ := v["function"].(map[string]any)
	name := folded(field(f, "function_name"))
	if field(f, "class") != "FUNCTION" || !tableFunctions[name] || field(f, "schema") != "" || field(f, "catalog") != "" {
		return in.refuse(v, "The table function %s is not available; there are range, generate_series and unnest", printable(name))
	}
	// Its name is looked at; its arguments are walked like all others.
	delete(f, "function_name")
	f["class"] = "OPERATOR"
	return nil
}

func (in *inspector) expression(class string, v map[string]any) error {
	switch {
	case class == "PARAMETER":
		return invalid(noParameters, in.text, location(v))
	case !expressions[class]:
		return in.refuse(v, "%s is not available", spelled(class))
	case class == "FUNCTION" || class == "WINDOW":
		return in.function(v)
	case class == "COLUMN_REF":
		names, _ := v["column_names"].([]any)
		if name, _ := names[len(names)-1].(string); len(names) == 1 && sessionNames[folded(name)] {
			return in.refuse(v, "%s is not available", folded(name))
		}
	case class == "STAR":
		// DuckDB writes EXCLUDE ('') as EXCLUDE (), which means something else.
		if names, _ := v["exclude_list"].([]any); slices.Contains(names, any("")) {
			return invalid(`Binder Error: Column "" in EXCLUDE list not found in FROM clause`, in.text, location(v))
		}
	}
	return nil
}

func (in *inspector) function(v map[string]any) error {
	name := folded(field(v, "function_name"))
	schema := field(v, "schema")
	// The parser itself writes main and pg_catalog for what syntax stands for.
	if schema != "" && schema != "main" && schema != "pg_catalog" || field(v, "catalog") != "" || !functions[name] {
		if hint := functionHints[name]; hint != "" {
			return in.refuse(v, "The function %s is not available; %s", name, hint)
		}
		return in.refuse(v, "The function %s is not available", printable(name))
	}
	return nil
}

// folded is a name without upper case as DuckDB folds it: no other letters than
// those of ASCII, or a name of ours would be no name of DuckDB's (K is not K).
func folded(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, name)
}

// spelled is a name of the parse tree as people write it.
func spelled(kind string) string { return strings.ReplaceAll(kind, "_", " ") }

func words(s string) map[string]bool {
	set := map[string]bool{}
	for w := range strings.FieldsSeq(s) {
		set[w] = true
	}
	return set
}

func field(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

// location is the byte at which an object of the tree stands, -1 if unknown.
func location(m map[string]any) int {
	f, ok := m["query_location"].(float64)
	if !ok || f > 2*maxStatement {
		return -1
	}
	return int(f)
}
