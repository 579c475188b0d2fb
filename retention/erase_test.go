package retention

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// gone fails unless nothing of the person is left and everything of the others is.
func (b *estate) gone(o registry.Org, e registry.Erasure, others int) {
	b.t.Helper()
	if e.FinishedAt == 0 {
		b.t.Fatalf("not finished: %+v", e)
	}
	if found := b.places("annabel"); len(found) > 0 {
		b.t.Errorf("still found in %q", found)
	}
	mine := func(id event.RecipientID) bool { return slices.Contains(e.Recipients, id) }
	if n := b.count(o.ID, mine); n != 0 {
		b.t.Errorf("%d rows of theirs are left", n)
	}
	if n := b.count(o.ID, func(id event.RecipientID) bool { return !mine(id) }); n != others {
		b.t.Errorf("%d rows of others, want %d", n, others)
	}
	if len(b.places(o.Name+" shared file")) == 0 {
		b.t.Error("a file that others got is gone")
	}
	must(b.t, b.reg.Check(b.t.Context()))
	for f, err := range b.lake.Verify(b.t.Context(), o.Name) {
		must(b.t, err)
		if f.Damage {
			b.t.Errorf("%s: %s", f.Key, f.Detail)
		}
	}
}

// rowsOfOthers is what fill appends of those who are not to be erased.
const rowsOfOthers = 5 * 5

func TestErase(t *testing.T) {
	stores(t, func(t *testing.T, s blob.Store) {
		b := newEstate(t, s)
		o := b.org("acme")
		who := b.fill(o, "annabel")
		other := b.org("other")
		b.fill(other, "zoe")
		if places := b.places("annabel"); len(places) < 4 {
			t.Fatalf("the search is worth nothing: %q", places)
		}
		before := b.other("other")
		e, err := b.keep.Erase(t.Context(), o.ID, registry.Whose{Person: who.ID}, registry.ByKey(3))
		must(t, err)
		b.gone(o, e, rowsOfOthers)
		plan, err := b.keep.Plan(t.Context(), o.ID)
		if must(t, err); slices.ContainsFunc(plan, func(s Step) bool { return s.Task == "enforce" || s.Task == "erase" }) {
			t.Errorf("something is left to do: %+v", plan)
		}
		if b.other("other") != before {
			t.Error("another organisation's blobs changed")
		}
		if b.forgot == 0 {
			t.Error("queries were not told")
		}
		r, err := CheckReceipt(e.Receipt, b.signer.Public())
		must(t, err)
		if r.Kind != "erasure" || r.Erasure != e.ID || len(r.Steps) != len(eraseSteps) || !slices.Equal(r.Recipients, e.Recipients) || r.Remaining.Left != 0 {
			t.Errorf("%+v", r)
		}
		var rows RowsFound
		must(t, json.Unmarshal(r.Steps[slices.IndexFunc(r.Steps, func(s ReceiptStep) bool { return s.Step == "rows" })].Found, &rows))
		if rows.Erased != 5+2*5 || rows.Rewritten == 0 || rows.Rewritten > rows.Files {
			t.Errorf("%+v", rows)
		}
		if page := r.Page(); !strings.Contains(page, "# Receipt of erasure 1") || strings.Contains(page, "annabel") {
			t.Error(page)
		}
		if _, err := CheckReceipt([]byte(strings.Replace(string(e.Receipt), `"acme"`, `"acne"`, 1)), b.signer.Public()); problem.Of(err).Code != "receipt_invalid" {
			t.Error("a changed receipt passes:", err)
		}
	})
}

