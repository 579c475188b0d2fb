package query

import (
	"errors"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

// rowsOf returns the rows as Go values: int64, float64, string, event.Micros, nil.
func rowsOf(tb testing.TB, res *Result, err error) []map[string]any {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Close()
	rows := []map[string]any{}
	for batch := range res.Batches() {
		for i := range int(batch.NumRows()) {
			row := map[string]any{}
			for f, c := range batch.Columns() {
				row[batch.ColumnName(f)] = valueOf(tb, c, i)
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func valueOf(tb testing.TB, c arrow.Array, i int) any {
	if c.IsNull(i) {
		return nil
	}
	switch c := c.(type) {
	case *array.Int64:
		return c.Value(i)
	case *array.Int32:
		return int64(c.Value(i))
	case *array.Float64:
		return c.Value(i)
	case *array.String:
		return strings.Clone(c.Value(i))
	case *array.Timestamp:
		return event.Micros(c.Value(i))
	case *array.Boolean:
		return c.Value(i)
	}
	tb.Fatalf("column type %s", c.DataType())
	return nil
}

func ask(tb testing.TB, db *DB, org event.OrgID, text string) []map[string]any {
	tb.Helper()
	res, err := db.SQL(tb.Context(), Statement{Org: org, Persons: true, Text: text})
	return rowsOf(tb, res, err)
}

func open1(id int64) event.Interaction {
	return event.Interaction{ID: id, OccurredAt: event.Micros(1.75e15 + id), ReceivedAt: event.Micros(1.75e15 + id), Kind: event.Open,
		Email: event.EmailID(1 + id%7), Recipient: event.RecipientID(1 + id%31), Actor: event.Human, Device: event.Mobile, Source: event.Pixel}
}

const census = "SELECT count(*) AS n, count(DISTINCT event_id) AS ids, max(event_id) AS last FROM interactions"

func TestEmptyOrganisation(t *testing.T) {
	w := newWorld(t)
	db := w.open(nil)
	if got := ask(t, db, 1, "SELECT * FROM interactions"); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	if got := ask(t, db, 1, census)[0]["n"]; got != int64(0) {
		t.Errorf("n = %v", got)
	}
	res, err := db.SQL(t.Context(), Statement{Org: 1, Text: "SELECT * FROM interactions"})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Close()
	w.add(1, open1(1))
	tail, err := db.SQL(t.Context(), Statement{Org: 1, Text: "SELECT * FROM interactions"})
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	w.flush(1, 1)
	file, err := db.SQL(t.Context(), Statement{Org: 1, Text: "SELECT * FROM interactions"})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if len(res.Schema().Fields()) != 15 || !res.Schema().Equal(tail.Schema()) || !tail.Schema().Equal(file.Schema()) {
		t.Errorf("the types differ: none %v, tail %v, file %v", res.Schema(), tail.Schema(), file.Schema())
	}
}

// An event is the same row whether it is read from the tail or from a file.
func TestTailAndFileAgree(t *testing.T) {
	w := newWorld(t)
	db := w.open(nil)
	for kind := range event.Kinds() {
		in := event.Interaction{ID: math.MinInt64 + int64(kind), OccurredAt: -1, ReceivedAt: 1 << 50, Kind: event.Kind(kind), Email: 1 << 40, Recipient: 3, Component: 7,
			Actor: event.Actor(kind % len(event.Actors())), Reason: "o'r", Device: event.Device(kind % len(event.Devices())), Client: "Ünï", OS: "",
			Source: event.Source(kind % len(event.Sources())), UserAgent: "", Network: "10.0.0.0/24"}
		if kind == 3 {
			in.UserAgent, in.Network = "Mozilla\x00/5.0 \"x\"", ""
		}
		w.add(1, in)
	}
	const all = "SELECT * FROM interactions ORDER BY event_id"
	tail := ask(t, db, 1, all)
	w.flush(1, math.MaxInt)
	file := ask(t, db, 1, all)
	if len(tail) != len(event.Kinds()) || len(file) != len(tail) {
		t.Fatalf("%d and %d rows", len(tail), len(file))
	}
	for i := range tail {
		for name, want := range tail[i] {
			if file[i][name] != want {
				t.Errorf("row %d: %s is %v in the tail and %v in the file", i, name, want, file[i][name])
			}
		}
	}
	if got := tail[3]; got["kind"] != "attachment_view" || got["user_agent"] != "Mozilla\x00/5.0 \"x\"" || got["network"] != nil || got["occurred_at"] != event.Micros(-1) {
		t.Errorf("row 3 is %v", got)
	}
}

func TestInvalidTextIsKept(t *testing.T) {
	w := newWorld(t)
	db := w.open(nil)
	in := open1(1)
	in.UserAgent, in.Client, in.Kind = "a\xffb", "\xf0\x28", 200
	w.add(1, in)
	got := ask(t, db, 1, "SELECT user_agent, client, kind FROM interactions")
	if got[0]["user_agent"] != "a\uFFFDb" || got[0]["client"] != "\uFFFD(" || got[0]["kind"] != "invalid" {
		t.Errorf("got %q", got)
	}
}

func TestFreshness(t *testing.T) {
	w := newWorld(t)
	db := w.open(nil)
	for i := range int64(50) {
		w.add(1, open1(i+1))
		if i%9 == 8 {
			w.flush(1, 5)
		}
		if got := ask(t, db, 1, census)[0]; got["n"] != i+1 || got["last"] != i+1 {
			t.Fatalf("after event %d: %v", i+1, got)
		}
	}
}

// Readers count while events come in and flushes move them: never one too few,
// one too many or one twice. Each answer lets in more events and a flush, so that
// all three overlap from the first query to the last.
func TestExactlyOnce(t *testing.T) {
	const readers, each, groups, group = 4, 25, 8, 25
	w := newWorld(t)
	db := w.open(func(o *Options) { o.Concurrency = readers })
	var acknowledged atomic.Int64
	answers := make(chan struct{}, readers*each)
	flushes := make(chan int, readers*each)
	var reading, rest sync.WaitGroup
	rest.Go(func() {
		defer close(flushes)
		for id := int64(1); ; {
			for range groups {
				batch := make([]event.Interaction, group)
				for i := range batch {
					batch[i] = open1(id)
					id++
				}
				w.add(1, batch...)
				acknowledged.Store(id - 1)
			}
			flushes <- 1 + int(id)%400
			if _, ok := <-answers; !ok {
				return
			}
		}
	})
	rest.Go(func() {
		for n := range flushes {
			w.flush(1, n)
		}
	})
	for range readers {
		reading.Go(func() {
			for range each {
				before := acknowledged.Load()
				res, err := db.SQL(t.Context(), Statement{Org: 1, Text: census})
				if err != nil {
					t.Error(err)
					return
				}
				got := rowsOf(t, res, nil)[0]
				n := got["n"].(int64)
				if after := acknowledged.Load(); n < before || n > after+group || got["ids"] != n || n > 0 && got["last"] != n {
					t.Errorf("%v, with %d acknowledged before and %d after", got, before, after)
					return
				}
				answers <- struct{}{}
			}
		})
	}
	reading.Wait()
	close(answers)
	rest.Wait()
	events := acknowledged.Load()
	t.Logf("%d events, %d files", events, len(w.orgs[1].files))
	w.flush(1, math.MaxInt)
	if got := ask(t, db, 1, census)[0]; got["n"] != events || got["ids"] != events {
		t.Errorf("at the end: %v", got)
	}
	s := db.mu.stores[1]
	if len(s.segments) != 0 {
		t.Errorf("%d segments are left", len(s.segments))
	}
	var tables int
	if err := s.write.QueryRowContext(t.Context(), "SELECT count(*) FROM duckdb_tables() WHERE table_name LIKE 'hot%'").Scan(&tables); err != nil || tables != 0 {
		t.Errorf("%d hot tables are left, %v", tables, err)
	}
}

func headOf(t *testing.T, l *lease) string {
	t.Helper()
	head, err := l.base().with(surfaceOrder)
	if err != nil {
		t.Fatal(err)
	}
	return head
}

// A segment outlives the flush while a query reads it, and no longer.
func TestSegmentIsDroppedAfterItsLastReader(t *testing.T) {
	w := newWorld(t)
	db := w.open(nil)
	w.add(1, open1(1), open1(2))
	s, err := db.store(1)
	if err != nil {
		t.Fatal(err)
	}
	old, err := s.lease(t.Context(), (*Rules).readable)
	if err != nil {
		t.Fatal(err)
	}
	var n int
	w.add(1, open1(4))
	if got := ask(t, db, 1, census)[0]["n"]; got != int64(3) {
		t.Errorf("new query counts %v", got)
	}
	if err := s.duck.QueryRowContext(t.Context(), headOf(t, old)+"SELECT count(*) FROM interactions").Scan(&n); err != nil || n != 2 || len(s.segments) != 1 {
		t.Errorf("the segment has grown, and the old lease counts %d, %v", n, err)
	}
	w.flush(1, 3)
	w.add(1, open1(3))
	if got := ask(t, db, 1, census)[0]["n"]; got != int64(4) {
		t.Errorf("new query counts %v", got)
	}
	if err := s.duck.QueryRowContext(t.Context(), headOf(t, old)+"SELECT count(*) FROM interactions").Scan(&n); err != nil || n != 2 {
		t.Errorf("old lease counts %d, %v", n, err)
	}
	if len(s.segments) != 2 {
		t.Errorf("%d segments while the old lease lasts", len(s.segments))
	}
	old.release()
	if len(s.segments) != 1 || s.segments[0].table != "hot_2" {
		t.Errorf("%d segments after the old lease ended", len(s.segments))
	}
	if !old.view.(*fakeView).closed {
		t.Error("the view is not closed")
	}
}

func TestOrganisationsAreApart(t *testing.T) {
	w := newWorld(t)
	db := w.open(nil)
	w.add(1, open1(1))
	w.add(2, open1(2), open1(3))
	for org, want := range map[event.OrgID]int64{1: 1, 2: 2, 3: 0} {
		if got := ask(t, db, org, census)[0]["n"]; got != want {
			t.Errorf("organisation %d has %v", org, got)
		}
	}
}

func TestCatalogIsCopiedOnce(t *testing.T) {
	w := newWorld(t)
	db := w.open(nil)
	const text = "SELECT e.email_id, subject, links, name, url FROM emails e, recipients r, links l WHERE l.email_id = e.email_id ORDER BY 1, component"
	register := func(id event.EmailID, links int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		o := w.org(1)
		o.emails = append(o.emails, registry.Email{ID: id, Subject: "s", CreatedAt: 5})
		for i := range links {
			o.links = append(o.links, registry.Link{Email: id, Ordinal: int32(i + 1), URL: "https://x"})
		}
	}
	register(1, 2)
	w.org(1).recipients = []registry.Recipient{{ID: 1, Address: "a@b", Name: "A"}}
	for range 2 {
		if got := ask(t, db, 1, text); len(got) != 2 || got[1]["links"] != int64(2) || got[1]["name"] != "A" {
			t.Fatalf("got %v", got)
		}
	}
	register(2, 1)
	w.mu.Lock()
	w.org(1).failing = errors.New("registry is down")
	w.mu.Unlock()
	if _, err := db.SQL(t.Context(), Statement{Org: 1, Text: text}); err == nil || !strings.Contains(err.Error(), "registry is down") {
		t.Errorf("got %v", err)
	}
	w.mu.Lock()
	w.org(1).failing = nil
	w.mu.Unlock()
	if got := ask(t, db, 1, text); len(got) != 3 {
		t.Errorf("got %v", got)
	}
}

func TestResetStartsAnew(t *testing.T) {
	w := newWorld(t)
	db := w.open(nil)
	w.add(1, open1(1), open1(2))
	w.flush(1, 1)
	ask(t, db, 1, census)
	s := db.mu.stores[1]
	old := s.duck
	s.abandon(old)
	s.abandon(old)
	if got := ask(t, db, 1, census)[0]; got["n"] != int64(2) || s.duck == old {
		t.Errorf("after the reset: %v", got)
	}
}

func TestTailMovingBackIsRefused(t *testing.T) {
	w := newWorld(t)
	db := w.open(nil)
	w.add(1, open1(1))
	w.add(1, open1(2))
	w.flush(1, 1)
	ask(t, db, 1, census)
	w.org(1).from = event.PositionOf(1, 0)
	if _, err := db.SQL(t.Context(), Statement{Org: 1, Text: census}); err == nil || !strings.Contains(err.Error(), "tail moved back") {
		t.Errorf("got %v", err)
	}
}
