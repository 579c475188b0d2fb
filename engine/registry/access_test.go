package registry

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"mailwake/engine/event"
)

func TestNoteRead(t *testing.T) {
	path, now := filepath.Join(t.TempDir(), "registry.db"), newClock()
	r := open(t, path, func(o *Options) { o.Clock = now.Now })
	acme, other := org(t, r, "acme"), org(t, r, "other")
	ctx := WithPrincipal(t.Context(), Principal{KeyID: 7})
	at := event.At(now.Now())
	for i, read := range []Read{
		{Org: acme, What: "people"},
		{Org: acme, KeyID: 9, What: "person", Person: 4},
		{Org: other, What: "sql"},
		{Org: acme, What: "kpi email_summary", Email: 3, Recipient: 5},
	} {
		if err := r.NoteRead(ctx, read); err != nil {
			t.Fatal(i, err)
		}
		now.advance(time.Second)
	}
	want := []Read{
		{4, acme, at + 3e6, 7, "kpi email_summary", 0, 5, 3},
		{2, acme, at + 1e6, 9, "person", 4, 0, 0},
		{1, acme, at, 7, "people", 0, 0, 0},
	}
	for _, r := range []*Registry{r, open(t, path)} {
		if got, err := r.Reads(t.Context(), acme, 0, 0); err != nil || !slices.Equal(got, want) {
			t.Errorf("%+v, %v", got, err)
		}
		if got, err := r.Reads(t.Context(), acme, 1, 4); err != nil || !slices.Equal(got, want[1:2]) {
			t.Errorf("second page: %+v, %v", got, err)
		}
		if got, err := r.Reads(t.Context(), other, 10, 0); err != nil || len(got) != 1 || got[0].What != "sql" {
			t.Errorf("other organisation: %+v, %v", got, err)
		}
	}
}

func TestNoteReadRefuses(t *testing.T) {
	r := fresh(t)
	acme := org(t, r, "acme")
	for name, read := range map[string]Read{
		"nobody":   {Org: acme, What: "person"},
		"nothing":  {Org: acme, KeyID: 1},
		"controls": {Org: acme, KeyID: 1, What: "a\nb"},
	} {
		if err := r.NoteRead(t.Context(), read); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	wantCode(t, r.NoteRead(t.Context(), Read{Org: 99, KeyID: 1, What: "person"}), "org_not_found")
	if got, err := r.Reads(t.Context(), acme, 0, 0); err != nil || len(got) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestNoteReadTogether holds the writer while many readers note: all of them wait
// for one transaction, and a note that cannot be written fails alone.
func TestNoteReadTogether(t *testing.T) {
	const readers = 100
	r := fresh(t)
	acme := org(t, r, "acme")
	if err := r.takeTurn(t.Context()); err != nil {
		t.Fatal(err)
	}
	errs := make([]error, readers)
	var wg sync.WaitGroup
	for i := range readers {
		wg.Go(func() {
			id := acme
			if i == 50 {
				id = 99
			}
			errs[i] = r.NoteRead(t.Context(), Read{Org: id, KeyID: 1, What: fmt.Sprint("read ", i)})
		})
	}
	for r.reads.waiting() < readers {
		runtime.Gosched()
	}
	r.endTurn()
	wg.Wait()
	for i, err := range errs {
		if i == 50 {
			wantCode(t, err, "org_not_found")
		} else if err != nil {
			t.Error(i, err)
		}
	}
	got, err := r.Reads(t.Context(), acme, readers, 0)
	if err != nil || len(got) != readers-1 {
		t.Errorf("%d notes, %v", len(got), err)
	}
}

func (l *readLog) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.open == nil {
		return 0
	}
	return len(l.mu.open.notes)
}

// TestNoteReadBusy: a writer that does not come is said, and the next note is a
// group of its own.
func TestNoteReadBusy(t *testing.T) {
	r := fresh(t, func(o *Options) { o.BusyTimeout = time.Millisecond })
	acme := org(t, r, "acme")
	if err := r.takeTurn(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCode(t, r.NoteRead(t.Context(), Read{Org: acme, KeyID: 1, What: "person"}), "registry_busy")
	r.endTurn()
	if err := r.NoteRead(t.Context(), Read{Org: acme, KeyID: 1, What: "person"}); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	// Either answer is right, and the note of a request that has gone may stay.
	_ = r.NoteRead(cancelled, Read{Org: acme, KeyID: 1, What: "person"})
	if got, err := r.Reads(t.Context(), acme, 0, 0); err != nil || len(got) < 1 || len(got) > 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

func BenchmarkNoteRead(b *testing.B) {
	r := fresh(b)
	acme := org(b, r, "acme")
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			b.SetParallelism(callers)
			if callers == 1 {
				for b.Loop() {
					if err := r.NoteRead(b.Context(), Read{Org: acme, KeyID: 1, What: "person", Person: 1}); err != nil {
						b.Fatal(err)
					}
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := r.NoteRead(b.Context(), Read{Org: acme, KeyID: 1, What: "person", Person: 1}); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
