package query

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
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

// While Run counts a long tail, what concerns one email is answered from that email's
// rows; all others wait.
func TestEmailsAreCountedAhead(t *testing.T) {
	for seed := range uint64(4) {
		w := newTwins(t, seed)
		s, err := w.with.store(1)
		if err != nil {
			t.Fatal(err)
		}
		w.with.runs.Store(true)
		early, whole := 0, Request{Org: 1, Persons: true, Name: "organisation_summary"}
		for range 60 {
			s.rollups.most.tail = 7
			switch w.r.IntN(7) {
			case 0:
				w.flush(w.r.IntN(len(w.world.org(1).tail) + 1))
			case 1:
				w.consent()
			case 2:
				s.rollups.most.tail = 100
				fallthrough
			case 3:
				if err := s.count(t.Context()); err != nil && !errors.Is(err, errMoreTail) {
					t.Fatal(err)
				}
			case 4:
				w.foreign()
			default:
				n := min(len(w.coming), w.r.IntN(80))
				w.world.add(1, w.coming[:n]...)
				w.coming = w.coming[n:]
			}
			q := w.question()
			q.Params["email"] = fmt.Sprint(1 + w.r.IntN(15))
			k, err := w.with.find(q.Name)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(k.Params, func(p Param) bool { return p.Name == "email" }) {
				continue
			}
			got := w.fromRollups(q)
			res, err := w.without.KPI(t.Context(), q)
			if want := rowsOf(t, res, err); !fallsBack(q) && !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d: %s %v: got\n%v, want\n%v", seed, q.Name, q.Params, got, want)
			}
			if w.fromRollups(whole) == nil {
				early++
			}
		}
		if early == 0 {
			t.Error("no tail was long")
		}
		for !w.rolls(whole) {
			s.rollups.most.tail++
		}
		res, err := w.without.KPI(t.Context(), whole)
		if want := rowsOf(t, res, err); !reflect.DeepEqual(w.fromRollups(whole), want) {
			t.Errorf("in the end: got %v, want %v", w.fromRollups(whole), want)
		}
	}
}
