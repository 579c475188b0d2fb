package rollup

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"mailwake/engine/event"
)

// Files that merge others are taken without counting anything, with the tail and the
// tallies as they were; an event more, less or other is found.
func TestMergesAreTaken(t *testing.T) {
	h := &history{t: t, dir: t.TempDir(), r: rand.New(rand.NewPCG(3, 5)), files: map[*File][]Event{}, state: NewState()}
	h.consent.Marks = make([]uint8, 25)
	var rows []Event
	for range 400 {
		rows = append(rows, h.event())
	}
	h.write(rows[:300])
	h.write(rows[300:])
	for range 50 {
		h.tail = append(h.tail, h.event())
	}
	h.refresh()
	counting := Counting{Width: 1, Pair: func(t *Tally, _ event.EmailID, _ event.RecipientID, facts []Fact) {
		t.Add(t.Group(0), 0, int64(len(facts)))
	}}
	before, err := h.state.Tally("all", counting)
	if err != nil {
		t.Fatal(err)
	}
	merge := func(rows []Event, same bool) {
		t.Helper()
		clear(h.files)
		h.pure = false
		h.write(rows)
		kept := h.added
		h.refresh()
		h.check()
		after, err := h.state.Tally("all", counting)
		if err != nil {
			t.Fatal(err)
		}
		if (after == before) != same {
			t.Errorf("the tally was kept is %v, after %d rows of the tail", !same, kept)
		}
		before = after
	}
	if h.state.HotEvents() == 0 {
		t.Fatal("there is no tail")
	}
	merge(rows, true)
	for what, change := range map[string]func(e *Event){
		"recipient": func(e *Event) { e.Recipient++ }, "email": func(e *Event) { e.Email++ }, "time": func(e *Event) { e.At++ },
		"component": func(e *Event) { e.Component++ }, "kind": func(e *Event) { e.Kind = event.Open + event.Click - e.Kind },
		"client": func(e *Event) { e.Client += "x" },
	} {
		t.Run(what, func(t *testing.T) {
			i := slices.IndexFunc(rows, func(e Event) bool { return e.ID >= 0 && (e.Kind == event.Open || e.Kind == event.Click) })
			rows = slices.Clone(rows)
			change(&rows[i])
			merge(rows, false)
			merge(rows, true)
		})
	}
	merge(rows[:len(rows)-1], false)
	i := slices.IndexFunc(rows, func(e Event) bool { return e.ID < 0 })
	if i < 0 || i >= len(rows)-1 {
		t.Fatal("nothing was reported by others")
	}
	rows = slices.Clone(rows[:len(rows)-1])
	rows[i].ID--
	merge(rows, false)
	rows = append(rows, rows[0])
	merge(rows, false)
}

// A merge costs nothing also where a flush came with it, before or after, or where one
// has made two files: only what is new is counted.
func TestMergeBesideAFlush(t *testing.T) {
	h := &history{t: t, dir: t.TempDir(), r: rand.New(rand.NewPCG(3, 7)), files: map[*File][]Event{}, state: NewState(), plain: true}
	draw := func(n int) (rows []Event) {
		for range n {
			rows = append(rows, h.event())
		}
		return rows
	}
	old := draw(3000)
	h.write(old[:1000])
	h.write(old[1000:1900])
	h.write(old[1900:])
	h.refresh()
	for _, pieces := range []int{1, 2, mostCame + 5} {
		clear(h.files)
		for piece := range slices.Chunk(old, (len(old)+pieces-1)/pieces) {
			h.write(piece)
		}
		flushed := draw(20)
		if pieces > mostCame {
			flushed = nil // it need not be among those that are tried without
		}
		h.write(flushed)
		h.pure = false
		if into := inPlaceOf(h.state.gen.Files, slices.Collect(maps.Keys(h.files))); len(into) != pieces {
			t.Errorf("%d files are in place of others, of %d", len(into), pieces)
		}
		before := h.state.worked
		h.refresh()
		if passed := h.state.worked - before; passed > len(flushed) {
			t.Errorf("%d pairs were counted for %d new events", passed, len(flushed))
		}
		h.check()
		old = append(old, flushed...)
	}
}
