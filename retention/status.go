package retention

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/engine/registry"
)

type counters struct {
	runs, failures, rewrites, conflicts, manifests, snapshots, deleted, deletedBytes, pinned atomic.Int64
	rowsRead, rowsWritten, rowsAged, rowsRefused, rowsWhileRefused, rowsErased               atomic.Int64
}

// Stats is a reading of the Keeper's counters since New.
type Stats struct {
	Runs, Failures   int64 // of tasks
	Rewrites         int64 // commits that replaced files
	Conflicts        int64 // rewrites given up since another commit came first
	Manifests        int64 // rewrites of manifests
	Snapshots        int64 // snapshots dropped
	Deleted          int64 // blobs deleted and seen to be gone
	DeletedBytes     int64
	Pinned           int64 // replaced blobs that the last collection left for a reader
	RowsRead         int64 // by rewrites
	RowsWritten      int64
	RowsAged         int64 // left out for their age
	RowsRefused      int64 // left out since their recipient refuses
	RowsWhileRefused int64 // of these, such that should never have been collected
	RowsErased       int64
}

// Stats returns the present reading.
func (k *Keeper) Stats() Stats {
	c := &k.stats
	return Stats{
		Runs: c.runs.Load(), Failures: c.failures.Load(), Rewrites: c.rewrites.Load(), Conflicts: c.conflicts.Load(),
		Manifests: c.manifests.Load(), Snapshots: c.snapshots.Load(), Deleted: c.deleted.Load(), DeletedBytes: c.deletedBytes.Load(),
		Pinned: c.pinned.Load(), RowsRead: c.rowsRead.Load(), RowsWritten: c.rowsWritten.Load(), RowsAged: c.rowsAged.Load(),
		RowsRefused: c.rowsRefused.Load(), RowsWhileRefused: c.rowsWhileRefused.Load(), RowsErased: c.rowsErased.Load(),
	}
}

// count adds what a commit did to rows.
func (k *Keeper) count(s *subject, c Counts) {
	k.stats.rowsRead.Add(c.Read)
	k.stats.rowsWritten.Add(c.Written)
	k.stats.rowsAged.Add(c.Aged)
	k.stats.rowsRefused.Add(c.Refused + c.WhileRefused)
	k.stats.rowsWhileRefused.Add(c.WhileRefused)
	k.stats.rowsErased.Add(c.Erased)
	k.mu.Lock()
	defer k.mu.Unlock()
	s.counts.add(c)
}

func (k *Keeper) collected(c lake.Collected) {
	k.stats.deleted.Add(int64(c.Deleted))
	k.stats.deletedBytes.Add(c.Bytes)
	k.stats.pinned.Store(int64(c.Pinned))
}

func (k *Keeper) progress(done, total int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.running != nil {
		k.mu.running.RowsDone, k.mu.running.RowsTotal = done, total
	}
}

// Running is the task under way.
type Running struct {
	Org       string    `json:"-"`
	Task      string    `json:"task"`
	Since     time.Time `json:"since"`
	RowsDone  int64     `json:"rows_done" doc:"Rows read by the rewrite under way."`
	RowsTotal int64     `json:"rows_total"`
}

// TaskStatus is how a task of one organisation last went.
type TaskStatus struct {
	Task  string     `json:"task"`
	Does  string     `json:"does" doc:"What the task does."`
	Last  *time.Time `json:"last,omitempty" doc:"When it last ended; absent: never since the server started."`
	Next  *time.Time `json:"next,omitempty" doc:"When it is due."`
	Fault string     `json:"fault,omitempty" doc:"Why the last run failed."`
}

// Status is the state of one organisation's maintenance.
type Status struct {
	Leading bool         `json:"leading" doc:"This server maintains the tables; otherwise another one does."`
	Paused  bool         `json:"paused"`
	Running *Running     `json:"running,omitempty"`
	Tasks   []TaskStatus `json:"tasks"`
	Rows    Counts       `json:"rows" doc:"What rewrites did since the server started."`
	Files   int          `json:"files"`
	Bytes   int64        `json:"bytes"`
	Stored  int64        `json:"rows_stored"`
}

