package lake

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"golang.org/x/sync/errgroup"

	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
	"mailwake/engine/event"
)

const (
	committers     = 4 // goroutines per process, two on each of two lakes
	committerVar   = "MAILWAKE_TEST_COMMITTER"
	commitsOfLong  = 100
	commitsOfShort = 25
)

// committerTask is what a process of the contention test does.
type committerTask struct {
	Folder  string
	First   int // node; the others count on from it
	Commits int
}

func isCommitter() bool { return os.Getenv(committerVar) != "" }

// runCommitter is the main function of such a process.
func runCommitter() {
	var task committerTask
	err := json.Unmarshal([]byte(os.Getenv(committerVar)), &task)
	if err == nil {
		err = task.run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (c committerTask) run(ctx context.Context) error {
	var group errgroup.Group
	node := c.First
	for range 2 {
		s, err := blob.Dir(filepath.Join(c.Folder, "blobs"))
		if err != nil {
			return err
		}
		l, err := Open(ctx, Options{Store: s, CatalogPath: filepath.Join(c.Folder, "catalog.db")})
		if err != nil {
			return err
		}
		defer l.Close()
		tbl, err := l.Table(ctx, "acme")
		if err != nil {
			return err
		}
		for range committers / 2 {
			n := node
			node++
			group.Go(func() error { return c.commits(ctx, tbl, n) })
		}
	}
	return group.Wait()
}

// commits commits one row at a time as one node. The event id names the commit.
func (c committerTask) commits(ctx context.Context, tbl *Table, node int) error {
	b := event.NewBuilder(memory.DefaultAllocator)
	defer b.Release()
	for i := range c.Commits {
		b.Add(int64(node*c.Commits+i), &event.Interaction{OccurredAt: event.At(july), Kind: event.Open, Email: 1, Recipient: event.RecipientID(node)})
		batch := b.Batch()
		f, err := tbl.Write(ctx, batch)
		batch.Release()
		if err != nil {
			return err
		}
		change := Change{Add: []File{f}, Node: "n" + strconv.Itoa(node), Mark: uint64(i + 1)}
		if _, err := tbl.Commit(ctx, change); err != nil {
			return err
		}
	}
	return nil
}

// TestContention: two processes with four committers each on one table, expiry
// included. Every row must be there once, nothing may be left lying about.
func TestContention(t *testing.T) {
	task := committerTask{Folder: t.TempDir(), Commits: commitsOfLong}
	if testing.Short() || raceDetector {
		task.Commits = commitsOfShort
	}
	tableOf(t, dirLake(t, task.Folder))
	var wg sync.WaitGroup
	for process := range 2 {
		task.First = process * committers
		text, err := json.Marshal(task)
		must(t, err)
		cmd := exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // this test binary
		cmd.Env = append(os.Environ(), committerVar+"="+string(text))
		wg.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("committing process: %v\n%s", err, out)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	tbl := tableOf(t, dirLake(t, task.Folder))
	s := tbl.Snapshot()
	seen := map[int64]int{}
	for _, f := range s.Files() {
		for _, id := range columnOf(t, tbl, f, "event_id") {
			seen[id]++
		}
	}
	want := 2 * committers * task.Commits
	for id := range int64(want) {
		if seen[id] != 1 {
			t.Errorf("event %d is in the table %d times", id, seen[id])
		}
	}
	if len(seen) != want || s.Rows() != int64(want) {
		t.Errorf("table has %d events in %d rows, want %d", len(seen), s.Rows(), want)
	}
	for node := range 2 * committers {
		if got := s.Mark("n" + strconv.Itoa(node)); got != uint64(task.Commits) {
			t.Errorf("mark of node %d = %d, want %d", node, got, task.Commits)
		}
	}
	checkDebris(t, tbl)
}

// checkDebris: a lost race deletes the metadata and manifest lists it has
// written. What may stay are manifests of a try that iceberg-go gave up in the
// middle, and metadata that fell out of the log while others were committing.
func checkDebris(t *testing.T, tbl *Table) {
	t.Helper()
	meta := tbl.current.Load().iceberg.Metadata()
	store := tbl.lake.opts.Store
	used := map[string]struct{}{tbl.current.Load().iceberg.MetadataLocation(): {}}
	must(t, metadataFiles(&fileIO{t.Context(), store}, meta.Snapshots(), used))
	for previous := range meta.PreviousFiles() {
		used[previous.MetadataFile] = struct{}{}
	}
	debris := map[string]int{}
	for _, key := range blobtest.Keys(t, store, tbl.lake.tableKey("acme")+"/metadata/") {
		if _, ok := used[store.URL(key)]; !ok {
			debris[filepath.Ext(key)]++
		}
	}
	if commits := len(tbl.Snapshot().Files()); debris[".avro"]+debris[".json"] > commits/10 {
		t.Errorf("debris of %d commits: %v", commits, debris)
	}
	t.Logf("debris: %v", debris)
}
