package retention

import (
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailwake/engine/blob"
	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// shop is a Keeper over one organisation with a clock of its own.
type shop struct {
	*testing.T
	world
	lake *lake.Lake
	tbl  *lake.Table
	seed int
}

func newShop(t *testing.T, opts func(*Options)) *shop {
	s := &shop{T: t, world: world{t: t, dir: t.TempDir(), now: july.AddDate(0, 0, 20)}}
	s.model.refusals = map[event.RecipientID]registry.Refusal{}
	var err error
	s.reg, err = registry.Open(t.Context(), registry.Options{DSN: "sqlite://" + s.dir + "/registry.db"})
	must(t, err)
	t.Cleanup(func() { must(t, s.reg.Close()) })
	o, err := s.reg.CreateOrg(t.Context(), registry.NewOrg{Name: "acme"})
	must(t, err)
	s.org = o.ID
	s.lake = openLake(t, s.dir, blob.Mem("shop"), func() time.Time { return s.now })
	s.tbl, err = s.lake.Table(t.Context(), "acme")
	must(t, err)
	s.keep = s.keeper(s.lake, opts)
	return s
}

func (s *shop) keeper(l *lake.Lake, opts func(*Options)) *Keeper {
	o := Options{Lake: l, Registry: registryOf{&s.world}, Now: func() time.Time { return s.now }}
	if opts != nil {
		opts(&o)
	}
	k, err := New(o)
	must(s, err)
	return k
}

// add commits a flushed file of n rows.
func (s *shop) add(n int) {
	s.Helper()
	s.seed++
	_, err := s.tbl.Commit(s.Context(), lake.Change{Add: []lake.File{write(s, s.tbl, realistic(s.seed%20, n, 20))}})
	must(s, err)
}

func (s *shop) policy(change func(*registry.Policy)) {
	s.Helper()
	p := registry.DefaultPolicy()
	change(&p)
	_, err := s.reg.SetPolicy(s.Context(), s.org, p, registry.Actor{Kind: registry.ActorSystem})
	must(s, err)
}

// TestRound: tasks run when they are due and not before, not while paused, and a
// clock that jumps back does not put them off.
func TestRound(t *testing.T) {
	s := newShop(t, nil)
	s.now = time.Now() // the table's snapshots have the machine's time
	for range 8 {
		s.add(50)
	}
	ran := func() int64 {
		before := s.keep.Stats().Runs
		s.keep.round(t.Context())
		return s.keep.Stats().Runs - before
	}
	if n := ran(); n != int64(len(tasks)) || s.keep.Stats().Rewrites != 1 || len(s.tbl.Snapshot().Files()) != 1 {
		t.Fatalf("first round: %d tasks, %+v", n, s.keep.Stats())
	}
	if n := ran(); n != 0 {
		t.Errorf("at once again: %d tasks", n)
	}
	s.now = s.now.Add(5 * time.Minute)
	if n := ran(); n != 4 {
		t.Errorf("after 5 minutes: %d tasks, want erase, compact, snapshots and collect", n)
	}
	must(t, s.keep.Pause(t.Context(), s.org))
	s.now = s.now.Add(24 * time.Hour)
	if n := ran(); n != 0 {
		t.Errorf("while paused: %d tasks", n)
	}
	must(t, s.keep.Resume(t.Context(), s.org))
	if n := ran(); n != int64(len(tasks)) || s.keep.Stats().Deleted != 8 {
		t.Errorf("resumed: %d tasks, %+v", n, s.keep.Stats())
	}
	s.now = s.now.AddDate(0, -1, 0)
	if n := ran(); n != int64(len(tasks)) {
		t.Errorf("clock set back by a month: %d tasks", n)
	}
	if s.keep.Stats().Failures != 0 {
		t.Errorf("%d failures", s.keep.Stats().Failures)
	}
}

// TestLeader: of two processes one maintains; the other takes over.
func TestLeader(t *testing.T) {
	s := newShop(t, nil)
	other := s.keeper(openLake(t, s.dir, blob.Mem("unused"), nil), nil)
	release, err := s.keep.lead(t.Context())
	must(t, err)
	if err := other.Sweep(t.Context(), s.org); problem.Of(err).Code != codeElsewhere {
		t.Errorf("sweep beside the leader: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.keep.lead(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("second task of the leader: %v", err)
	}
	release()
	release, err = other.lead(t.Context())
	must(t, err)
	release()
}

// TestLeaderRace: two that share a catalog race to lead; never do both.
func TestLeaderRace(t *testing.T) {
	s := newShop(t, nil)
	var leading, led, lost atomic.Int32
	var wg sync.WaitGroup
	for _, k := range []*Keeper{s.keep, s.keeper(openLake(t, s.dir, blob.Mem("unused"), nil), nil)} {
		for range 2 {
			wg.Go(func() {
				for range 200 {
					release, err := k.lead(t.Context())
					if err != nil {
						if problem.Of(err).Code != codeElsewhere {
							t.Error(err)
						}
						lost.Add(1)
						continue
					}
					if leading.Add(1) != 1 {
						t.Error("two lead")
					}
					runtime.Gosched()
					leading.Add(-1)
					led.Add(1)
					release()
				}
			})
		}
	}
	wg.Wait()
	if led.Load() == 0 || led.Load()+lost.Load() != 800 {
		t.Errorf("led %d times, lost %d", led.Load(), lost.Load())
	}
}

// TestRunStops: Run ends with its context, also when it never led.
func TestRunStops(t *testing.T) {
	s := newShop(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.keep.Run(ctx) }()
	cancel()
	must(t, <-done)
}

// TestRunTidies: a process that does not lead cleans up after itself all the same.
func TestRunTidies(t *testing.T) {
	b := newEstate(t, blob.Mem("m"))
	o := b.org("acme")
	b.fill(o, "annabel")
	table, err := b.lake.Table(t.Context(), o.Name)
	must(t, err)
	file := path.Base(table.Snapshot().Files()[0].Path)
	release, ok, err := b.lake.Lead(t.Context())
	if must(t, err); !ok {
		t.Fatal("somebody leads")
	}
	defer release()
	told := make(chan bool)
	b.keep.opts.Removals.Tidy = func(ctx context.Context, org event.OrgID, inTable func(string) bool) error {
		select {
		case told <- org == o.ID && inTable(file) && !inTable("x"+file):
		case <-ctx.Done():
		}
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.keep.Run(ctx) }()
	if !<-told {
		t.Error("it does not know what is in the table")
	}
	cancel()
	must(t, <-done)
}

// TestIncomingEnds: queries hear that no rollups come any more, also when the caller
// left half-way.
func TestIncomingEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	began, ended := 0, 0
	s := newShop(t, func(o *Options) {
		o.Incoming = func(context.Context, event.OrgID) (string, func(context.Context) error, error) {
			began++
			cancel()
			return t.TempDir(), func(ctx context.Context) error {
				if ctx.Err() == nil {
					ended++
				}
				return ctx.Err()
			}, nil
		}
	})
	for range 9 {
		s.add(20)
	}
	if err := s.keep.Sweep(ctx, s.org); err == nil || began != 1 || ended != 1 {
		t.Errorf("%v; began %d times, ended %d", err, began, ended)
	}
}

// TestPlanSaysWhatHappens: what the plan announces for now is what a sweep does,
// and what it announces for later happens then and not before.
func TestPlanSaysWhatHappens(t *testing.T) {
	s := newShop(t, nil)
	for range 9 {
		s.add(200)
	}
	s.policy(func(p *registry.Policy) { p.MaxAgeDays, p.HideDays = 60, 10 })
	s.model.refusals[7] = registry.Refusal{Recipient: 7, Purposes: registry.AllPurposes, Since: event.At(s.now)}
	plan := func() (now, later []string) {
		steps, err := s.keep.Plan(t.Context(), s.org)
		must(t, err)
		for _, step := range steps {
			text := fmt.Sprint(step.Task, step.Why)
			if step.When.After(s.now) {
				later = append(later, text+step.When.Format(" 2006-01-02"))
			} else {
				now = append(now, text)
			}
		}
		return now, later
	}
	before := s.tbl.Snapshot()
	now, later := plan()
	if !slices.Equal(now, []string{"compact[small_files]"}) {
		t.Errorf("now %q", now)
	}
	want := []string{"enforce[refused] 2026-07-31", "compact[user_agents] 2026-08-04", "compact[max_age] 2026-09-01"}
	if !slices.Equal(later, want) {
		t.Errorf("later %q, want %q", later, want)
	}
	if s.tbl.Snapshot() != before {
		t.Fatal("a plan changed the table")
	}
	must(t, s.keep.Sweep(t.Context(), s.org))
	if now, later := plan(); len(now) != 0 || !slices.Contains(later, "collect[replaced] 2026-07-21") {
		t.Errorf("after the sweep: now %q, later %q", now, later)
	}
	refused := s.keep.Stats().RowsRefused
	s.now = s.now.AddDate(0, 0, 10)
	if now, _ := plan(); !slices.Contains(now, "enforce[refused]") || refused != 0 {
		t.Errorf("ten days later: %q; %d rows left out before", now, refused)
	}
	must(t, s.keep.Sweep(t.Context(), s.org))
	if s.keep.Stats().RowsRefused == 0 {
		t.Errorf("%+v", s.keep.Stats())
	}
	s.now = july.AddDate(0, 3, 0)
	if now, _ := plan(); !slices.Contains(now, "expire[max_age]") {
		t.Errorf("three months later: %q", now)
	}
	must(t, s.keep.Sweep(t.Context(), s.org))
	if n := s.tbl.Snapshot().Rows(); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

// TestStatus: what the status tells.
func TestStatus(t *testing.T) {
	s := newShop(t, nil)
	s.add(100)
	st, err := s.keep.Status(t.Context(), s.org)
	must(t, err)
	if st.Leading || st.Paused || st.Files != 1 || st.Stored != 100 || st.Bytes == 0 || len(st.Tasks) != len(tasks) || st.Tasks[0].Last != nil {
		t.Errorf("fresh: %+v", st)
	}
	must(t, s.keep.Sweep(t.Context(), s.org))
	must(t, s.keep.Pause(t.Context(), s.org))
	st, err = s.keep.Status(t.Context(), s.org)
	must(t, err)
	if !st.Leading || !st.Paused || st.Running != nil || st.Tasks[0].Last == nil || st.Tasks[0].Fault != "" {
		t.Errorf("after a sweep: %+v", st)
	}
	if _, err := s.keep.Status(t.Context(), 99); problem.Of(err).Code != "org_not_found" {
		t.Errorf("another organisation: %v", err)
	}
}