// Status returns the state of org's maintenance. Problem: org_not_found.
func (k *Keeper) Status(ctx context.Context, org event.OrgID) (*Status, error) {
	o, err := k.org(org)
	if err != nil {
		return nil, err
	}
	s, err := k.subject(ctx, o)
	if err != nil {
		return nil, err
	}
	snapshot := s.table.Snapshot()
	st := &Status{Files: len(snapshot.Files()), Stored: snapshot.Rows()}
	for _, f := range snapshot.Files() {
		st.Bytes += f.Bytes
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	st.Leading, st.Paused, st.Rows = k.mu.leading, s.paused, s.counts
	if r := k.mu.running; r != nil && r.Org == o.Name {
		now := *r
		st.Running = &now
	}
	for _, t := range tasks {
		r, one := s.runs[t.name], TaskStatus{Task: t.name, Does: t.desc}
		if !r.at.IsZero() {
			one.Last, one.Next = &r.at, &r.next
		}
		if r.err != nil {
			one.Fault = "The last run failed; the server's log says why."
		}
		st.Tasks = append(st.Tasks, one)
	}
	return st, nil
}

// Step is one thing that maintenance will do.
type Step struct {
	Task  string    `json:"task"`
	Why   []string  `json:"why"`
	When  time.Time `json:"when" doc:"Not before then; in the past or now: with the next run."`
	What  string    `json:"what"`
	Files int       `json:"files,omitempty" doc:"Blobs to be read or removed."`
	Rows  int64     `json:"rows,omitempty" doc:"Rows to be read or removed."`
	Bytes int64     `json:"bytes,omitempty"`
}

// Plan returns what maintenance would do to org's data now, and what it will do
// later as far as that is known. It changes nothing. Problem: org_not_found.
func (k *Keeper) Plan(ctx context.Context, org event.OrgID) ([]Step, error) {
	o, err := k.org(org)
	if err != nil {
		return nil, err
	}
	s, err := k.subject(ctx, o)
	if err != nil {
		return nil, err
	}
	// What a task remembers of scans is its own; a plan looks anew.
	look := &subject{o, s.table, &remembered{scans: scans{}}}
	rewrites, p, err := k.plan(ctx, look)
	if err != nil {
		return nil, fmt.Errorf("plan maintenance of %s: %w", o.Name, err)
	}
	now := k.opts.Now()
	steps := p.steps(s.table.Snapshot().Files(), rewrites, now)
	coming, err := k.coming(ctx, look)
	if err != nil {
		return nil, fmt.Errorf("plan removals of %s: %w", o.Name, err)
	}
	steps = append(steps, coming...)
	stale, err := s.table.StaleManifests(ctx)
	if err != nil {
		return nil, fmt.Errorf("plan maintenance of %s: %w", o.Name, err)
	}
	if stale {
		steps = append(steps, Step{Task: "manifests", Why: []string{"removed_files"}, When: now, What: "write manifests without removed files"})
	}
	leaving, err := k.leaving(ctx, look)
	if err != nil {
		return nil, fmt.Errorf("plan maintenance of %s: %w", o.Name, err)
	}
	steps = append(steps, leaving...)
	slices.SortStableFunc(steps, func(a, b Step) int { return a.When.Compare(b.When) })
	return steps, nil
}

// leaving is what was replaced and waits for the end of its grace.
func (k *Keeper) leaving(ctx context.Context, s *subject) ([]Step, error) {
	since, err := s.table.Replaced(ctx)
	if err != nil || len(since) == 0 {
		return nil, err
	}
	for i, at := range since {
		if at.IsZero() {
			at = k.opts.Now() // the next collection notes it
		}
		since[i] = at.Add(k.opts.Grace)
	}
	first, last := slices.MinFunc(since, time.Time.Compare), slices.MaxFunc(since, time.Time.Compare)
	return []Step{{
		Task: "collect", Why: []string{WhyReplaced}, When: first, Files: len(since),
		What: "delete replaced blobs, the last one on " + last.UTC().Format("2006-01-02 at 15:04"),
	}}, nil
}

// steps describes rewrites, and what time will bring.
func (p *Policy) steps(files []lake.File, rewrites []Rewrite, now time.Time) []Step {
	steps := []Step{}
	for _, f := range p.Expired(files, now) {
		steps = append(steps, Step{Task: "expire", Why: []string{WhyAge}, When: now, What: "remove a file", Files: 1, Rows: f.Rows, Bytes: f.Bytes})
	}
	for _, r := range rewrites {
		task := "compact"
		if slices.Contains(r.Why, WhyRefused) {
			task = "enforce"
		}
		steps = append(steps, Step{
			Task: task, Why: r.Why, When: now, What: "rewrite files of " + endOf(r.Month-1).Format("2006-01"), Files: len(r.Files), Rows: r.Rows(), Bytes: r.Bytes(),
		})
	}
	return append(steps, p.later(files, now)...)
}

// later is what will become due by itself.
func (p *Policy) later(files []lake.File, now time.Time) (steps []Step) {
	var oldest, agents event.Micros
	for _, f := range files {
		if oldest == 0 || f.MinTime < oldest {
			oldest = f.MinTime
		}
		if f.Agents != 0 && (agents == 0 || f.Agents < agents) {
			agents = f.Agents
		}
	}
	if at := oldest + days(p.MaxAgeDays+ageSlackDays); p.MaxAgeDays > 0 && oldest != 0 && at > event.At(now) {
		steps = append(steps, Step{Task: "compact", Why: []string{WhyAge}, When: at.Time(), What: "remove the oldest rows"})
	}
	if at := agents + days(agentDays+agentSlackDays); agents != 0 && at > event.At(now) {
		steps = append(steps, Step{Task: "compact", Why: []string{WhyAgents}, When: at.Time(), What: "null the oldest user agents"})
	}
	if p.OnWithdrawal == registry.WithdrawalPurges {
		return steps
	}
	hidden, first := int64(0), event.Micros(0)
	for _, r := range p.Refusals {
		if _, erased := slices.BinarySearch(p.Erased, r.Recipient); erased {
			continue // has no rows any more
		}
		if at := r.Since + days(p.HideDays); at > event.At(now) {
			hidden++
			if first == 0 || at < first {
				first = at
			}
		}
	}
	if hidden > 0 {
		steps = append(steps, Step{Task: "enforce", Why: []string{WhyRefused}, When: first.Time(), What: fmt.Sprintf("remove the rows of the first of %d recipients whose rows are hidden", hidden)})
	}
	return steps
}
