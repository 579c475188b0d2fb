package query

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"mailwake/engine/event"
)

// zone tells the local time of one time zone, as DuckDB has it: the offsets of a
// year are asked for when the first event of it is seen.
type zone struct {
	name  string
	ask   func(year int) ([]shift, error)
	years map[int][]shift
	last  []shift // of the year of the last event
	err   error
}

// shift is when local time begins to be so far from UTC.
type shift struct{ at, offset event.Micros }

const (
	aMinute = event.Micros(time.Minute / time.Microsecond)
	anHour  = 60 * aMinute
	aDay    = 24 * anHour
)

// zone returns the zone of that name. Tallies keep it.
func (s *store) zone(name string) *zone {
	z, ok := s.zones[name]
	if !ok {
		z = &zone{name: name, years: map[int][]shift{}, ask: func(year int) ([]shift, error) {
			return readShifts(context.Background(), s.write, name, year)
		}}
		s.zones[name] = z
	}
	return z
}

// zonesFailed returns what kept a zone from being known. What was counted by it
// is thrown away.
func (s *store) zonesFailed() (err error) {
	for name, z := range s.zones {
		if z.err != nil {
			err = errors.Join(err, z.err)
			delete(s.zones, name)
			s.rollups.state = nil
		}
	}
	return err
}

// readShifts looks at every quarter of an hour of a year in UTC: offsets change at
// none in between.
func readShifts(ctx context.Context, from *sql.Conn, zone string, year int) (shifts []shift, err error) {
	rows, err := from.QueryContext(ctx, fmt.Sprintf(`SELECT epoch_us(t), away FROM (SELECT t, away, lag(away) OVER (ORDER BY t) AS before FROM (
SELECT t, epoch_us(timezone(%s, timezone('UTC', t))) - epoch_us(t) AS away FROM (SELECT unnest(range(TIMESTAMP '%04d-01-01', TIMESTAMP '%04d-01-01', INTERVAL 15 MINUTE)) AS t)))
WHERE before IS DISTINCT FROM away ORDER BY t`, literal(zone), year, year+1))
	if err != nil {
		return nil, fmt.Errorf("offsets of a time zone: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var s shift
		if err := rows.Scan(&s.at, &s.offset); err != nil {
			return nil, err
		}
		shifts = append(shifts, s)
	}
	return shifts, rows.Err()
}

// local returns the local time of at, as if it were UTC. After an error, which
// stays in err, it means nothing.
func (z *zone) local(at event.Micros) event.Micros {
	if z.name == "UTC" {
		return at
	}
	if n := len(z.last); n == 0 || at < z.last[0].at || at >= z.last[0].at+365*aDay {
		z.turn(at)
	}
	for _, s := range slices.Backward(z.last) {
		if at >= s.at {
			return at + s.offset
		}
	}
	return at
}

// turn goes to the year of at.
func (z *zone) turn(at event.Micros) {
	year := at.Time().UTC().Year()
	shifts, ok := z.years[year]
	if !ok && z.err == nil {
		if shifts, z.err = z.ask(year); z.err == nil {
			z.years[year] = shifts
		}
	}
	z.last = shifts
}

// weekHour numbers the hours of the week of a local time from Monday's first.
func weekHour(local event.Micros) int64 { return int64(modulo(local-monday, 7*aDay) / anHour) }

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func modulo(a, b event.Micros) event.Micros { return (a%b + b) % b }

// floor returns the greatest multiple of step, counted from base, that is not above t.
func floor(t, step, base event.Micros) event.Micros { return t - modulo(t-base, step) }

// monday is the start of a week.
const monday = -3 * aDay

// bucket returns where the bucket of that name begins in which at is: in UTC, or
// in local time where far is set, which utc tells the UTC of.
func (z *zone) bucket(name string, at event.Micros) (start event.Micros, far bool) {
	local := z.local(at)
	switch name {
	case "minute":
		return at - modulo(local, aMinute), false
	case "hour":
		return at - modulo(local, anHour), false
	case "day":
		start = floor(local, aDay, 0)
	case "week":
		start = floor(local, 7*aDay, monday)
	case "month":
		t := local.Time().UTC()
		start = event.At(time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC))
	}
	return start, z.name != "UTC"
}

// utc returns the UTC of local times, as DuckDB has it.
func (z *zone) utc(ctx context.Context, from *sql.Conn, local []event.Micros) (of map[event.Micros]event.Micros, err error) {
	of = map[event.Micros]event.Micros{}
	if z.name == "UTC" || len(local) == 0 {
		for _, t := range local {
			of[t] = t
		}
		return of, nil
	}
	sort.Slice(local, func(i, j int) bool { return local[i] < local[j] })
	list := make([]byte, 0, 20*len(local))
	for _, t := range local {
		list = fmt.Appendf(list, "%d,", t)
	}
	rows, err := from.QueryContext(ctx, fmt.Sprintf("SELECT t, epoch_us(timezone('UTC', timezone(%s, make_timestamp(t)))) FROM (SELECT unnest([%s]::BIGINT[]) AS t)",
		literal(z.name), list[:len(list)-1]))
	if err != nil {
		return nil, fmt.Errorf("times of a time zone: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var t, u event.Micros
		if err := rows.Scan(&t, &u); err != nil {
			return nil, err
		}
		of[t] = u
	}
	return of, rows.Err()
}
