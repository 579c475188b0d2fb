package rollup

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"mailwake/engine/event"
)

// history is a table and a tail, beside a State that follows them.
type history struct {
	t       *testing.T
	dir     string
	r       *rand.Rand
	files   map[*File][]Event
	tail    []Event
	told    []Event // that others reported
	consent Consent
	oldest  event.Micros
	state   *State
	serial  int64
	from    event.Position // where the tail begins
	added   int            // events of the tail that it has
	flushed int            // events that were of the tail when it was refreshed
	pure    bool           // nothing else has changed files since
	plain   bool           // nothing is reported, too old or merged
	honest  bool           // a report that is repeated says what it said
}

func (h *history) event() Event {
	h.serial++
	e := Event{
		Email: event.EmailID(1 + h.r.IntN(9)*h.r.IntN(9)), Recipient: event.RecipientID(1 + h.r.IntN(30)), ID: h.serial,
		At: event.Micros(1e15 + h.r.Int64N(1e9)), Component: int32(h.r.IntN(3)),
		Shape: Shape{Kind: event.Kind(1 + h.r.IntN(9)), Actor: event.Actor(h.r.IntN(6)), Client: []string{"", "a", "b"}[h.r.IntN(3)]},
	}
	e.Received = e.At + event.Micros(h.r.IntN(1000))
	if h.r.IntN(4) == 0 && !h.plain {
		e.ID = -e.ID
	}
	if h.r.IntN(8) == 0 && len(h.told) > 0 { // perhaps another time, perhaps something else
		at, kind := e.At, e.Kind
		e = h.told[h.r.IntN(len(h.told))]
		if e.Received = h.received(at); h.r.IntN(3) == 0 && !h.honest {
			e.At, e.Kind = at, kind
		}
	}
	if e.ID < 0 {
		h.told = append(h.told, e)
	}
	return e
}

// received is unique for all copies, as no order is defined among equals.
func (h *history) received(about event.Micros) event.Micros {
	return about&^0xffff | event.Micros(h.serial&0xffff)
}

func (h *history) all() []Event {
	var all []Event
	for _, rows := range h.files {
		all = append(all, rows...)
	}
	return append(all, h.tail...)
}

func byKey(a, b Event) int {
	return cmp.Or(cmp.Compare(a.Email, b.Email), cmp.Compare(a.Recipient, b.Recipient))
}

func build(t testing.TB, dir string, source Source, rows []Event) (*File, error) {
	t.Helper()
	b, err := NewBuilder(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		if err := b.Add(&rows[i]); err != nil {
			return nil, errors.Join(err, b.Abort())
		}
	}
	if err := b.Finish(source); err != nil {
		t.Fatal(err)
	}
	f, err := Open(source.In(dir), source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f, nil
}

func (h *history) write(rows []Event) {
	if len(rows) == 0 {
		return
	}
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, byKey)
	source := Source{Path: fmt.Sprintf("/x/%d.parquet", len(h.files)+int(h.serial)<<20+h.r.IntN(1<<20)), Bytes: int64(len(rows))}
	f, err := build(h.t, h.dir, source, rows)
	if err != nil {
		h.t.Fatal(err)
	}
	h.files[f] = rows
}

func (h *history) step() {
	what := h.r.IntN(13)
	if h.plain && (what == 1 || what == 3) {
		what = 11
	}
	switch what {
	case 0, 5, 6: // a flush of the first part of the tail, perhaps without somebody
		n := h.r.IntN(len(h.tail) + 1)
		gone := event.RecipientID(h.r.IntN(100) - 69)
		kept := slices.DeleteFunc(slices.Clone(h.tail[:n]), func(e Event) bool { return e.Recipient == gone })
		h.write(kept)
		h.flushed += n
		h.pure = h.pure && len(kept) == n
		h.tail = slices.Clone(h.tail[n:])
		h.from += event.Position(n)
	case 1: // a compaction, leaving some out
		h.pure = false
		var rows []Event
		for f, part := range h.files {
			if h.r.IntN(2) == 0 {
				rows = append(rows, part...)
				delete(h.files, f)
			}
		}
		h.write(slices.DeleteFunc(rows, func(Event) bool { return h.r.IntN(9) == 0 }))
	case 12: // a compaction that changes nothing
		h.pure = false
		var rows []Event
		for f, part := range h.files {
			if h.r.IntN(3) > 0 {
				rows = append(rows, part...)
				delete(h.files, f)
			}
		}
		cut := h.r.IntN(len(rows) + 1)
		h.write(rows[:cut])
		h.write(rows[cut:])
	case 4: // a flush of another node
		rows := make([]Event, h.r.IntN(10))
		for i := range rows {
			rows[i] = h.event()
		}
		h.write(rows)
		h.pure = h.pure && len(rows) == 0
	case 2:
		h.consent.Marks = slices.Clone(h.consent.Marks)
		for range 1 + h.r.IntN(3) {
			h.consent.Marks[h.r.IntN(len(h.consent.Marks))] = uint8(h.r.IntN(16))
		}
	case 3:
		if h.r.IntN(4) == 0 {
			h.consent.OptIn = !h.consent.OptIn
		}
		if h.oldest = 0; h.r.IntN(2) == 0 {
			h.oldest = event.Micros(1e15 + h.r.Int64N(1e9))
		}
	default:
		for range h.r.IntN(40) {
			e := h.event()
			h.tail = append(h.tail, e)
		}
	}
}

