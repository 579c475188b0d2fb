package query

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"mailwake/engine/problem"
)

const endless = "SELECT sum(a.range * b.range) FROM range(1000000000) a, range(1000000000) b"

func TestTimeoutAndCancel(t *testing.T) {
	w := newWorld(t)
	db := w.open(func(o *Options) { o.Timeout = 100 * time.Millisecond })
	_, err := db.SQL(t.Context(), Statement{Org: 1, Text: endless})
	if p := problem.Of(err); p.Code != "sql_timeout" || p.Status != 504 {
		t.Errorf("got %v", err)
	}
	db.opts.Timeout = time.Minute // however busy the machine is
	if got := ask(t, db, 1, census)[0]["n"]; got != int64(0) {
		t.Errorf("the connection is unusable after a timeout: %v", got)
	}
	patient := w.open(nil)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := patient.SQL(ctx, Statement{Org: 1, Text: endless}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	done, stop := context.WithCancel(t.Context())
	stop()
	if _, err := patient.SQL(done, Statement{Org: 1, Text: census}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAdmission(t *testing.T) {
	w := newWorld(t)
	db := w.open(func(o *Options) { o.Concurrency, o.Timeout = 1, 150*time.Millisecond })
	db.admit <- struct{}{}
	if _, err := db.SQL(t.Context(), Statement{Org: 1, Text: census}); problem.Of(err).Code != "sql_timeout" {
		t.Errorf("got %v", err)
	}
	<-db.admit
	db.opts.Timeout = time.Minute
	if got := ask(t, db, 1, census)[0]["n"]; got != int64(0) {
		t.Errorf("got %v", got)
	}
}

func TestClose(t *testing.T) {
	w := newWorld(t)
	w.add(1, open1(1))
	db := w.open(func(o *Options) { o.TempDir = "" })
	res, err := db.SQL(t.Context(), Statement{Org: 1, Text: census})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.SQL(t.Context(), Statement{Org: 1, Text: census}); err == nil {
		t.Error("a closed DB answers")
	}
	if _, err := db.KPI(t.Context(), Request{Org: 1, Persons: true, Name: "organisation_summary"}); problem.Of(err).Code != "query_closed" {
		t.Errorf("got %v", err)
	}
	if got := rowsOf(t, res, nil)[0]["n"]; got != int64(1) {
		t.Errorf("a result changed when the DB closed: %v", got)
	}
}

func TestOptions(t *testing.T) {
	w := newWorld(t)
	for name, o := range map[string]Options{
		"nothing":  {},
		"negative": {Source: SourceFunc(w.View), Catalog: w, Rules: w.rules, Folders: w.folders, Timeout: -1},
	} {
		if db, err := Open(o); err == nil {
			t.Errorf("%s: opened %v", name, db)
		}
	}
}

// Statements of an organisation run one after the other as long as they are short; one
// that is long is overtaken, by as many as may run at once.
func TestLongStatementsAreOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{TempDir: t.TempDir()}
		o.Worker.setDefaults()
		w, key := newWorkers(&o, feeder{}), workerKey{org: 1}
		for range o.Worker.Running {
			p := &worker{key: key, idleUntil: time.AfterFunc(time.Hour, func() {})}
			w.mu.idle, w.mu.live[p] = append(w.mu.idle, p), true
		}
		take := func(key workerKey, want time.Duration) *worker {
			t.Helper()
			start := time.Now()
			p, err := w.take(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			if got := time.Since(start); got != want {
				t.Errorf("waited %v, want %v", got, want)
			}
			return p
		}
		for range 3 { // short ones
			w.give(take(key, 0), true)
		}
		long := take(key, 0)
		second := take(key, youth)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if p, err := w.take(ctx, key); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a third statement runs beside %v and %v: %v, %v", long, second, p, err)
		}
		w.give(second, true)
		third := take(key, 0)
		time.AfterFunc(youth/2, func() { w.give(third, true) })
		w.give(take(key, youth/2), true)
		w.give(long, true)
	})
}
