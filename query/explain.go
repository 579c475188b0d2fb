package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/duckdb/duckdb-go/v2"

	"mailwake/engine/problem"
)

// exception is an error as DuckDB tells it under errors_as_json.
type exception struct {
	Type     string `json:"exception_type"`
	Message  string `json:"exception_message"`
	Position string `json:"position"`
}

func exceptionOf(err error) (e exception, ok bool) {
	d, ok := errors.AsType[*duckdb.Error](err)
	if !ok {
		return e, false
	}
	text := d.Msg
	// The parser puts its kind in front of the object.
	if i := strings.IndexByte(text, '{'); i > 0 {
		text = text[i:]
	}
	if json.Unmarshal([]byte(text), &e) != nil || e.Type == "" {
		return exception{Type: "Unknown", Message: d.Msg}, true
	}
	return e, true
}

// isFatal reports an error after which DuckDB answers nothing but errors.
func isFatal(err error) bool {
	e, ok := exceptionOf(err)
	return ok && (strings.EqualFold(e.Type, "FATAL") || strings.EqualFold(e.Type, "INTERNAL"))
}

// explain turns what a query ended with into what its caller can act on. outer is
// the caller's context, inner the one with the time limit, prefix the number of
// bytes that precede the question's text; files the View's.
func explain(outer, inner context.Context, err error, q question, prefix int, files []string) error {
	if outer.Err() != nil {
		return errors.Join(outer.Err(), err)
	}
	if inner.Err() != nil {
		code := "query_timeout"
		if q.foreign {
			code = "sql_timeout"
		}
		return problem.New(504, code, "The query took longer than is allowed; ask for less.").Because(err)
	}
	e, ok := exceptionOf(err)
	if !ok {
		return err
	}
	switch strings.ToUpper(e.Type) {
	case "OUT OF MEMORY":
		return problem.New(503, "query_out_of_memory", "The query needs more memory or disk than is allowed; ask for less.").Because(err)
	case "FATAL", "INTERNAL", "IO", "UNKNOWN":
		return err
	}
	// A damaged or misplaced file is no mistake of the caller, and its path no business of theirs.
	if !q.foreign || slices.ContainsFunc(files, func(f string) bool { return strings.Contains(e.Message, f) && !strings.Contains(q.typed, f) }) {
		return err
	}
	position, convErr := strconv.Atoi(e.Position)
	if convErr != nil {
		position = -1
	} else {
		position = q.places.of(position - prefix)
	}
	if strings.EqualFold(e.Type, "PERMISSION") {
		return forbidden(e.Message, q.typed, position)
	}
	return invalid(e.Type+" Error: "+e.Message, q.typed, position)
}

func invalid(message, text string, position int) error {
	return problem.New(400, "sql_invalid", "%s", placed(message, text, position))
}

func forbidden(message, text string, position int) error {
	return problem.New(403, "sql_forbidden", "%s", placed(message, text, position))
}

// placed adds line and column, counted in characters from 1, of the byte at
// position of text; a position outside of text is left out.
func placed(message, text string, position int) string {
	message = strings.Join(strings.FieldsFunc(message, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
	if position < 0 || position > len(text) {
		return message
	}
	before := text[:position]
	line := strings.Count(before, "\n") + 1
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	return fmt.Sprintf("%s (line %d, column %d)", message, line, column)
}