func (h *history) refresh() {
	files := make([]*File, 0, len(h.files))
	for f := range h.files {
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b *File) int { return cmp.Compare(a.Source.Path, b.Source.Path) })
	next := Basis{files, h.from, h.consent, h.oldest}
	if h.pure && h.oldest == h.state.gen.Oldest && h.flushed <= h.added {
		switch what := h.r.IntN(4); {
		case what == 0: // what is in files now can be answered for by the tail
			next.Files, next.Tail = h.state.gen.Files, h.state.gen.Tail
		case what < 3 && h.state.Adopt(next):
			h.added -= h.flushed
			h.flushed = 0
		}
	}
	if h.r.IntN(3) > 0 {
		if _, err := h.state.Absorb(h.r.IntN(60)); err != nil {
			h.t.Fatal(err)
		}
	}
	lags := next.Tail != h.from
	kept, err := h.state.Refresh(next)
	if err != nil {
		h.t.Fatal(err)
	}
	h.checkKnown()
	if !kept {
		if lags {
			h.t.Fatal("the tail is not kept")
		}
		h.added = 0
	}
	if !lags {
		h.flushed, h.pure = 0, true
	}
	if h.added -= h.flushed; h.added < 0 {
		h.t.Fatal("events were lost")
	}
	defer func() { h.added += h.flushed }()
	for ; h.added < len(h.tail); h.added++ {
		if err := h.state.Add(&h.tail[h.added]); err != nil {
			h.t.Fatal(err)
		}
	}
}

// model has everything that may be shown, simply.
func (h *history) model() map[key][]Event {
	all := h.all()
	slices.SortStableFunc(all, func(a, b Event) int { return cmp.Compare(a.Received, b.Received) })
	type id struct {
		key
		id int64
	}
	seen := map[id]bool{}
	pairs := map[key][]Event{}
	for _, e := range all {
		k := key{e.Email, e.Recipient}
		if e.ID < 0 && seen[id{k, e.ID}] {
			continue
		}
		seen[id{k, e.ID}] = true
		if i, ok := purposeOf(e.Kind); e.At < h.oldest || ok && h.consent.hidden(e.Recipient)&(1<<i) != 0 {
			continue
		}
		pairs[k] = append(pairs[k], e)
	}
	return pairs
}

// settle takes from sums the times that mean nothing.
func settle(s Sums) Sums {
	if s.Sent == 0 {
		s.FirstSent = 0
	}
	if s.Did[0].Unique == 0 {
		s.FirstOpened, s.LastOpened = 0, 0
	}
	if s.Did[0].ByHuman == 0 {
		s.FirstOpenedHuman, s.LastOpenedHuman = 0, 0
	}
	return s
}

func (h *history) check() {
	h.t.Helper()
	emails, people := map[event.EmailID]*Sums{}, map[event.RecipientID]*Sums{}
	want := Total{Sums: NewSums()}
	for k, events := range h.model() {
		var p Pair
		for _, e := range events {
			p.Add(e.Kind, e.Actor, e.At)
		}
		for _, s := range []*Sums{sumsIn(emails, k.email), sumsIn(people, k.recipient), &want.Sums} {
			s.Count(&p)
		}
		if got, err := h.state.Pair(k.email, k.recipient); err != nil || !reflect.DeepEqual(got, p) {
			h.t.Errorf("pair %v: %+v, %v; want %+v", k, got, err, p)
		}
	}
	for id := range event.EmailID(70) {
		got, err := h.state.Email(id)
		h.same(fmt.Sprint("email ", id), got, *sumsIn(emails, id), err)
		again := NewSums()
		err = h.state.Pairs(id, func(_ event.RecipientID, p *Pair) { again.Count(p) })
		h.same(fmt.Sprint("pairs of email ", id), again, *sumsIn(emails, id), err)
		want.Emails += int64(bit(sumsIn(emails, id).Sent > 0))
	}
	var last []event.RecipientID
	for id := range event.RecipientID(40) {
		got := NewSums()
		err := h.state.Recipient(id, func(_ event.EmailID, p *Pair) { got.Count(p) })
		s := sumsIn(people, id)
		h.same(fmt.Sprint("recipient ", id), got, *s, err)
		want.Reached += int64(bit(s.Sent > 0))
		if s.Pairs > 0 {
			want.People++
			last = append(last, id)
		}
	}
	got, err := h.state.Total()
	h.same("total", got.Sums, want.Sums, err)
	got.Sums, want.Sums = Sums{}, Sums{}
	if got != want {
		h.t.Errorf("total: %+v, want %+v", got, want)
	}
	slices.SortStableFunc(last, func(a, b event.RecipientID) int { return cmp.Compare(people[b].LastActive, people[a].LastActive) })
	n := 1 + h.r.IntN(10)
	if got, err := h.state.LastActive(n); err != nil || !slices.Equal(got, last[:min(n, len(last))]) {
		h.t.Errorf("last active: %v, %v; want %v", got, err, last[:min(n, len(last))])
	}
}

// checkKnown looks up what the State remembers of files.
func (h *history) checkKnown() {
	h.t.Helper()
	for k, known := range h.state.known {
		var fresh hotPair
		if err := h.state.lookUp(k, &fresh); err != nil {
			h.t.Fatal(err)
		}
		if got := h.state.pairOf(k, known, known.cold); known.extent() != known.cold || known.cold != fresh.cold || got != fresh.pair {
			h.t.Errorf("%v is remembered as %+v and %+v, it is %+v and %+v", k, known.cold, got, fresh.cold, fresh.pair)
		}
	}
}

func sumsIn[K comparable](in map[K]*Sums, k K) *Sums {
	if in[k] == nil {
		s := NewSums()
		in[k] = &s
	}
	return in[k]
}

func (h *history) same(what string, got, want Sums, err error) {
	h.t.Helper()
	if got, want = settle(got), settle(want); err != nil || got != want {
		h.t.Errorf("%s: %+v, %v; want %+v", what, got, err, want)
	}
}
