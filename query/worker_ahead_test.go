package query

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// fed tells how far the only worker was fed.
func fed(t *testing.T, db *DB) event.Position {
	t.Helper()
	live := db.live()
	if len(live) != 1 {
		t.Fatalf("%d processes", len(live))
	}
	live[0].feeding.Lock()
	defer live[0].feeding.Unlock()
	return live[0].pulled
}

func tailEnd(w *world) event.Position {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.org(1).to
}

// later is when every idle worker is to be fed again.
func later() time.Time { return time.Now().Add(2 * countEvery) }

// An idle worker gets what comes in, however much it is but not all at once, and what its
// statements count is the same with it or without: every event once, in the tail or in a
// file.
func TestFeedAhead(t *testing.T) {
	w := newWorld(t)
	db := w.openWorkers(nil)
	random := rand.New(rand.NewPCG(1, 2))
	id := int64(0)
	add := func(n int) {
		var events []event.Interaction
		for range n {
			id++
			in := open1(id)
			in.UserAgent = "a program with a name that is long enough to be seen"
			events = append(events, in)
		}
		w.add(1, events...)
	}
	add(1)
	ask(t, db, 1, census)
	add(20_000) // more than one order takes
	looks := 0
	for before := fed(t, db); before < tailEnd(w); looks++ {
		db.work.feedAhead(t.Context(), later())
		now := fed(t, db)
		if now == before {
			t.Fatalf("fed up to %d of %d", now, tailEnd(w))
		}
		before = now
	}
	if looks < 2 {
		t.Error("fed all at once")
	}
	for step := range 200 {
		switch random.IntN(4) {
		case 0:
			add(1 + random.IntN(50))
		case 1:
			w.flush(1, random.IntN(200))
		case 2:
			db.work.feedAhead(t.Context(), later())
		case 3:
			if got := ask(t, db, 1, census)[0]; got["n"] != id || got["ids"] != id || got["last"] != id {
				t.Fatalf("step %d, %d events: %v", step, id, got)
			}
		}
	}
	fed(t, db) // one process has done it all
}

// Workers are fed while others ask and data goes to files.
func TestFeedAheadBesideStatements(t *testing.T) {
	w := newWorld(t)
	db := w.openWorkers(nil)
	ctx, stop := context.WithCancel(t.Context())
	var feeding sync.WaitGroup
	defer feeding.Wait()
	defer stop()
	feeding.Go(func() {
		for ctx.Err() == nil {
			db.work.feedAhead(ctx, later())
		}
	})
	for i := range int64(300) {
		w.add(1, open1(i+1))
		if i%30 == 29 {
			w.flush(1, 20)
		}
		if got := ask(t, db, 1, census)[0]; got["n"] != i+1 || got["last"] != i+1 {
			t.Fatalf("after event %d: %v", i+1, got)
		}
	}
	fed(t, db)
}

