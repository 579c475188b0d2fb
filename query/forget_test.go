package query

import (
	"path/filepath"
	"slices"
	"testing"

	"mailwake/engine/registry"
)

// TestCopiesGoWhenEmptied: texts that were removed from the registry, by whichever
// process, are in no answer any more, neither of this process nor of a worker.
func TestCopiesGoWhenEmptied(t *testing.T) {
	for name, open := range map[string]func(*world) *DB{
		"here":   func(w *world) *DB { return w.open(nil) },
		"worker": func(w *world) *DB { return w.openWorkers(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			db := open(w)
			w.add(1, open1(1))
			o := w.org(1)
			o.recipients = []registry.Recipient{{Org: 1, ID: 1, Address: "ann@example.com", Name: "Ann"}}
			addresses := func() any {
				return ask(t, db, 1, "SELECT string_agg(address || name, ' ') AS all FROM recipients")[0]["all"]
			}
			if got := addresses(); got != "ann@example.comAnn" {
				t.Fatal(got)
			}
			o.recipients = []registry.Recipient{{Org: 1, ID: 1}}
			o.rules.Emptied++
			if got := addresses(); got != "" {
				t.Errorf("after it was removed: %q", got)
			}
		})
	}
}

// Rollups go with their data files, also where no KPI is asked any more.
func TestTidyRemovesRollups(t *testing.T) {
	w := newTwins(t, 1)
	for range 2 {
		w.world.add(1, w.coming[:200]...)
		w.coming = w.coming[200:]
		w.flush(200)
	}
	ask := Request{Org: 1, Persons: true, Name: "organisation_summary"}
	sent := func() any {
		res, err := w.with.KPI(t.Context(), ask)
		return rowsOf(t, res, err)[0]["opens_total"]
	}
	before := sent()
	files := slices.Clone(w.world.org(1).files)
	tidy := func(left ...string) {
		t.Helper()
		if err := w.with.Tidy(t.Context(), 1, func(file string) bool {
			return slices.ContainsFunc(left, func(f string) bool { return filepath.Base(f) == file })
		}); err != nil {
			t.Fatal(err)
		}
		if n := len(w.rollups()); n != len(left) {
			t.Errorf("%d rollups of %d files", n, len(left))
		}
	}
	tidy(files...)
	tidy(files[0])
	if after := sent(); after != before {
		t.Errorf("%v opens, then %v", before, after)
	}
	tidy(files...)
}
