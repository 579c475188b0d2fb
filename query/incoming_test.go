package query

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/registry"
	"mailwake/engine/rollup"
)

// made makes the rollup of a data file, as whoever makes the data file does.
func (w *twins) made(dir, path string) {
	w.t.Helper()
	s, err := w.with.store(1)
	if err != nil {
		w.t.Fatal(err)
	}
	if s.duck == nil {
		err = s.open(w.t.Context())
	}
	source, errSource := sourceOf(path)
	if err != nil || errSource != nil {
		w.t.Fatal(err, errSource)
	}
	if err := makeRollup(w.t.Context(), s.duck, source, dir); err != nil {
		w.t.Fatal(err)
	}
}

// replace lets change, which replaces data files and returns the new one, take place
// while its rollup comes in.
func (w *twins) replace(change func(dir string) (path string)) (rolled string) {
	w.t.Helper()
	dir, done, err := w.with.Incoming(w.t.Context(), 1)
	if err != nil {
		w.t.Fatal(err)
	}
	path := change(dir)
	if err := done(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.prune()
	return rollup.Source{Path: path}.In(dir)
}

// A rollup that was put in its place before its data file got into the table is the
// one that is used; without the data file it goes; and if it is missing or damaged
// it is made.
func TestIncoming(t *testing.T) {
	w := newTwins(t, 5)
	next := func() {
		t.Helper()
		w.world.add(1, w.coming[:200]...)
		w.coming = w.coming[200:]
		w.flush(200)
	}
	same := func(what string) {
		t.Helper()
		q := Request{Org: 1, Persons: true, Name: "email_list"}
		res, err := w.with.KPI(t.Context(), q)
		got := rowsOf(t, res, err)
		res, err = w.without.KPI(t.Context(), q)
		if want := rowsOf(t, res, err); !reflect.DeepEqual(got, want) || !w.rolls(q) {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	stat := func(path string) os.FileInfo {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	nobody := func(event.Interaction) bool { return false }
	o := w.world.org(1)
	next()
	next()
	same("at first")

	long := time.Now().Add(-time.Hour)
	file := w.replace(func(dir string) string {
		held := slices.Clone(o.files)
		path := w.merged(nobody)
		after := o.files
		o.replace(held) // not yet
		w.made(dir, path)
		if err := os.Chtimes(rollup.Source{Path: path}.In(dir), long, long); err != nil {
			t.Fatal(err)
		}
		o.replace(held[:1])
		same("another file went before the commit")
		o.replace(after)
		return path
	})
	same("committed")
	if !stat(file).ModTime().Equal(long) {
		t.Error("the rollup that came was not used")
	}

	file = w.replace(func(dir string) string {
		path := filepath.Join(filepath.Dir(o.files[0]), "lost.parquet")
		if err := writeFile(path, w.rows[o.files[0]]); err != nil {
			t.Fatal(err)
		}
		w.made(dir, path)
		return path
	})
	if _, err := os.Stat(file); err == nil {
		t.Error("the rollup of a lost commit is still there")
	}
	same("commit lost")

	w.replace(func(string) string { return w.merged(nobody) })
	same("none came")
	file = w.replace(func(dir string) string {
		path := w.merged(nobody)
		w.made(dir, path)
		return path
	})
	if err := os.Truncate(file, stat(file).Size()/2); err != nil {
		t.Fatal(err)
	}
	same("damaged")

	gone := func(r event.RecipientID) bool { return r == 3 }
	w.replace(func(dir string) string {
		path := w.merged(func(in event.Interaction) bool { return gone(in.Recipient) })
		w.made(dir, path)
		return path
	})
	if n, holding, err := w.with.SearchRollups(1, gone); n != 1 || len(holding) > 0 || err != nil {
		t.Errorf("after an erasure %d rollups, of which %v hold it, %v", n, holding, err)
	}
	same("erased")

	w.world.setRules(func(r *Rules) { r.State = registry.OrgTerminated })
	if dir, done, err := w.with.Incoming(t.Context(), 1); dir != "" || err != nil || done(t.Context()) != nil {
		t.Errorf("rollups are wanted in %q though nobody may read, %v", dir, err)
	}
}