// Nobody is fed whose data nobody may read, or who is busy; what was removed does not
// come back.
func TestFeedAheadOnlyTheIdle(t *testing.T) {
	w := newWorld(t)
	db := w.openWorkers(nil)
	w.add(1, open1(1))
	ask(t, db, 1, census)
	at := fed(t, db)
	w.add(1, open1(2))
	w.setRules(func(r *Rules) { r.State = registry.OrgDisabled })
	db.work.feedAhead(t.Context(), later())
	if got := fed(t, db); got != at {
		t.Error("fed while the organisation is disabled")
	}
	w.setRules(func(r *Rules) { r.State = registry.OrgEnabled })
	p, err := db.work.take(t.Context(), workerKey{1, true})
	if err != nil {
		t.Fatal(err)
	}
	if db.work.feedAhead(t.Context(), later()); p.pulled != at {
		t.Error("fed while it was taken")
	}
	// It was idle when it was looked for and is not any more.
	if err := db.work.feed.ahead(t.Context(), p, later(), func() bool { return slices.Contains(db.work.mu.idle, p) }); err != nil || p.pulled != at {
		t.Errorf("fed after it was taken: %v", err)
	}
	db.work.give(p, true)
	if db.work.feedAhead(t.Context(), later()); fed(t, db) == at {
		t.Error("not fed when it was idle again")
	}
	if err := db.Forget(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if db.work.feedAhead(t.Context(), later()); len(db.live()) > 0 {
		t.Error("a forgotten worker lives")
	}
	if got := ask(t, db, 1, census)[0]["n"]; got != int64(2) {
		t.Errorf("afterwards: %v", got)
	}
}

// Statements that follow each other closely bring their own rows, and who is not asked
// is fed ever more seldom, but lacks an eighth at most.
func TestFeedAheadSeldom(t *testing.T) {
	w := newWorld(t)
	db := w.openWorkers(nil)
	id := int64(1)
	w.add(1, open1(id))
	ask(t, db, 1, census)
	p := db.live()[0]
	asked, fedAt := p.asked, time.Duration(0)
	times := 0
	for since := time.Duration(0); since < time.Minute; since += countEvery / 5 {
		id++
		w.add(1, open1(id))
		before := fed(t, db)
		db.work.feedAhead(t.Context(), asked.Add(since))
		if fed(t, db) != before {
			if pause := since - fedAt; pause < countEvery {
				t.Fatalf("fed %v after it was fed", pause)
			}
			fedAt = since
			times++
		}
		if lacks := since - fedAt; lacks > max(countEvery, since/aheadShare) {
			t.Fatalf("%v after the statement it lacks the rows of %v", since, lacks)
		}
	}
	if times > 60 {
		t.Errorf("fed %d times in a minute", times)
	}
}

// A View that cannot be had is asked for no more often than rows are sent.
func TestFeedAheadWithoutViews(t *testing.T) {
	w := newWorld(t)
	refused, asks := error(nil), 0
	db := w.openWorkers(func(o *Options) {
		o.Source = SourceFunc(func(ctx context.Context, org event.OrgID) (View, error) {
			if asks++; refused != nil {
				return nil, refused
			}
			return w.View(ctx, org)
		})
	})
	w.add(1, open1(1))
	ask(t, db, 1, census)
	refused, asks = errors.New("no view"), 0
	asked := db.live()[0].asked
	for since := time.Duration(0); since < time.Minute; since += countEvery {
		db.work.feedAhead(t.Context(), asked.Add(since))
	}
	if asks < 10 || asks > 60 {
		t.Errorf("asked %d times in a minute", asks)
	}
}

// A worker that ended while it was idle is found, so that no statement is lost to it.
func TestFeedAheadFindsTheDead(t *testing.T) {
	w := newWorld(t)
	db := w.openWorkers(nil)
	w.add(1, open1(1))
	ask(t, db, 1, census)
	dead := db.live()[0]
	if err := dead.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-dead.exited
	w.add(1, open1(2))
	if db.work.feedAhead(t.Context(), later()); len(db.live()) > 0 {
		t.Error("it is kept")
	}
	if got := ask(t, db, 1, census)[0]["n"]; got != int64(2) {
		t.Errorf("afterwards: %v", got)
	}
}

// A worker that takes nothing any more holds up neither its next statement, beyond its
// time, nor those who feed.
func TestFeedAheadOfTheStuck(t *testing.T) {
	w := newWorld(t)
	db := w.openWorkers(func(o *Options) { o.Worker.Timeout = time.Second })
	w.add(1, open1(1))
	ask(t, db, 1, census)
	stuck := w.stick(db)
	fedUp := make(chan struct{})
	go func() {
		defer close(fedUp)
		db.work.feedAhead(t.Context(), later())
	}()
	for stuck.feeding.TryLock() { // the statement is to find the feed under way
		stuck.feeding.Unlock()
	}
	_, err := db.SQL(t.Context(), Statement{Org: 1, Persons: true, Text: census})
	if code := problem.Of(err).Code; code != "sql_timeout" && code != "sql_worker_ended" {
		t.Errorf("got %v", err)
	}
	<-fedUp
	<-stuck.exited
	if got := ask(t, db, 1, census)[0]["n"]; got != int64(50_001) {
		t.Errorf("afterwards: %v", got)
	}
}

// stick lets the only worker take nothing any more, and adds more than its sockets hold.
func (w *world) stick(db *DB) *worker {
	w.tb.Helper()
	stuck := db.live()[0]
	if err := stuck.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		w.tb.Fatal(err)
	}
	var many []event.Interaction
	for i := range int64(50_000) {
		many = append(many, open1(2+i))
	}
	w.add(1, many...)
	return stuck
}

// A feed under way ends with its context, or a shutdown would wait for whom it feeds.
func TestFeedAheadEnds(t *testing.T) {
	w := newWorld(t)
	viewed := func() {}
	db := w.openWorkers(func(o *Options) {
		o.Source = SourceFunc(func(ctx context.Context, org event.OrgID) (View, error) {
			v, err := w.View(ctx, org)
			viewed()
			return v, err
		})
	})
	w.add(1, open1(1))
	ask(t, db, 1, census)
	stuck := w.stick(db)
	ctx, stop := context.WithCancel(t.Context())
	viewed = stop // there is a View, and nothing is sent yet
	db.work.feedAhead(ctx, later())
	<-stuck.exited
}

// Run feeds ahead, until its context ends.
func TestRunFeedsAhead(t *testing.T) {
	w := newWorld(t)
	db := w.openWorkers(nil)
	w.add(1, open1(1))
	ask(t, db, 1, census)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- db.Run(ctx) }()
	w.add(1, open1(2))
	for want := tailEnd(w); fed(t, db) != want; { // it goes on until it is
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
