package query

import (
	"context"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	"mailwake/engine/event"
)

// base is what the lease's query stands on. Files without a reported event are
// read as they are; the others, and segments, once for each sort of event.
func (l *lease) base() *base {
	b := &base{optIn: l.rules.Consent.OptIn, denied: l.denied, persons: true, oldest: l.rules.oldest(event.At(l.store.opts.Clock()))}
	file := func(files []string, where string) (selects []string) {
		clean, hiding := l.veil.split(files)
		if len(clean) > 0 {
			selects = append(selects, fmt.Sprintf("SELECT %s FROM read_parquet([%s])%s", fileColumns, literals(clean), where))
		}
		if len(hiding) > 0 {
			selects = append(selects, l.veil.over(fmt.Sprintf("SELECT %s FROM read_parquet([%s])%s", fileColumns, literals(hiding), where)))
		}
		return selects
	}
	plain, mixed := l.files[:len(l.files)-l.reports], l.files[len(l.files)-l.reports:]
	if len(plain) > 0 {
		b.own = append(b.own, file(plain, "")...)
	}
	if len(mixed) > 0 {
		b.own = append(b.own, file(mixed, " WHERE event_id >= 0")...)
		b.reported = append(b.reported, file(mixed, " WHERE event_id < 0")...)
	}
	from, to := l.view.Tail()
	for _, g := range l.hot {
		rows := fmt.Sprintf("SELECT %s FROM %s WHERE pos >= %d AND pos < %d", hotColumns, g.table, from, to)
		if !g.reported {
			b.own = append(b.own, l.veil.over(rows))
			continue
		}
		b.own = append(b.own, l.veil.over(rows+" AND event_id >= 0"))
		b.reported = append(b.reported, l.veil.over(rows+" AND event_id < 0"))
	}
	return b
}

// tag names all that the answer to a question depends on: the question, the
// instance (what it copied of the catalog), the View, and what may be shown. A
// change of consent, or of the hour that the age limit is at, changes it.
func (l *lease) tag(q *question) string {
	sum := fnv.New128a()
	from, to := l.view.Tail()
	c := &l.rules.Consent
	fmt.Fprintln(sum, q.limit, l.view.SnapshotID(), from, to, c.Version, c.OptIn, l.rules.oldest(event.At(l.store.opts.Clock())), l.catalog)
	fmt.Fprintf(sum, "%s\x00%q", q.text, q.args)
	return hex.EncodeToString(sum.Sum(nil))
}

// sortFiles puts those that may hold events that others reported (their ids are
// negative) at the end, and says how many these are. The footers of new files are
// read for that, of others nothing.
func (s *store) sortFiles(ctx context.Context, files []string) (sorted []string, reports int, err error) {
	var fresh []string
	for _, f := range files {
		if _, known := s.reports[f]; !known {
			fresh = append(fresh, f)
		}
	}
	if len(fresh) > 0 {
		if err := s.lookInto(ctx, fresh); err != nil {
			return nil, 0, err
		}
	}
	if len(s.reports) > 2*len(files) {
		maps.DeleteFunc(s.reports, func(f string, _ bool) bool { return !slices.Contains(files, f) })
	}
	var last []string
	for _, f := range files {
		if s.reports[f] {
			last = append(last, f)
		} else {
			sorted = append(sorted, f)
		}
	}
	return append(sorted, last...), len(last), nil
}

// lookInto remembers of files whether their smallest event id is negative. A file
// that does not say is taken for one that holds such ids; so is one that cannot
// be read, which the query that needs it says better.
func (s *store) lookInto(ctx context.Context, files []string) error {
	for _, f := range files {
		s.reports[f] = true
	}
	rows, err := s.write.QueryContext(ctx, `SELECT file_name, coalesce(min(CAST(coalesce(stats_min_value, '-1') AS BIGINT)), -1) < 0
FROM parquet_metadata([`+literals(files)+`]) WHERE path_in_schema = 'event_id' GROUP BY file_name`)
	if _, ours := exceptionOf(err); ours && ctx.Err() == nil {
		return nil
	} else if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var file string
		var has bool
		if err := rows.Scan(&file, &has); err != nil {
			return err
		}
		s.reports[file] = has
	}
	return rows.Err()
}
