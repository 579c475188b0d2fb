package query

import (
	"os"
	"reflect"
	"testing"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

// Rollups of new files are made and taken in, for those who asked lately.
func TestRollupsAreMadeReady(t *testing.T) {
	w := newTwins(t, 2)
	after := func(files int, what string) {
		t.Helper()
		w.world.add(1, w.coming[:100]...)
		w.coming = w.coming[100:]
		w.flush(100)
		w.with.readyAll(t.Context())
		if got := len(w.rollups()); got != files {
			t.Errorf("%s: rollups of %d files, want %d", what, got, files)
		}
	}
	after(0, "nobody asked")
	res, err := w.with.KPI(t.Context(), Request{Org: 1, Persons: true, Name: "organisation_summary"})
	rowsOf(t, res, err)
	after(2, "a new file")
	if s, err := w.with.store(1); err != nil || len(s.rollups.state.Files()) != 2 {
		t.Error("the new file was not taken in")
	}
	w.world.setRules(func(r *Rules) { r.State = registry.OrgDisabled })
	after(2, "nobody may read")
	w.world.setRules(func(r *Rules) { r.State = registry.OrgEnabled })
	after(4, "enabled again")
	w.now = w.now.Add(2 * readyFor)
	after(4, "long after the last question")
}

// What would take long is left to Run, while KPIs read events; damage does not keep
// it from being done.
func TestRollupsAreMadeBehind(t *testing.T) {
	w := newTwins(t, 3)
	w.world.add(1, w.coming[:300]...)
	w.flush(300)
	q := Request{Org: 1, Persons: true, Name: "heat_map", Params: map[string]string{"zone": "UTC"}}
	s, err := w.with.store(1)
	if err != nil {
		t.Fatal(err)
	}
	step := func(what string, most waits, rolled bool) {
		t.Helper()
		s.rollups.most = most
		if got := w.rolls(q); got != rolled {
			t.Errorf("%s: from rollups is %v", what, got)
		}
		w.with.readyAll(t.Context())
	}
	step("no rollup", waits{makeBytes: 0, loadRows: 1e6}, false)
	step("made", waits{makeBytes: 0, loadRows: 0}, true)
	if err := s.reset(); err != nil {
		t.Fatal(err)
	}
	step("not loaded", waits{makeBytes: 0, loadRows: 299}, false)
	step("loaded", waits{makeBytes: 0, loadRows: 299}, true)
	if err := s.reset(); err != nil {
		t.Fatal(err)
	}
	told := 0
	s.opts.OnRollupError = func(event.OrgID, error) { told++ }
	path := w.rollups()[0]
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[20] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	step("damaged", waits{makeBytes: 0, loadRows: 0}, false)
	step("damage was found", waits{makeBytes: 0, loadRows: 0}, false)
	step("made anew", waits{makeBytes: 0, loadRows: 0}, true)
	if told != 1 {
		t.Errorf("damage was told %d times", told)
	}
}

// A KPI waits for rollups that are on their way while somebody makes them, and
// reads events if they do not come.
func TestKPIsWaitForRollups(t *testing.T) {
	w := newTwins(t, 4)
	w.world.add(1, w.coming[:300]...)
	w.flush(300)
	s, err := w.with.store(1)
	if err != nil {
		t.Fatal(err)
	}
	s.rollups.most = waits{}
	q := Request{Org: 1, Persons: true, Name: "heat_map", Params: map[string]string{"zone": "UTC"}}
	ask := func() []map[string]any {
		t.Helper()
		res, err := w.with.KPI(t.Context(), q)
		return rowsOf(t, res, err)
	}
	want := ask() // nobody makes them
	if w.rolls(q) {
		t.Fatal("there are rollups already")
	}
	w.with.runs.Store(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-w.with.nudge:
			w.with.readyAll(t.Context())
		case <-t.Context().Done():
		}
	}()
	got := ask()
	if !w.rolls(q) {
		t.Error("it did not wait")
	}
	<-done
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
