package rollup

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"mailwake/engine/event"
)

// Random histories of appends, flushes, compactions, consent and age limits against
// a count of all events.
func TestHistories(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			h := &history{t: t, dir: t.TempDir(), r: rand.New(rand.NewPCG(seed, 5)), files: map[*File][]Event{}, state: NewState(), plain: seed%3 == 1, honest: seed%3 == 2}
			h.state.growth = []int64{growth, 1}[seed/2%2]
			h.state.long = []int{longPair, 0, 3}[seed/3%3]
			h.consent.Marks = make([]uint8, 25)
			for range 50 {
				h.step()
				if h.r.IntN(2) == 0 {
					h.refresh()
					h.check()
					if h.r.IntN(2) == 0 {
						h.checkTallies()
					}
				}
				if t.Failed() {
					return
				}
			}
			h.refresh()
			h.check()
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 2))
	h := &history{t: t, dir: dir, r: r}
	rows := make([]Event, 3000)
	for i := range rows {
		rows[i] = h.event()
	}
	slices.SortStableFunc(rows, byKey)
	source := Source{Path: "/x/1.parquet", Bytes: 5}
	f, err := build(t, dir, source, rows)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "1.parquet.rollup")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if f.Rows != 3000 {
		t.Errorf("%d rows", f.Rows)
	}
	for _, other := range []Source{{"/x/2.parquet", 5}, {"/x/1.parquet", 6}} {
		if _, err := Open(path, other); !errors.Is(err, ErrDamaged) {
			t.Errorf("opened as %v: %v", other, err)
		}
	}
	// Damage is seen when the file is opened, or when the damaged part is read.
	for range 300 {
		damaged := slices.Clone(whole)
		if r.IntN(2) == 0 {
			damaged[len(magic)+r.IntN(len(damaged)-len(magic))] ^= 1 << r.IntN(8)
		} else {
			damaged = damaged[:r.IntN(len(damaged))]
		}
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := readAll(path, source); !errors.Is(err, ErrDamaged) {
			t.Fatalf("read %d of %d bytes: %v", len(damaged), len(whole), err)
		}
	}
}

func readAll(path string, source Source) (err error) {
	f, err := Open(path, source)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := NewState().Refresh(Basis{Files: []*File{f}}); err != nil {
		return err
	}
	for r := range event.RecipientID(40) {
		if _, err := f.emailsOf(nil, r); err != nil {
			return err
		}
	}
	return nil
}

func TestBuilderRefuses(t *testing.T) {
	for _, c := range []struct {
		rows []Event
		want error
	}{
		{[]Event{{Email: 2, Recipient: 1}, {Email: 1, Recipient: 1}}, ErrOrder},
		{[]Event{{Email: 2, Recipient: 2}, {Email: 2, Recipient: 1}}, ErrOrder},
		{[]Event{{Email: 1, Recipient: 1 << 40}}, ErrRange},
		{[]Event{{Email: -1, Recipient: 1}}, ErrOrder},
		{[]Event{{Email: 0, Recipient: 1}}, ErrRange},
	} {
		dir := t.TempDir()
		if _, err := build(t, dir, Source{Path: "x"}, c.rows); !errors.Is(err, c.want) {
			t.Errorf("%v: %v", c.rows, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left %v, %v", left, err)
		}
	}
}
