package query

import (
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