// TestEraseAsRollupsTell opens no file but those that rollups name, and those that
// have none.
func TestEraseAsRollupsTell(t *testing.T) {
	for _, without := range []int{0, 1} {
		b := newEstate(t, blob.Mem("m"))
		o := b.org("acme")
		who := b.fill(o, "annabel")
		must(t, b.eng.Flush(t.Context(), o.ID))
		table, err := b.lake.Table(t.Context(), o.Name)
		must(t, err)
		missing := table.Snapshot().Files()[:without]
		asked := 0
		b.keep.opts.Removals.Told = func(org event.OrgID, f lake.File, people []event.RecipientID) (holds, known bool) {
			asked++
			if slices.ContainsFunc(missing, func(m lake.File) bool { return m.Path == f.Path }) {
				return false, false
			}
			holds, err := holdsAny(t.Context(), b.lake, f, func(r event.RecipientID) bool { return slices.Contains(people, r) })
			must(t, err)
			return holds, org == o.ID
		}
		e, err := b.keep.Erase(t.Context(), o.ID, registry.Whose{Person: who.ID}, registry.BySystem())
		must(t, err)
		b.gone(o, e, rowsOfOthers)
		var rows RowsFound
		must(t, json.Unmarshal(e.Steps[slices.IndexFunc(e.Steps, func(s registry.RemovalStep) bool { return s.Step == "rows" })].Found, &rows))
		if asked < rows.Files || rows.Read != without || rows.Rewritten == 0 || rows.Erased != 5+2*5 {
			t.Errorf("%d files without a rollup: %+v, asked %d times", without, rows, asked)
		}
	}
}

// other is what the store has of an organisation: keys and bytes.
func (b *estate) other(name string) string {
	var all strings.Builder
	for info, err := range b.store.List(b.t.Context(), b.lake.Prefix(name)) {
		must(b.t, err)
		fmt.Fprintln(&all, info.Key, string(blobtest.Get(b.t, b.store, info.Key)))
	}
	return all.String()
}

// TestEraseCrashes ends the process after each step, once before the step is noted
// and once after.
func TestEraseCrashes(t *testing.T) {
	for i, step := range eraseSteps {
		for _, noted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/noted=%v", step.name, noted), func(t *testing.T) {
				t.Parallel() // most of the time is waiting for fsync
				b := newEstate(t, blob.Mem("m"))
				o := b.org("acme")
				who := b.fill(o, "annabel")
				e, err := b.reg.BeginErasure(t.Context(), o.ID, registry.Whose{Person: who.ID}, registry.BySystem())
				must(t, err)
				s, err := b.keep.subject(t.Context(), o)
				must(t, err)
				x := &erasing{b.keep.opts.Removals, b.keep, s, e, (&Policy{Erased: e.Recipients}).cull(b.now)}
				for n, s := range eraseSteps[:i+1] {
					found, err := s.run(x, t.Context())
					must(t, err)
					if n < i || noted {
						must(t, b.reg.NoteStep(t.Context(), o.ID, e.ID, s.name, found))
					}
				}
				b.crash()
				b.open()
				b.now = b.now.Add(time.Minute)
				must(t, b.keep.Sweep(t.Context(), o.ID))
				e, err = b.reg.Erasure(t.Context(), o.ID, e.ID)
				must(t, err)
				b.gone(o, e, rowsOfOthers)
			})
		}
	}
}

// TestEraseFaults has calls of the store fail once, the first ones and ever fewer
// of those after, before or after they took effect.
func TestEraseFaults(t *testing.T) {
	for _, op := range []blobtest.Op{blobtest.OpPut, blobtest.OpGet, blobtest.OpList, blobtest.OpStat, blobtest.OpDelete} {
		for _, when := range []blobtest.When{blobtest.Before, blobtest.After} {
			t.Run(fmt.Sprintf("%s/%v", op, when), func(t *testing.T) {
				t.Parallel()
				for n := 1; ; n *= 2 {
					b := newEstate(t, blob.Mem("m"))
					o := b.org("acme")
					who := b.fill(o, "annabel")
					calls := b.faults.Calls(op)
					b.faults.FailNth(op, n, blobtest.Fault{When: when, Err: errors.New("broken")})
					_, err := b.keep.Erase(t.Context(), o.ID, registry.Whose{Person: who.ID}, registry.BySystem())
					made := b.faults.Calls(op) - calls
					b.faults.FailNth(op, n-made, blobtest.Fault{}) // not met
					for range 3 {
						if err == nil {
							break
						}
						b.now = b.now.Add(time.Hour)
						err = b.keep.Sweep(t.Context(), o.ID)
					}
					must(t, err)
					e, err := b.reg.Erasure(t.Context(), o.ID, 1)
					must(t, err)
					b.gone(o, e, rowsOfOthers)
					if made < n || t.Failed() {
						return
					}
				}
			})
		}
	}
}

