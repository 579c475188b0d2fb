package query

import (
	"errors"
	"testing"

	"mailwake/engine/rollup"
)

// begin takes in some of what was flushed.
func (w *twins) begin() string {
	s, err := w.with.store(1)
	if err != nil {
		w.t.Fatal(err)
	}
	s.rollups.most.absorb = 1 + w.r.IntN(30)
	more := true
	if err = s.begin(w.t.Context()); errors.Is(err, errNoRollup) {
		return "nothing to take in"
	}
	for range w.r.IntN(4) {
		if more && err == nil {
			more, err = s.absorb(w.t.Context())
		}
	}
	if bad := (*rollup.FileError)(nil); err != nil && !errors.As(err, &bad) {
		w.t.Fatal(err)
	}
	return "some is taken in"
}

// foreign lets another node flush.
func (w *twins) foreign() string {
	o := w.world.org(1)
	own := o.tail
	n := min(len(w.coming), 1+w.r.IntN(50))
	if n == 0 {
		return "nobody flushes"
	}
	o.tail = nil
	from, to := o.from, o.to
	w.world.add(1, w.coming[:n]...)
	w.coming = w.coming[n:]
	w.flush(n)
	o.tail, o.from, o.to = own, from, to
	o.content++
	return "another node flushes"
}

// While Run does, a flush leaves the state on the tail that it was, and what comes
// later is counted; Run takes the file in, and the tail goes.
func TestFlushesAreTakenInBehind(t *testing.T) {
	w := newTwins(t, 3)
	s, err := w.with.store(1)
	if err != nil {
		t.Fatal(err)
	}
	q := Request{Org: 1, Persons: true, Name: "organisation_summary"}
	step := func(what string, files, events int) {
		t.Helper()
		if !w.rolls(q) {
			t.Fatalf("%s: not from rollups", what)
		}
		if f, e := len(s.rollups.state.Files()), s.rollups.state.HotEvents(); f != files || e != events {
			t.Errorf("%s: the state has %d files and %d events of the tail, want %d and %d", what, f, e, files, events)
		}
	}
	add := func(n int) {
		w.world.add(1, w.coming[:n]...)
		w.coming = w.coming[n:]
	}
	add(300)
	step("a tail", 0, 300)
	w.with.runs.Store(true)
	w.flush(200)
	add(50)
	step("a flush", 0, 350)
	s.rollups.most.absorb = 10
	if err := s.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	step("the file is adopted", 1, 350)
	if err := s.ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	step("taken in", 1, 150)
	add(20)
	if err := s.count(t.Context()); err != nil || s.rollups.state.HotEvents() != 170 {
		t.Errorf("%d events were counted, want 170, %v", s.rollups.state.HotEvents(), err)
	}
	add(20)
	w.flush(190)
	step("a flush of what was not counted", 2, 0)
}
