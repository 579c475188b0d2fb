package query

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"mailwake/engine/event"
	"mailwake/engine/registry"
	"mailwake/engine/rollup"
)

// With rollups and without, every answer is the same: whatever was appended,
// flushed, merged, erased, refused, allowed, outdated or damaged before.
func TestRollupsChangeNothing(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			w := newTwins(t, seed)
			var steps []string
			for range 70 {
				if steps = append(steps, w.step()); w.r.IntN(3) == 0 {
					continue
				}
				q := w.question()
				res, err := w.with.KPI(t.Context(), q)
				got := rowsOf(t, res, err)
				res, err = w.without.KPI(t.Context(), q)
				if want := rowsOf(t, res, err); !reflect.DeepEqual(got, want) {
					t.Fatalf("%s %v after %v: with rollups\n%v\nwithout\n%v", q.Name, q.Params, steps, got, want)
				}
				if !fallsBack(q) && !w.rolls(q) {
					t.Fatalf("%s %v is not answered from rollups after %v", q.Name, q.Params, steps)
				}
				if n, files := len(w.rollups()), len(w.world.org(1).files); n > files {
					t.Fatalf("%d rollups of %d files after %v", n, files, steps)
				}
				s, err := w.with.store(1)
				if err != nil || s.rollups.state == nil || len(s.rollups.open) != len(w.world.org(1).files) && !w.with.runs.Load() {
					t.Fatalf("rollups were not used after %v", steps)
				}
			}
		})
	}
}

// What an erasure has removed from the table is not in rollups once Forget is back,
// not even in those of an earlier process; and nothing is once nobody may read.
func TestForgetRemovesRollups(t *testing.T) {
	w := newTwins(t, 1)
	for range 3 {
		w.world.add(1, w.coming[:200]...)
		w.coming = w.coming[200:]
		w.flush(200)
	}
	ask := Request{Org: 1, Persons: true, Name: "organisation_summary"}
	res, err := w.with.KPI(t.Context(), ask)
	rowsOf(t, res, err)
	before := w.rollups()
	w.compact(func(in event.Interaction) bool { return in.Recipient == 3 })
	again := w.open() // has not answered anything
	if err := again.Forget(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	for _, path := range w.rollups() {
		data := filepath.Base(path[:len(path)-len(rollup.Suffix)])
		if !slices.ContainsFunc(w.world.org(1).files, func(f string) bool { return filepath.Base(f) == data }) {
			t.Errorf("the rollup of %s is still there", data)
		}
	}
	if len(before) != 3 || len(w.rollups()) > 2 {
		t.Errorf("%v, then %v", before, w.rollups())
	}
	w.world.setRules(func(r *Rules) { r.State = registry.OrgTerminated })
	if err := again.Forget(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Join(w.world.root, "rollups")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
