package query

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"mailwake/engine/event"
)

// veil stands between foreign statements and rows that are not to be shown. The
// surface leaves those rows out, but DuckDB may work out a condition of the
// statement first, and the error it ends with, or that it ends with one, tells of
// the row. Under a veil every value of such a row is NULL from where it is read.
//
// Values under a veil say nothing of where in a file they are, so whole files are
// read. Files without a hidden row need none.
type veil struct {
	args   surfaceArgs
	hiding map[string]bool // files with hidden rows
}

// split returns the files that need no veil and those that do.
func (v *veil) split(files []string) (clean, hiding []string) {
	if v == nil {
		return files, nil
	}
	for _, f := range files {
		if v.hiding[f] {
			hiding = append(hiding, f)
		} else {
			clean = append(clean, f)
		}
	}
	return clean, hiding
}

// over puts the veil over a SELECT of events.
func (v *veil) over(rows string) string {
	if v == nil {
		return rows
	}
	var values []string
	for name := range strings.SplitSeq(allColumns, ", ") {
		values = append(values, "CASE WHEN shown THEN "+name+" END AS "+name)
	}
	return fmt.Sprintf("SELECT %s FROM (SELECT e.*, %s AS shown FROM (%s) AS e%s) WHERE shown", strings.Join(values, ", "), v.text("shown"), rows, v.text("consent"))
}

// text is a part of the published table of interactions.
func (v *veil) text(part string) string {
	var out strings.Builder
	if err := surfaceTables[0].form.ExecuteTemplate(&out, part, v.args); err != nil {
		panic(err) // a test has executed it before
	}
	return out.String()
}

// veils remembers of data files whether they hold rows that are not to be shown.
type veils struct {
	consent uint64
	optIn   bool
	files   map[string]hidden
}

type hidden struct {
	refused bool // somebody does not allow a row of it
	oldest  event.Micros
}

// of returns the veil for a lease; nil where everything may be seen.
func (v *veils) of(ctx context.Context, l *lease) (*veil, error) {
	oldest := l.rules.oldest(event.At(l.store.opts.Clock()))
	made := &veil{args: surfaceArgs{OptIn: l.rules.Consent.OptIn, Denied: l.denied}, hiding: map[string]bool{}}
	if !made.args.OptIn && !made.args.Denied && oldest == 0 {
		return nil, nil
	}
	if c := &l.rules.Consent; v.files == nil || c.Version != v.consent || c.OptIn != v.optIn {
		*v = veils{consent: c.Version, optIn: c.OptIn, files: map[string]hidden{}}
	}
	if err := v.look(ctx, l, made); err != nil {
		return nil, fmt.Errorf("look for hidden rows: %w", err)
	}
	for f, h := range v.files {
		made.hiding[f] = h.refused || h.oldest < oldest
	}
	if oldest != 0 {
		made.args.Oldest = fmt.Sprintf("make_timestamp(%d)", int64(oldest))
	}
	return made, nil
}

// look reads who is in the files that are not known yet.
func (v *veils) look(ctx context.Context, l *lease, with *veil) error {
	maps.DeleteFunc(v.files, func(f string, _ hidden) bool { return !slices.Contains(l.files, f) })
	fresh := slices.DeleteFunc(slices.Clone(l.files), func(f string) bool { _, known := v.files[f]; return known })
	if len(fresh) == 0 {
		return nil
	}
	rows, err := l.duck.QueryContext(ctx, fmt.Sprintf(`SELECT filename, coalesce(bool_or(NOT (%s)), false), coalesce(epoch_us(min(e.occurred_at)), 0)
FROM read_parquet([%s], filename = true) AS e%s GROUP BY filename`, with.text("shown"), literals(fresh), with.text("consent")))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var file string
		var h hidden
		if err := rows.Scan(&file, &h.refused, &h.oldest); err != nil {
			return err
		}
		v.files[file] = h
	}
	return rows.Err()
}
