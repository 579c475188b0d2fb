package rollup

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"mailwake/engine/event"
)

// TestHolds looks for everybody who is in a rollup of several blocks, by what was
// seen of them or by what others reported, and for some who are not.
func TestHolds(t *testing.T) {
	dir := t.TempDir()
	var rows []Event
	people := map[event.RecipientID]bool{}
	for email := range event.EmailID(3) {
		for i := range event.RecipientID(300) {
			e := Event{Email: email + 1, Recipient: 2*i + 1, ID: int64(i + 1), At: 1_000_000, Received: 1_000_000, Shape: Shape{Kind: event.Open, Actor: event.Human}}
			if i%2 == 1 {
				e.ID = -e.ID // reported by others
			}
			rows = append(rows, e)
			people[e.Recipient] = true
		}
	}
	source := Source{Path: "/x/a.parquet", Bytes: 7}
	f, err := build(t, dir, source, rows)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.pairs.blocks) < 2 || len(f.told.blocks) < 2 || len(f.people.blocks) < 1 {
		t.Fatalf("%d, %d and %d blocks", len(f.pairs.blocks), len(f.told.blocks), len(f.people.blocks))
	}
	path := filepath.Join(dir, "a.parquet.rollup")
	for r := range event.RecipientID(602) {
		if got, err := Holds(path, func(id event.RecipientID) bool { return id == r }); err != nil || got != people[r] {
			t.Errorf("recipient %d: %v, %v", r, got, err)
		}
	}
	for r := range event.RecipientID(602) {
		if got, err := Has(dir, source, []event.RecipientID{r, 1000}); err != nil || got != people[r] {
			t.Errorf("recipient %d, looked up: %v, %v", r, got, err)
		}
	}
	if _, err := Has(dir, Source{Path: source.Path, Bytes: 8}, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("another file of that name: %v", err)
	}
	nobody := func(event.RecipientID) bool { return false }
	if _, err := Holds(path+"x", nobody); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{len(magic) + 1, len(whole) / 2, len(whole) - 1} {
		bad := append([]byte(nil), whole...)
		bad[at] ^= 1
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Holds(path, nobody); !errors.Is(err, ErrDamaged) {
			t.Errorf("byte %d changed: %v", at, err)
		}
		if got, err := Has(dir, source, []event.RecipientID{599}); err == nil && !got {
			t.Errorf("byte %d changed: somebody is not found", at)
		}
	}
}
