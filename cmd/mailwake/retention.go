package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailwake/retention"
)

type retentionCmd struct {
	Plan   retentionPlanCmd   `cmd:"" help:"Show what will be rewritten and deleted, when, and why; nothing changes."`
	Run    retentionRunCmd    `cmd:"" help:"Run all maintenance of an organisation now."`
	Status retentionStatusCmd `cmd:"" help:"Show how maintenance is going."`
	Pause  retentionPauseCmd  `cmd:"" help:"Start no maintenance until resumed, or until the server restarts."`
	Resume retentionResumeCmd `cmd:"" help:"Go on with maintenance."`
}

type retentionPlanCmd struct{ clientFlags }

// Help shows examples.
func (retentionPlanCmd) Help() string {
	return `Examples:
  mailwake retention plan --org acme
  mailwake retention run --org acme --dry-run`
}

// Run prints the plan.
func (r *retentionPlanCmd) Run(ctx context.Context, e *env) error {
	return printPlan(ctx, &r.clientFlags, e.out)
}

func printPlan(ctx context.Context, f *clientFlags, out io.Writer) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	var plan retention.Planned
	if err := c.get(ctx, http.MethodGet, f.orgPath("/retention/plan"), nil, nil, &plan); err != nil {
		return err
	}
	if len(plan.Steps) == 0 {
		fmt.Fprintln(out, "nothing to do")
		return nil
	}
	t := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "WHEN\tTASK\tWHY\tFILES\tROWS\tBYTES\tWHAT")
	for _, s := range plan.Steps {
		when := "now"
		if s.When.After(plan.At) {
			when = s.When.UTC().Format("2006-01-02 15:04")
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%d\t%s\n", when, s.Task, strings.Join(s.Why, ","), s.Files, s.Rows, s.Bytes, s.What)
	}
	return t.Flush()
}

type retentionRunCmd struct {
	clientFlags
	DryRun bool `help:"Print the plan instead." env:"-"`
}

// Run runs maintenance and prints how it went.
func (r *retentionRunCmd) Run(ctx context.Context, e *env) error {
	if r.DryRun {
		return printPlan(ctx, &r.clientFlags, e.out)
	}
	return actOnRetention(ctx, &r.clientFlags, http.MethodPost, "/retention/run", e.out)
}

type retentionStatusCmd struct{ clientFlags }

// Run prints the status.
func (r *retentionStatusCmd) Run(ctx context.Context, e *env) error {
	return actOnRetention(ctx, &r.clientFlags, http.MethodGet, "/retention", e.out)
}

type retentionPauseCmd struct{ clientFlags }

// Run pauses maintenance.
func (r *retentionPauseCmd) Run(ctx context.Context, e *env) error {
	return actOnRetention(ctx, &r.clientFlags, http.MethodPost, "/retention/pause", e.out)
}

type retentionResumeCmd struct{ clientFlags }

// Run resumes maintenance.
func (r *retentionResumeCmd) Run(ctx context.Context, e *env) error {
	return actOnRetention(ctx, &r.clientFlags, http.MethodPost, "/retention/resume", e.out)
}

// actOnRetention calls an operation that answers with the status, and prints it.
func actOnRetention(ctx context.Context, f *clientFlags, method, path string, out io.Writer) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	var st retention.Status
	if err := c.get(ctx, method, f.orgPath(path), nil, nil, &st); err != nil {
		return err
	}
	printRetention(out, &st)
	return nil
}

func printRetention(out io.Writer, st *retention.Status) {
	state := "maintained by this server"
	switch {
	case st.Paused:
		state = "paused"
	case !st.Leading:
		state = "maintained by another server, or not yet"
	}
	fmt.Fprintf(out, "%s; %d files, %d rows, %d bytes\n", state, st.Files, st.Stored, st.Bytes)
	if r := st.Running; r != nil {
		fmt.Fprintf(out, "running %s since %s: %d of %d rows\n", r.Task, r.Since.UTC().Format(time.TimeOnly), r.RowsDone, r.RowsTotal)
	}
	rows := st.Rows
	fmt.Fprintf(out, "since the start: %d rows read, %d written; left out %d for age, %d refused, %d collected while refused, %d erased; %d user agents nulled, %d rows relabelled\n",
		rows.Read, rows.Written, rows.Aged, rows.Refused, rows.WhileRefused, rows.Erased, rows.Agents, rows.Relabelled)
	t := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "TASK\tLAST\tNEXT\tDOES")
	for _, task := range st.Tasks {
		last, next := "never", "soon"
		if task.Last != nil {
			last, next = task.Last.UTC().Format(time.TimeOnly), task.Next.UTC().Format(time.TimeOnly)
		}
		if task.Fault != "" {
			last += " failed"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", task.Task, last, next, task.Does)
	}
	_ = t.Flush()
}

// retentionMetrics exports the Keeper's readings.
func retentionMetrics(k *retention.Keeper, count func(name, help string, labels prometheus.Labels, read func() float64)) {
	total := func(name, help string, read func(retention.Stats) int64) {
		count("retention_"+name+"_total", help, nil, func() float64 { return float64(read(k.Stats())) })
	}
	total("runs", "Maintenance tasks run.", func(s retention.Stats) int64 { return s.Runs })
	total("failures", "Maintenance tasks that failed and are tried again.", func(s retention.Stats) int64 { return s.Failures })
	total("rewrites", "Sets of files replaced by a merge of them.", func(s retention.Stats) int64 { return s.Rewrites })
	total("conflicts", "Merges given up because another commit came first.", func(s retention.Stats) int64 { return s.Conflicts })
	total("snapshots_dropped", "Old snapshots dropped.", func(s retention.Stats) int64 { return s.Snapshots })
	total("blobs_deleted", "Blobs deleted and seen to be gone.", func(s retention.Stats) int64 { return s.Deleted })
	total("bytes_deleted", "Bytes of those blobs.", func(s retention.Stats) int64 { return s.DeletedBytes })
	rows := func(outcome string, read func(retention.Stats) int64) {
		count("retention_rows_total", "What rewrites did with rows.", prometheus.Labels{"outcome": outcome}, func() float64 { return float64(read(k.Stats())) })
	}
	rows("read", func(s retention.Stats) int64 { return s.RowsRead })
	rows("written", func(s retention.Stats) int64 { return s.RowsWritten })
	rows("left_out_age", func(s retention.Stats) int64 { return s.RowsAged })
	rows("left_out_refused", func(s retention.Stats) int64 { return s.RowsRefused })
	rows("collected_while_refused", func(s retention.Stats) int64 { return s.RowsWhileRefused })
	rows("left_out_erased", func(s retention.Stats) int64 { return s.RowsErased })
}
