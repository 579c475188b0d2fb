package retention

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"mailwake/engine/blob"
	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/engine/registry"
	"mailwake/engine/rollup"
)

// asWorker are the test program's processes that work out a merge, or say by which
// policy of the kernel their threads run.
func asWorker(args []string) {
	switch {
	case len(args) == 2 && args[1] == "rewrite-worker":
		os.Exit(RunWorker())
	case len(args) == 3 && args[1] == "rewrite-worker-dies":
		_ = work(context.Background(), os.Stdin, &dying{args[2]}, func() {})
	case len(args) == 2 && args[1] == "give-way":
		giveWay()
		tasks, _ := filepath.Glob("/proc/self/task/*/stat")
		for _, path := range tasks {
			text, _ := os.ReadFile(path)
			fields := strings.Fields(string(text)[strings.LastIndexByte(string(text), ')')+1:])
			fmt.Println(fields[38])
		}
		os.Exit(0)
	}
}

// dying is where a worker tells what it has done, until there is a rollup.
type dying struct{ rollups string }

func (d *dying) Write(p []byte) (int, error) {
	if names, _ := filepath.Glob(filepath.Join(d.rollups, "*"+rollup.Suffix)); len(names) > 0 {
		os.Exit(9) // it is not told of the file
	}
	return os.Stdout.Write(p)
}

// TestWorker: a process of its own makes the same files as this one, and the same
// rollups, which are there before the server knows of the files.
func TestWorker(t *testing.T) {
	defer func(n int) { rowGroup = n }(rowGroup)
	rowGroup = 5000
	l := openLake(t, t.TempDir(), blob.Mem("merge"), nil)
	tbl, err := l.Table(t.Context(), "acme")
	must(t, err)
	r := rand.New(rand.NewPCG(1, 3))
	var files []lake.File
	for range 3 {
		files = append(files, write(t, tbl, drawn(r, 20_000, 3, 50)))
	}
	p := Policy{Policy: registry.DefaultPolicy(), Erased: []event.RecipientID{7}}
	p.OnWithdrawal = registry.WithdrawalPurges
	p.Refusals = []registry.Refusal{{Recipient: 3, Purposes: 15, Since: event.At(july)}}
	c := p.cull(july.AddDate(0, 0, 45))
	var told int64
	here, there := t.TempDir(), t.TempDir()
	want, counts, err := workshop{rollups: here}.merge(t.Context(), l, tbl, files, c, 50_000, func(int64) {})
	must(t, err)
	worker := workshop{command: []string{os.Args[0], "rewrite-worker"}, rollups: there}
	got, same, err := worker.merge(t.Context(), l, tbl, files, c, 50_000, func(rows int64) { told = rows })
	must(t, err)
	if counts != same || counts.Erased == 0 || counts.WhileRefused == 0 || counts.Agents == 0 || len(got) < 2 || told == 0 {
		t.Errorf("counts %+v, want %+v; %d files; %d rows told", same, counts, len(got), told)
	}
	sums := func(files []lake.File) (sums []string) {
		for _, f := range files {
			sums = append(sums, f.Sum)
		}
		return sums
	}
	if !slices.Equal(sums(got), sums(want)) {
		t.Error("other bytes")
	}
	rows := func(dir string, files []lake.File) (rows []int64) {
		for _, f := range files {
			source := rollup.Source{Path: f.Path, Bytes: f.Bytes}
			r, err := rollup.Open(source.In(dir), source)
			must(t, err)
			rows = append(rows, r.Rows)
			must(t, r.Close())
			erased, err := rollup.Holds(source.In(dir), func(id event.RecipientID) bool { return id == 7 })
			must(t, err)
			if erased {
				t.Error("a rollup has what its file has not")
			}
		}
		return rows
	}
	if got, want := rows(there, got), rows(here, want); !slices.Equal(got, want) {
		t.Errorf("rollups of %d rows, want %d", got, want)
	}
	worker.rollups = filepath.Join(there, "nowhere")
	if got, _, err := worker.merge(t.Context(), l, tbl, files, c, 50_000, func(int64) {}); err != nil || !slices.Equal(sums(got), sums(want)) {
		t.Errorf("without rollups: %d files, %v", len(got), err)
	}
}

