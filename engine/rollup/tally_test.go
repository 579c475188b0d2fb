package rollup

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"mailwake/engine/event"
)

// byClient counts all that a Tally can count, by client and time.
func byClient(s *State, email event.EmailID) Counting {
	return Counting{Email: email, Width: 2, Pair: func(t *Tally, _ event.EmailID, r event.RecipientID, facts []Fact) {
		for _, f := range facts {
			g := t.Group(clientGroup(s.Shapes()[f.Shape].Client, f.At))
			t.Add(g, 0, int64(1+f.Component))
			t.Once(g, 1)
			t.Person(g, r)
			if email != 0 {
				t.Span(g, f.At)
			}
		}
	}}
}

func clientGroup(client string, at event.Micros) int64 {
	return int64(len(client))<<8 + int64(at%3)<<4 + int64((client + "-")[0]%16)
}

func tallyOf(pairs map[key][]Event, email event.EmailID) []Group {
	groups := map[int64]*Group{}
	people := map[int64]map[event.RecipientID]bool{}
	for k, events := range pairs {
		if email != 0 && k.email != email {
			continue
		}
		once := map[int64]bool{}
		for _, e := range events {
			id := clientGroup(e.Client, e.At)
			g := groups[id]
			if g == nil {
				g = &Group{Key: id, Numbers: make([]int64, 2), First: e.At, Last: e.At}
				groups[id], people[id] = g, map[event.RecipientID]bool{}
			}
			g.Numbers[0] += int64(1 + e.Component)
			once[id], people[id][k.recipient] = true, true
			g.First, g.Last = min(g.First, e.At), max(g.Last, e.At)
		}
		for id := range once {
			groups[id].Numbers[1]++
		}
	}
	var list []Group
	for id, g := range groups {
		if g.People = int64(len(people[id])); email == 0 {
			g.First, g.Last = 0, 0
		}
		list = append(list, *g)
	}
	slices.SortFunc(list, byGroup)
	return list
}

func byGroup(a, b Group) int { return cmp.Compare(a.Key, b.Key) }

// checkTallies compares Tallies, of which some were asked for before.
func (h *history) checkTallies() {
	h.t.Helper()
	pairs := h.model()
	for _, email := range []event.EmailID{0, event.EmailID(1 + h.r.IntN(9)), 0} {
		tally, err := h.state.Tally(fmt.Sprint(email), byClient(h.state, email))
		if err != nil {
			h.t.Fatal(err)
		}
		var got []Group
		for _, g := range tally.Groups() {
			if g.pair, g.marked = nil, nil; email == 0 {
				g.First, g.Last = 0, 0
			}
			if g.Numbers[0] != 0 || g.People != 0 || g.Numbers[1] != 0 {
				got = append(got, g)
			}
		}
		slices.SortFunc(got, byGroup)
		if want := tallyOf(pairs, email); !reflect.DeepEqual(got, want) {
			h.t.Fatalf("email %d:\n%+v, want\n%+v", email, got, want)
		}
	}
}

// What is kept is bounded, and what would be larger is not counted.
func TestTalliesAreBounded(t *testing.T) {
	s := NewState()
	s.tallies.most = 1 << 20
	for r := range event.RecipientID(10) {
		if err := s.Add(&Event{Email: 1, Recipient: 1 + r*10_000, ID: 1, At: 1, Shape: Shape{Kind: event.Open}}); err != nil {
			t.Fatal(err)
		}
	}
	groups := func(n int64) Counting {
		return Counting{Width: 1, Pair: func(t *Tally, _ event.EmailID, r event.RecipientID, _ []Fact) {
			for k := range n {
				t.Person(t.Group(k), r)
			}
		}}
	}
	for i := range 2 * maxTallies {
		if _, err := s.Tally(fmt.Sprint(i), groups(5)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.tallies.by); n < 2 || n >= maxTallies {
		t.Errorf("%d are kept", n)
	}
	if _, err := s.Tally("many", groups(100)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("100 groups: %v", err)
	}
	if _, err := s.Tally("199", groups(5)); err != nil {
		t.Error(err)
	}
}

// A person whose only event in a group becomes too old, in one email of many, or is
// replaced in the tail, is not in the group any more.
func TestTalliesLosePeople(t *testing.T) {
	var rows []Event
	for email := range event.EmailID(20) {
		rows = append(rows, Event{Email: 1 + email, Recipient: 1, ID: int64(1 + email), At: event.Micros(100 + 3*int64(email)), Shape: Shape{Kind: event.Open, Client: "a"}})
	}
	rows[0].Client, rows[0].At = "b", 1
	f, err := build(t, t.TempDir(), Source{Path: "x", Bytes: 1}, rows)
	if err != nil {
		t.Fatal(err)
	}
	s := NewState()
	people := func(what string, basis Basis, add []Event, client string, want int64) {
		t.Helper()
		if _, err := s.Refresh(basis); err != nil {
			t.Fatal(err)
		}
		for i := range add {
			if err := s.Add(&add[i]); err != nil {
				t.Fatal(err)
			}
		}
		tally, err := s.Tally("clients", Counting{Width: 1, Pair: func(t *Tally, _ event.EmailID, r event.RecipientID, facts []Fact) {
			for _, f := range facts {
				t.Person(t.Group(int64(s.Shapes()[f.Shape].Client[0])), r)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		got := int64(0)
		if g := tally.Of(int64(client[0])); g != nil {
			got = g.People
		}
		if got != want {
			t.Errorf("%s: %d people, want %d", what, got, want)
		}
	}
	other, err := build(t, t.TempDir(), Source{Path: "y", Bytes: 1}, []Event{{Email: 20, Recipient: 1, ID: 99, At: 500, Shape: Shape{Kind: event.Open, Client: "e"}}})
	if err != nil {
		t.Fatal(err)
	}
	files := []*File{f}
	people("two files", Basis{Files: []*File{f, other}}, nil, "e", 1)
	people("one is gone", Basis{Files: files}, nil, "e", 0)
	people("all", Basis{Files: files}, nil, "b", 1)
	people("too old", Basis{Files: files, Oldest: 50}, nil, "b", 0)
	hot := Event{Email: 5, Recipient: 3, ID: 77, At: 200, Shape: Shape{Kind: event.Open, Client: "f"}}
	people("hot", Basis{Files: files, Oldest: 50}, []Event{hot}, "f", 1)
	people("the tail has moved", Basis{Files: files, Oldest: 50, Tail: 5}, nil, "f", 0)
	told := Event{Email: 5, Recipient: 2, ID: -1, At: 200, Received: 300, Shape: Shape{Kind: event.Open, Client: "c"}}
	people("told", Basis{Files: files, Oldest: 50, Tail: 5}, []Event{told}, "c", 1)
	told.Client, told.Received = "d", 250
	people("told as it was before", Basis{Files: files, Oldest: 50, Tail: 5}, []Event{told}, "c", 0)
	people("as it was", Basis{Files: files, Oldest: 50, Tail: 5}, nil, "d", 1)
	people("the tail is gone", Basis{Files: files, Oldest: 50, Tail: 9}, nil, "d", 0)
}
