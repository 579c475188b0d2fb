package rollup

import (
	"errors"
	"fmt"
	"testing"

	"mailwake/engine/event"
)

// follower is a State that one pixel, asked for over and over, is flushed from.
type follower struct {
	t      *testing.T
	dir    string
	state  *State
	files  []*File
	serial int64
}

func (f *follower) round(events int) {
	f.t.Helper()
	rows := make([]Event, events)
	for i := range rows {
		f.serial++
		rows[i] = Event{Email: 1, Recipient: 1, ID: f.serial, At: event.Micros(f.serial), Shape: Shape{Kind: event.Open, Actor: event.Human}}
		if err := f.state.Add(&rows[i]); err != nil {
			f.t.Fatal(err)
		}
	}
	file, err := build(f.t, f.dir, Source{Path: fmt.Sprint("/x/", f.serial), Bytes: 1}, rows)
	if err != nil {
		f.t.Fatal(err)
	}
	f.files = append(f.files, file)
	if !f.state.Adopt(Basis{Files: f.files, Tail: event.Position(f.serial)}) {
		f.t.Fatal("not adopted")
	}
	if _, err := f.state.Absorb(1000); err != nil {
		f.t.Fatal(err)
	}
}

// facts counts the events of the pair that are in memory.
func (f *follower) facts() (n int) {
	for _, pairs := range []map[key]*hotPair{f.state.hot.pairs, f.state.known} {
		for _, h := range pairs {
			n += len(h.own)
		}
	}
	return n
}

// A pixel that is asked for over and over takes no more memory each time.
func TestLongPairsAreShed(t *testing.T) {
	f := &follower{t: t, dir: t.TempDir(), state: NewState()}
	for range 30 {
		f.round(longPair)
		if n := f.facts(); n > longPair {
			t.Fatalf("%d events of one pair are in memory", n)
		}
	}
	if p, err := f.state.Pair(1, 1); err != nil || p.Did[0].Total != uint32(f.serial) || p.Did[0].First != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	listed := 0
	if err := f.state.Facts(1, func(_ event.RecipientID, facts []Fact) { listed += len(facts) }); err != nil || listed != int(f.serial) {
		t.Errorf("%d events, %v", listed, err)
	}
}

// Who wants events that cannot be read any more hears of it, again and again.
func TestShedIsMissed(t *testing.T) {
	for want, spoil := range map[error]func(*follower){
		ErrDamaged: func(f *follower) { f.files[0].pairs.blocks[0].sum++; f.files[0].block = block{} },
		ErrLost:    func(f *follower) { f.state.gen.Files = nil },
	} {
		f := &follower{t: t, dir: t.TempDir(), state: NewState()}
		f.round(longPair + 1)
		if err := f.state.Add(&Event{Email: 1, Recipient: 1, ID: 1 << 20, At: 1 << 20, Shape: Shape{Kind: event.Open}}); err != nil {
			t.Fatal(err)
		}
		spoil(f)
		for range 2 {
			if err := f.state.RecipientFacts(1, func(event.EmailID, []Fact) {}); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
		if _, err := f.state.Tally("all", Counting{Email: 1, Pair: func(*Tally, event.EmailID, event.RecipientID, []Fact) {}}); !errors.Is(err, want) {
			t.Errorf("tally: %v, want %v", err, want)
		}
	}
}