// TestEraseWaitsForReaders: a View that is open keeps its files; the erasure goes on
// once it is closed.
func TestEraseWaitsForReaders(t *testing.T) {
	b := newEstate(t, blob.Mem("m"))
	o := b.org("acme")
	who := b.fill(o, "annabel")
	view, err := b.eng.View(t.Context(), o.ID)
	must(t, err)
	_, err = b.keep.Erase(t.Context(), o.ID, registry.Whose{Person: who.ID}, registry.BySystem())
	if problem.Of(err).Code != "removal_waits" {
		t.Fatal(err)
	}
	if b.reg.Decide(o.ID, 1, event.Open).Allow {
		t.Error("not refused from the first instant")
	}
	for _, path := range view.Files() {
		if _, err := os.Stat(path); err != nil {
			t.Error("a file went away under a reader:", err)
		}
	}
	plan, err := b.keep.Plan(t.Context(), o.ID)
	must(t, err)
	if !slices.ContainsFunc(plan, func(s Step) bool { return s.Task == "erase" }) {
		t.Errorf("the plan does not tell of it: %+v", plan)
	}
	view.Close()
	e, err := b.keep.Erase(t.Context(), o.ID, registry.Whose{Person: who.ID}, registry.BySystem())
	must(t, err)
	b.gone(o, e, rowsOfOthers)
}

// TestEraseLateEvent: what was being recorded when the erasure began, and became
// durable after the rewrite, is found by the last search.
func TestEraseLateEvent(t *testing.T) {
	b := newEstate(t, blob.Mem("m"))
	o := b.org("acme")
	who := b.fill(o, "annabel")
	b.keep.opts.Removals.Forget = func() func(c ctx, org event.OrgID) error {
		once := false
		return func(c ctx, org event.OrgID) error {
			if once {
				return nil
			}
			once = true
			at := event.At(b.now)
			return b.eng.Append(c, []event.Interaction{{Org: org, OccurredAt: at, ReceivedAt: at, Kind: event.Open, Email: 1, Recipient: 1, UserAgent: "annabel late"}})
		}
	}()
	e, err := b.keep.Erase(t.Context(), o.ID, registry.Whose{Person: who.ID}, registry.BySystem())
	must(t, err)
	b.gone(o, e, rowsOfOthers)
}

// TestEraseUnderReaders takes views all the while: none fails, and none has a row of
// theirs once the erasure is done.
func TestEraseUnderReaders(t *testing.T) {
	dir, err := blob.Dir(t.TempDir())
	must(t, err)
	b := newEstate(t, dir)
	b.keep.opts.Removals.Patience = 10 * time.Second
	o := b.org("acme")
	who := b.fill(o, "annabel")
	stop, ended := make(chan struct{}), make(chan error)
	for range 2 {
		go func() {
			for {
				select {
				case <-stop:
					ended <- nil
					return
				default:
				}
				v, err := b.eng.View(t.Context(), o.ID)
				if err != nil {
					ended <- err
					return
				}
				for _, path := range v.Files() {
					if _, err := os.Stat(path); err != nil {
						v.Close()
						ended <- err
						return
					}
				}
				v.Close()
			}
		}()
	}
	e, err := b.keep.Erase(t.Context(), o.ID, registry.Whose{Person: who.ID}, registry.BySystem())
	must(t, err)
	close(stop)
	for range 2 {
		must(t, <-ended)
	}
	b.gone(o, e, rowsOfOthers)
}
