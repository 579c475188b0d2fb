package query

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"mailwake/engine/problem"
)

const (
	// maxCount bounds counts of rows and days that a KPI is asked for.
	maxCount = 1_000_000
	// maxParamText bounds a text in bytes; names of templates are shorter.
	maxParamText = 1 << 10
)

// surroundings are what parameters are understood by.
type surroundings struct {
	now       time.Time // what now means, to the minute, so that answers change only so often
	zone      string    // what organisation means as a zone
	knowsZone func(string) (bool, error)
}

// minuteAfter is the first whole minute that is not before t: everything that has
// happened has happened before it.
func minuteAfter(t time.Time) time.Time {
	return t.UTC().Add(time.Minute - 1).Truncate(time.Minute)
}

// bind turns parameters given as text into the arguments of k's statement. An
// optional one without default is NULL.
func (k *KPI) bind(given map[string]string, at surroundings) ([]any, error) {
	for name := range given {
		if !slices.ContainsFunc(k.Params, func(p Param) bool { return p.Name == name }) {
			return nil, problem.New(400, "parameter_unknown", "KPI %s has no parameter %q; it has %s.", k.Name, name, k.paramNames())
		}
	}
	args := make([]any, len(k.Params))
	for i, p := range k.Params {
		text, ok := given[p.Name]
		switch {
		case !ok && p.Default != "":
			text = p.Default
		case !ok && p.Optional:
			continue
		case !ok:
			return nil, problem.New(400, "parameter_missing", "KPI %s needs the parameter %s.", k.Name, p.Name)
		}
		var err error
		if args[i], err = p.value(text, at); err != nil {
			return nil, err
		}
	}
	return args, nil
}

var placeholder = regexp.MustCompile(`\$(\d+)`)

// spelled returns text with its parameters spelled out, if all of them are values
// of closed sets: numbers, times, choices and zones that were looked up. A text
// that somebody typed stays a parameter.
func (k *KPI) spelled(text string, args []any) (string, bool) {
	words := make([]string, len(args))
	for i, v := range args {
		switch v := v.(type) {
		case nil:
			words[i] = "NULL"
		case int64:
			words[i] = "CAST(" + strconv.FormatInt(v, 10) + " AS BIGINT)"
		case time.Time:
			words[i] = fmt.Sprintf("make_timestamp(%d)", v.UnixMicro())
		case string:
			if k.Params[i].Type == "text" {
				return "", false
			}
			words[i] = literal(v)
		}
	}
	return placeholder.ReplaceAllStringFunc(text, func(p string) string {
		i, err := strconv.Atoi(p[1:])
		if err != nil || i < 1 || i > len(words) {
			return p
		}
		return words[i-1]
	}), true
}

// named returns the values of bind by the names of their parameters.
func (k *KPI) named(args []any) map[string]any {
	values := map[string]any{}
	for i, p := range k.Params {
		values[p.Name] = args[i]
	}
	return values
}

func (k *KPI) paramNames() string {
	if len(k.Params) == 0 {
		return "none"
	}
	names := make([]string, len(k.Params))
	for i, p := range k.Params {
		names[i] = p.Name
	}
	return strings.Join(names, ", ")
}

func (p *Param) value(text string, at surroundings) (any, error) {
	switch p.Type {
	case "id":
		return p.number(text, math.MaxInt64)
	case "count":
		return p.number(text, maxCount)
	case "choice":
		if slices.Contains(p.Choices, text) {
			return text, nil
		}
		return nil, p.invalid(text, "one of "+strings.Join(p.Choices, ", "))
	case "time":
		if text == "now" {
			return at.now, nil
		}
		t, err := time.Parse(time.RFC3339, text)
		if err != nil || t.Year() < 2000 || t.Year() > 2199 {
			return nil, p.invalid(text, "now or a time such as 2026-01-31T12:00:00Z")
		}
		return t.UTC(), nil
	case "text":
		if len(text) > maxParamText || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return nil, p.invalid("", fmt.Sprintf("a text of at most %d bytes", maxParamText))
		}
		return text, nil
	case "zone":
		if text == "organisation" {
			text = at.zone
		}
		if text == "UTC" || text == "" {
			return "UTC", nil
		}
		known, err := at.knowsZone(text)
		if err != nil {
			return nil, err
		}
		if known {
			return text, nil
		}
		return nil, p.invalid(text, "the name of a time zone such as UTC or Europe/Berlin")
	}
	return nil, fmt.Errorf("parameter %s has the unknown type %s", p.Name, p.Type)
}

func (p *Param) number(text string, most int64) (any, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || n > most {
		return nil, p.invalid(text, fmt.Sprintf("a whole number from 1 to %d", most))
	}
	return n, nil
}

func (p *Param) invalid(text, want string) error {
	if len(text) > 64 {
		text = text[:64] + "…"
	}
	return problem.New(400, "parameter_invalid", "The parameter %s is %q; it must be %s.", p.Name, text, want)
}
