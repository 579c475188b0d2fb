package retention

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// Registry is what the Keeper asks about organisations.
type Registry interface {
	Snapshot() *registry.Snapshot
	Refusals(ctx context.Context, org event.OrgID) iter.Seq2[registry.Refusal, error]
	ErasedRecipients(org event.OrgID) []event.RecipientID
}

// Options configure a Keeper. Lake and Registry are required.
type Options struct {
	Lake     *lake.Lake
	Registry Registry
	Logger   *slog.Logger     // default: none
	Now      func() time.Time // default time.Now; the Lake's should be the same
	// Grace is how long replaced blobs stay: longer than a query may take. Default
	// 15 minutes.
	Grace time.Duration

	// Removals are needed to erase people and to purge organisations; without them,
	// neither is done.
	Removals *Removals

	// Incoming returns a folder for the rollups of files that are to get into an
	// organisation's table, "" if none are kept, and what is to be called once the table
	// has them or never will; nil: none are kept. It is query's.
	Incoming func(ctx context.Context, org event.OrgID) (dir string, done func(context.Context) error, err error)

	// Worker is the command of a program that calls RunWorker, by which files are
	// rewritten; empty: this process does it, which is for tests.
	Worker []string

	MinMerge  int   // see Policy
	FullBytes int64 // see Policy
	FileBytes int64 // size of merged files; default 256 MiB
}

func (o *Options) setDefaults() error {
	switch {
	case o.Lake == nil || o.Registry == nil:
		return errors.New("retention: Lake and Registry are required")
	case o.Grace < 0 || o.MinMerge < 0 || o.FullBytes < 0 || o.FileBytes < 0:
		return errors.New("retention: negative option")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Grace == 0 {
		o.Grace = defaultGrace
	}
	if o.Removals != nil {
		return o.Removals.setDefaults()
	}
	return nil
}

// task is one kind of maintenance of one organisation.
type task struct {
	name string
	desc string
	// every is the time from one run to the next.
	every time.Duration
	run   func(*Keeper, context.Context, *subject) error
}

// tasks in the order in which one run does them: what has to go goes before it is
// merged, and what was replaced is deleted last.
var tasks = []task{
	{"erase", "go on with erasures of people", time.Minute, (*Keeper).erase},
	{"expire", "remove files whose rows are all past the greatest age", time.Hour, (*Keeper).expire},
	{"enforce", "rewrite files that hold rows of recipients who refuse", 10 * time.Minute, (*Keeper).enforce},
	{"compact", "merge small files, judge actors anew, null old user agents", 5 * time.Minute, (*Keeper).compact},
	{"manifests", "rewrite manifests that still name removed files", 15 * time.Minute, (*Keeper).manifests},
	{"snapshots", "drop old snapshots", 5 * time.Minute, (*Keeper).snapshots},
	{"collect", "delete replaced blobs after their grace", 5 * time.Minute, (*Keeper).collect},
	{"orphans", "delete what lost commits left behind", 6 * time.Hour, (*Keeper).orphans},
}

// Keeper maintains the tables of all organisations: one task at a time, in one
// process at a time. All methods are safe for concurrent use.
type Keeper struct {
	opts   Options
	busy   chan struct{} // holds one token while a task runs
	stats  counters
	tidied tidied

	mu struct {
		sync.Mutex
		leading  bool
		running  *Running
		memories map[event.OrgID]*remembered
	}
}

// New returns a Keeper. It starts no goroutine; call Run.
func New(o Options) (*Keeper, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	k := &Keeper{opts: o, busy: make(chan struct{}, 1), tidied: tidied{emptied: map[event.OrgID]uint64{}, purged: map[event.OrgID]bool{}}}
	k.mu.memories = map[event.OrgID]*remembered{}
	return k, nil
}

// subject is one organisation as a task sees it.
type subject struct {
	org   registry.Org
	table *lake.Table
	*remembered
}

// remembered is what is remembered of one organisation's maintenance.
type remembered struct {
	scans scans // owned by the task that runs

	// Under Keeper.mu:
	paused bool
	runs   map[string]run // by task
	counts Counts
}

// run is how a task last went.
type run struct {
	at    time.Time // zero: never
	next  time.Time
	pause time.Duration // after failures
	err   error
}

func (k *Keeper) subject(ctx context.Context, org registry.Org) (*subject, error) {
	table, err := k.opts.Lake.Table(ctx, org.Name)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	m, ok := k.mu.memories[org.ID]
	if !ok {
		m = &remembered{runs: map[string]run{}, scans: scans{}}
		k.mu.memories[org.ID] = m
	}
	return &subject{org, table, m}, nil
}

func (k *Keeper) org(id event.OrgID) (registry.Org, error) {
	o, ok := k.opts.Registry.Snapshot().Org(id)
	if !ok {
		return registry.Org{}, problem.New(404, "org_not_found", "There is no such organisation.")
	}
	return o, nil
}

// Pause keeps Run from starting tasks of the organisation until Resume, or until
// the process ends; a task that runs is not broken off. Problem: org_not_found.
func (k *Keeper) Pause(ctx context.Context, org event.OrgID) error {
	return k.setPaused(ctx, org, true)
}

// Resume ends a Pause. Problem: org_not_found.
func (k *Keeper) Resume(ctx context.Context, org event.OrgID) error {
	return k.setPaused(ctx, org, false)
}

func (k *Keeper) setPaused(ctx context.Context, org event.OrgID, paused bool) error {
	o, err := k.org(org)
	if err != nil {
		return err
	}
	s, err := k.subject(ctx, o)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	s.paused = paused
	return nil
}
