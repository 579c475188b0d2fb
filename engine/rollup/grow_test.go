package rollup

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"mailwake/engine/event"
)

// What changes besides a new file is not missed for it.
func TestGrowingIsAll(t *testing.T) {
	var files []*File
	for i, path := range []string{"x", "y"} {
		f, err := build(t, t.TempDir(), Source{Path: path, Bytes: 1}, []Event{{Email: 1, Recipient: event.RecipientID(1 + i), ID: int64(1 + i), At: event.Micros(1 + 99*i), Shape: Shape{Kind: event.Open}}})
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	for name, c := range map[string]struct {
		next  Basis
		pairs int64
	}{
		"a file":            {Basis{Files: files}, 2},
		"a file and age":    {Basis{Files: files, Oldest: 50}, 1},
		"a file, consent":   {Basis{Files: files, Consent: Consent{Marks: []uint8{0, 1}}}, 1},
		"a file and opt-in": {Basis{Files: files, Consent: Consent{OptIn: true, Marks: []uint8{0, 1}}}, 1},
		"another file":      {Basis{Files: files[1:]}, 1},
	} {
		s := NewState()
		s.growth = 1
		for _, b := range []Basis{{Files: files[:1]}, c.next} {
			if _, err := s.Refresh(b); err != nil {
				t.Fatal(err)
			}
		}
		if total, err := s.Total(); err != nil || total.Pairs != c.pairs || total.People != c.pairs {
			t.Errorf("%s: %d pairs, %d people, %v; want %d", name, total.Pairs, total.People, err, c.pairs)
		}
	}
}

// What the first tail is expected to have is what files have of it, whether they have
// any or others reported some of it.
func TestExpect(t *testing.T) {
	h := &history{t: t, dir: t.TempDir(), r: rand.New(rand.NewPCG(1, 2)), files: map[*File][]Event{}, state: NewState()}
	for range 3 {
		rows := make([]Event, 300)
		for i := range rows {
			rows[i] = h.event()
			if rows[i].Email%2 == 0 {
				rows[i].ID = h.serial // others report nothing of it
			}
		}
		h.write(rows)
	}
	for email := range event.EmailID(30) {
		for r := range event.RecipientID(40) {
			h.state.Expect(email+1, r+1)
		}
	}
	if _, err := h.state.Refresh(Basis{Files: slices.Collect(maps.Keys(h.files))}); err != nil {
		t.Fatal(err)
	}
	h.checkKnown()
	of := map[event.EmailID]int{}
	for k := range h.state.known {
		of[k.email]++
	}
	if of[2] != 40 || of[1] != 0 {
		t.Errorf("pairs known of emails: %v", of)
	}
}
