package query

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/duckdb/duckdb-go/v2"

	"mailwake/engine/event"
)

// segment is an in-memory table of tail rows in the order of their positions.
type segment struct {
	table    string
	appender *duckdb.Appender // nil once sealed
	last     event.Position
	reported bool         // it holds events that others reported
	readers  atomic.Int32 // leases that name the table
}

// advance follows the tail's begin. What a flush has moved to files before any
// query needed it is never copied.
func (s *store) advance(view View) error {
	from, to := view.Tail()
	if from < s.from || to < s.pulled {
		return fmt.Errorf("tail moved back: [%d, %d) after [%d, %d)", from, to, s.from, s.pulled)
	}
	if from > s.from && len(s.segments) > 0 {
		if err := s.segments[len(s.segments)-1].seal(); err != nil {
			return errors.Join(err, s.reset())
		}
	}
	s.from = from
	s.pulled = max(s.pulled, from)
	return nil
}

// catchUp brings the segments up to view.
func (s *store) catchUp(ctx context.Context, view View) error {
	if err := s.takeTurn(ctx); err != nil {
		return err
	}
	defer s.endTurn()
	if err := s.advance(view); err != nil {
		return fmt.Errorf("follow tail: %w", err)
	}
	if err := s.pull(ctx, view); err != nil {
		return fmt.Errorf("copy tail: %w", err)
	}
	return nil
}

// pull copies the tail rows of view that no segment has yet. Each row is copied
// once.
func (s *store) pull(ctx context.Context, view View) error {
	_, to := view.Tail()
	if s.pulled == to {
		return nil
	}
	if err := s.appendRows(ctx, view, to); err != nil {
		// Part of the rows may be in the table: only a new instance is surely right.
		return errors.Join(err, s.reset())
	}
	s.pulled = to
	return nil
}

func (s *store) appendRows(ctx context.Context, view View, to event.Position) error {
	var g *segment
	row := newHotRow()
	for pos, in := range view.Rows(s.pulled) {
		if pos >= to {
			break
		}
		if g == nil {
			var err error
			if g, err = s.growing(ctx); err != nil {
				return err
			}
		}
		if err := g.appender.AppendRow(row.of(pos, in)...); err != nil {
			return fmt.Errorf("append row: %w", err)
		}
		g.last = pos
		g.reported = g.reported || in.ID < 0
	}
	if g == nil {
		return nil
	}
	if err := g.appender.Flush(); err != nil {
		return fmt.Errorf("flush rows: %w", err)
	}
	return nil
}

// growing returns the segment to append to, a new one if the last is sealed.
func (s *store) growing(ctx context.Context) (*segment, error) {
	if n := len(s.segments); n > 0 && s.segments[n-1].appender != nil {
		return s.segments[n-1], nil
	}
	s.serial++
	g := &segment{table: "hot_" + strconv.Itoa(s.serial)}
	if _, err := s.write.ExecContext(ctx, "CREATE TABLE "+g.table+" "+hotDDL); err != nil {
		return nil, fmt.Errorf("create segment: %w", err)
	}
	err := s.write.Raw(func(c any) (err error) {
		g.appender, err = duckdb.NewAppenderFromConn(c.(driver.Conn), "", g.table)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open appender: %w", err)
	}
	s.segments = append(s.segments, g)
	return g, nil
}

// seal ends the segment's growth.
func (g *segment) seal() error {
	if g.appender == nil {
		return nil
	}
	a := g.appender
	g.appender = nil
	if err := a.Close(); err != nil {
		return fmt.Errorf("seal segment: %w", err)
	}
	return nil
}

// dropStale drops segments that end before the tail begins and that no lease names.
func (s *store) dropStale() {
	s.segments = slices.DeleteFunc(s.segments, func(g *segment) bool {
		if g.appender != nil || g.last >= s.from || g.readers.Load() > 0 {
			return false
		}
		// A table that cannot be dropped now is kept in the list and tried again.
		_, err := s.write.ExecContext(context.Background(), "DROP TABLE "+g.table)
		return err == nil
	})
}

// hotRow is the reusable form of a row for the appender. The names of
// enumerations are boxed once.
type hotRow struct {
	values                         [16]driver.Value
	kinds, actors, devices, source []driver.Value
}

func newHotRow() *hotRow {
	return &hotRow{kinds: boxed(event.Kinds()), actors: boxed(event.Actors()),
		devices: boxed(event.Devices()), source: boxed(event.Sources())}
}

func boxed(names []string) []driver.Value {
	values := make([]driver.Value, len(names))
	for i, name := range names {
		values[i] = name
	}
	return values
}

func (r *hotRow) of(pos event.Position, in *event.Interaction) []driver.Value {
	r.values = [16]driver.Value{
		uint64(pos), in.ID, in.OccurredAt.Time(), in.ReceivedAt.Time(), named(r.kinds, uint8(in.Kind)),
		int64(in.Email), int64(in.Recipient), in.Component, named(r.actors, uint8(in.Actor)), clean(in.Reason),
		named(r.devices, uint8(in.Device)), clean(in.Client), clean(in.OS), named(r.source, uint8(in.Source)),
		optional(in.UserAgent), optional(in.Network),
	}
	return r.values[:]
}

// named is what the String methods of event's enumerations do.
func named(names []driver.Value, i uint8) driver.Value {
	if int(i) < len(names) {
		return names[i]
	}
	return names[0]
}

// clean replaces bytes that are no UTF-8, for which DuckDB would store NULL.
func clean(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func optional(s string) driver.Value {
	if s == "" {
		return nil
	}
	return clean(s)
}