// TestWorkerFails: of a merge that is not done nothing is left but lines of the
// ledger, by which its blobs go.
func TestWorkerFails(t *testing.T) {
	dir := t.TempDir()
	l := openLake(t, dir, blob.Mem("merge"), nil)
	tbl, err := l.Table(t.Context(), "acme")
	must(t, err)
	f := write(t, tbl, drawn(rand.New(rand.NewPCG(1, 3)), 20_000, 3, 50))
	p := Policy{Policy: registry.DefaultPolicy()}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	rollups := t.TempDir()
	damaged := f
	damaged.Sum = strings.Repeat("0", len(f.Sum))
	worker := []string{os.Args[0], "rewrite-worker"}
	for name, try := range map[string]struct {
		ctx     context.Context
		command []string
		file    lake.File
		want    func(error) bool
	}{
		"no program": {t.Context(), []string{filepath.Join(dir, "nothing")}, f, func(err error) bool { return errors.Is(err, os.ErrNotExist) }},
		"dies once there is a rollup": {t.Context(), []string{os.Args[0], "rewrite-worker-dies", rollups}, f, func(err error) bool {
			made, _ := filepath.Glob(filepath.Join(rollups, "*"))
			return err != nil && len(made) == 1
		}},
		"dies":      {t.Context(), []string{"/bin/sh", "-c", "exit 3"}, f, func(err error) bool { return err != nil }},
		"cancelled": {gone, worker, f, func(err error) bool { return err != nil && errors.Is(err, context.Canceled) }},
		"here":      {gone, nil, f, func(err error) bool { return errors.Is(err, context.Canceled) }},
		"damaged":   {t.Context(), worker, damaged, func(err error) bool { return err != nil && strings.Contains(err.Error(), "checksum") }},
	} {
		out, _, err := workshop{command: try.command, rollups: rollups}.merge(try.ctx, l, tbl, []lake.File{try.file}, p.cull(july), 0, func(int64) {})
		if !try.want(err) || len(out) > 0 {
			t.Errorf("%s: %d files, %v", name, len(out), err)
		}
	}
	left, err := filepath.Glob(filepath.Join(tbl.Receive().Place().Dir, ".*"))
	must(t, err)
	if parts, err := filepath.Glob(filepath.Join(rollups, ".*")); err != nil || len(parts)+len(left) > 0 {
		t.Errorf("left %q and %q, %v", left, parts, err)
	}
}

// TestWorkerStays: a process works out one merge after another, until one fails or the
// workshop closes; those that are wanted at once have a process each.
func TestWorkerStays(t *testing.T) {
	dir := t.TempDir()
	l := openLake(t, dir, blob.Mem("merge"), nil)
	tbl, err := l.Table(t.Context(), "acme")
	must(t, err)
	f := write(t, tbl, drawn(rand.New(rand.NewPCG(1, 3)), 2000, 3, 50))
	damaged := f
	damaged.Sum = strings.Repeat("0", len(f.Sum))
	pids := filepath.Join(dir, "pids")
	w := newWorkshop([]string{"/bin/sh", "-c", `echo $$ >> "$1"; exec "$0" rewrite-worker`, os.Args[0], pids}, false)
	p := Policy{Policy: registry.DefaultPolicy()}
	merge := func(f lake.File) error {
		_, _, err := w.merge(t.Context(), l, tbl, []lake.File{f}, p.cull(july), 0, func(int64) {})
		return err
	}
	started := func() []string {
		text, err := os.ReadFile(pids)
		must(t, err)
		return strings.Fields(string(text))
	}
	for range 3 {
		must(t, merge(f))
	}
	if n := len(started()); n != 1 {
		t.Errorf("%d processes for three merges", n)
	}
	if err := merge(damaged); err == nil {
		t.Error("a damaged file was merged")
	}
	var all errgroup.Group
	for range 4 {
		all.Go(func() error { return merge(f) })
	}
	must(t, all.Wait())
	if n := len(started()); n < 2 || n > 5 {
		t.Errorf("%d processes for a merge that failed and four at once", n)
	}
	w.close()
	for _, pid := range started() {
		if _, err := os.Stat("/proc/" + pid); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("process %s is still there: %v", pid, err)
		}
	}
}

// TestGiveWay: every thread of a process that gives way runs only on idle cores.
func TestGiveWay(t *testing.T) {
	out, err := exec.Command(os.Args[0], "give-way").Output()
	must(t, err)
	policies := strings.Fields(string(out))
	const idle = "5"
	if len(policies) < 2 || slices.ContainsFunc(policies, func(p string) bool { return p != idle }) {
		t.Errorf("policies %q", policies)
	}
}
