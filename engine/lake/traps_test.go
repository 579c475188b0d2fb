package lake

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/iceberg-go"
	sqlcat "github.com/apache/iceberg-go/catalog/sql"
	"github.com/apache/iceberg-go/table"

	"mailwake/engine/blob/blobtest"
)

// plainTable opens the table as any other program with iceberg-go would: own
// catalog handle, own file access, nothing of this package.
func plainTable(t *testing.T, folder string) *table.Table {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(folder, "catalog.db"))
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	c, err := sqlcat.NewCatalog("mailwake", db, sqlcat.SQLite, nil)
	must(t, err)
	tbl, err := c.LoadTable(t.Context(), table.Identifier{"acme", "interactions"})
	must(t, err)
	return tbl
}

// change commits what stage does, past this package.
func change(t *testing.T, tbl *table.Table, stage func(*table.Transaction) error) *table.Table {
	t.Helper()
	tx := tbl.NewTransaction()
	must(t, stage(tx))
	changed, err := tx.Commit(t.Context())
	must(t, err)
	return changed
}

func TestOtherEnginesReadTheTable(t *testing.T) {
	folder := t.TempDir()
	tbl := tableOf(t, dirLake(t, folder))
	commit(t, tbl, Change{Add: []File{write(t, tbl, 300, 1), write(t, tbl, 20, 2)}, Node: "n1", Mark: 1})
	plain := plainTable(t, folder)
	if !strings.HasPrefix(plain.Location(), "file:///") {
		t.Errorf("location = %s", plain.Location())
	}
	rows, err := plain.Scan().ToArrowTable(t.Context())
	must(t, err)
	defer rows.Release()
	if rows.NumRows() != 320 {
		t.Errorf("rows = %d, want 320", rows.NumRows())
	}
	if plain.Metadata().Version() != 2 {
		t.Errorf("format version = %d, want 2", plain.Metadata().Version())
	}
	if got, want := plain.Spec().String(), "1000: occurred_at_month: month(2)"; !strings.Contains(got, want) {
		t.Errorf("partition spec = %s, want %s", got, want)
	}
	var order []int
	for _, f := range plain.SortOrder().Fields() {
		order = append(order, f.SourceIDs...)
	}
	if !slices.Equal(order, []int{5, 6, 2}) {
		t.Errorf("sort order by fields %v, want 5, 6, 2", order)
	}
	for name, want := range map[string]string{
		"write.delete.isolation-level": "snapshot", "write.update.isolation-level": "snapshot", "write.delete.mode": "copy-on-write",
		"commit.retry.num-retries": "20", "commit.manifest-merge.enabled": "true", "write.metadata.delete-after-commit.enabled": "true",
		"mailwake.mark.n1": "1",
	} {
		if got := plain.Properties()[name]; got != want {
			t.Errorf("property %s = %q, want %q", name, got, want)
		}
	}
	if _, leaked := plain.Properties()[storeProperty]; leaked {
		t.Error("the table names the process's store")
	}
}

func TestTableSchema(t *testing.T) {
	folder := t.TempDir()
	tableOf(t, dirLake(t, folder))
	want := []string{
		"1: event_id: required long", "2: occurred_at: required timestamp", "3: delay: required long",
		"4: kind: required string", "5: email_id: required long", "6: recipient_id: required long", "7: component: required int",
		"8: actor: required string", "9: reason: required string", "10: device: required string", "11: client: required string",
		"12: os: required string", "13: source: required string", "14: user_agent: optional string", "15: network: optional string",
	}
	var got []string
	for _, f := range plainTable(t, folder).Schema().Fields() {
		got = append(got, f.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("fields = %q\nwant %q", got, want)
	}
}

// TestBoundsNameNobody: manifests outlive rows, so what might identify a person
// must not get into them.
func TestBoundsNameNobody(t *testing.T) {
	const marker = "MARKER"
	folder := t.TempDir()
	tbl := tableOf(t, dirLake(t, folder))
	in := interactions(50, july, 1)
	for i := range in {
		in[i].UserAgent, in[i].Network, in[i].Client, in[i].OS, in[i].Reason = marker+"-agent", marker+"/24", marker, marker, marker
	}
	f, err := tbl.Write(t.Context(), batchOf(t, in))
	must(t, err)
	commit(t, tbl, Change{Add: []File{f}})
	must(t, filepath.WalkDir(filepath.Join(folder, "blobs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, dataSuffix) {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), marker) {
			t.Errorf("%s contains a text column's value", path)
		}
		return err
	}))
	bounded := 0
	for df, err := range dataFiles(t.Context(), tbl.current.Load().iceberg) {
		must(t, err)
		for _, bounds := range []map[int][]byte{df.LowerBoundValues(), df.UpperBoundValues()} {
			for _, id := range []int{4, 8, 9, 10, 11, 12, 13, 14, 15} {
				if b, ok := bounds[id]; ok {
					t.Errorf("field %d has the bound %q", id, b)
				}
			}
			for _, id := range []int{1, 2, 3, 5, 6} {
				if _, ok := bounds[id]; !ok {
					t.Errorf("field %d has no bound", id)
				}
			}
			bounded++
		}
		for _, id := range []int{4, 8, 9, 10, 11, 12, 13, 14, 15} {
			if n, ok := df.NullValueCounts()[id]; ok {
				t.Errorf("field %d has a count of %d nulls", id, n)
			}
		}
	}
	if bounded != 2 {
		t.Errorf("%d bounds found, want those of one file", bounded)
	}
}

// TestLargeFileIsOneFile: a scan splits a file over the target size.
func TestLargeFileIsOneFile(t *testing.T) {
	folder := t.TempDir()
	tbl := tableOf(t, dirLake(t, folder))
	f := write(t, tbl, rowGroupRows+1000, 1)
	commit(t, tbl, Change{Add: []File{f}})
	plain := change(t, plainTable(t, folder), func(tx *table.Transaction) error {
		return tx.SetProperties(iceberg.Properties{table.ReadSplitTargetSizeKey: "1000", table.ReadSplitOpenFileCostKey: "1"})
	})
	tasks, err := plain.Scan().PlanFiles(t.Context())
	must(t, err)
	if len(tasks) < 2 {
		t.Fatalf("the scan has %d tasks: this file does not show the trap", len(tasks))
	}
	s := tableOf(t, dirLake(t, folder)).Snapshot()
	if got := paths(s.Files()); !slices.Equal(got, []string{f.Path}) || s.Rows() != f.Rows {
		t.Errorf("files = %v with %d rows, want one with %d", got, s.Rows(), f.Rows)
	}
}

// TestDoubleEntryCountsOnce: another program has added the same file again.
func TestDoubleEntryCountsOnce(t *testing.T) {
	folder := t.TempDir()
	l := dirLake(t, folder)
	tbl := tableOf(t, l)
	f := write(t, tbl, 10, 1)
	commit(t, tbl, Change{Add: []File{f}})
	if _, err := tbl.Commit(t.Context(), Change{Add: []File{f}}); err == nil {
		t.Error("the same file was added twice")
	}
	change(t, plainTable(t, folder), func(tx *table.Transaction) error {
		return tx.AddDataFiles(t.Context(), []iceberg.DataFile{f.data}, nil, table.WithoutDuplicateCheck())
	})
	s, err := tbl.Refresh(t.Context())
	must(t, err)
	if len(s.Files()) != 1 || s.Rows() != 10 {
		t.Errorf("%d files with %d rows, want 1 with 10", len(s.Files()), s.Rows())
	}
	if got := damages(t, l); !slices.Equal(got, []string{f.Path + ": listed twice: other engines count its rows twice"}) {
		t.Errorf("Verify = %q", got)
	}
}

func TestDeleteFilesAreRefused(t *testing.T) {
	folder := t.TempDir()
	l := dirLake(t, folder)
	tbl := tableOf(t, l)
	in := interactions(50, july, 1)
	f, err := tbl.Write(t.Context(), batchOf(t, in))
	must(t, err)
	commit(t, tbl, Change{Add: []File{f}})
	plain := change(t, plainTable(t, folder), func(tx *table.Transaction) error {
		return tx.SetProperties(iceberg.Properties{table.WriteDeleteModeKey: table.WriteModeMergeOnRead})
	})
	_, err = plain.Delete(t.Context(), iceberg.EqualTo(iceberg.Reference("event_id"), in[7].ID), nil)
	must(t, err)
	if _, err := tbl.Refresh(t.Context()); !errors.Is(err, errDeleteFiles) {
		t.Errorf("Refresh = %v, want errDeleteFiles", err)
	}
	if _, err := dirLake(t, folder).Table(t.Context(), "acme"); !errors.Is(err, errDeleteFiles) {
		t.Errorf("Table = %v, want errDeleteFiles", err)
	}
	if got := damages(t, l); len(got) != 1 || !strings.Contains(got[0], errDeleteFiles.Error()) {
		t.Errorf("Verify = %q", got)
	}
}

func TestForeignTablesAreRefused(t *testing.T) {
	folder := t.TempDir()
	tableOf(t, dirLake(t, folder))
	change(t, plainTable(t, folder), func(tx *table.Transaction) error {
		return tx.UpdateSchema(true, false).AddColumn([]string{"extra"}, iceberg.PrimitiveTypes.String, "", false, nil).Commit()
	})
	if _, err := dirLake(t, folder).Table(t.Context(), "acme"); err == nil || !strings.Contains(err.Error(), "another schema") {
		t.Errorf("Table = %v, want another schema", err)
	}
}

// TestLostRaceInTheCatalog: another commit comes between reading the catalog
// and writing it. Both must be in the table, and nothing left behind.
func TestLostRaceInTheCatalog(t *testing.T) {
	folder := t.TempDir()
	faulty := blobtest.NewFaulty(nil)
	tbl := tableOf(t, dirLake(t, folder, func(o *Options) { faulty.Store, o.Store = o.Store, faulty }))
	other := tableOf(t, dirLake(t, folder))
	f := write(t, other, 10, 2)
	races := 0
	faulty.Script(func(op blobtest.Op, key string) blobtest.Fault {
		if op == blobtest.OpPut && strings.HasSuffix(key, ".json") && races == 0 {
			races++
			commit(t, other, Change{Add: []File{f}, Node: "n2", Mark: 1})
		}
		return blobtest.Fault{}
	})
	s := commit(t, tbl, Change{Add: []File{write(t, tbl, 10, 1)}, Node: "n1", Mark: 1})
	if s.Rows() != 20 || s.Mark("n1") != 1 || s.Mark("n2") != 1 || races != 1 {
		t.Errorf("after a race: %d rows, marks %v", s.Rows(), s.marks)
	}
	metadata := slices.DeleteFunc(blobtest.Keys(t, faulty, tbl.lake.tableKey("acme")+"/metadata/"), func(k string) bool {
		return !strings.HasSuffix(k, ".json")
	})
	if len(metadata) != 3 {
		t.Errorf("metadata = %q, want that of the new table and of two commits", metadata)
	}
}

// TestLostRaces: what the SQL catalog says about a lost race must be something
// that transactions retry, and leave nothing behind.
func TestLostRaces(t *testing.T) {
	folder := t.TempDir()
	tbl, other := tableOf(t, dirLake(t, folder)), tableOf(t, dirLake(t, folder))
	f := write(t, tbl, 10, 1)
	stale := tbl.guarded(anything{}).wrap(tbl.current.Load().iceberg)
	commit(t, other, Change{Add: []File{write(t, other, 10, 2)}})
	before := blobtest.Keys(t, tbl.lake.opts.Store, tbl.lake.tableKey("acme")+"/metadata/")

	_, _, err := tbl.lake.catalog.CommitTable(t.Context(), tbl.id, []table.Requirement{table.AssertRefSnapshotID("main", nil)}, nil)
	if err == nil || errors.Is(err, table.ErrCommitFailed) {
		t.Errorf("iceberg-go's catalog says %v: lostRace may be needless now", err)
	}
	_, _, err = tbl.guarded(anything{}).CommitTable(t.Context(), tbl.id, []table.Requirement{table.AssertRefSnapshotID("main", nil)}, nil)
	if !errors.Is(err, table.ErrCommitFailed) {
		t.Errorf("a requirement that fails = %v, want ErrCommitFailed", err)
	}
	if got := blobtest.Keys(t, tbl.lake.opts.Store, tbl.lake.tableKey("acme")+"/metadata/"); !slices.Equal(got, before) {
		t.Errorf("metadata = %v, was %v", got, before)
	}
	change(t, stale, func(tx *table.Transaction) error {
		return tx.AddDataFiles(t.Context(), []iceberg.DataFile{f.data}, nil, table.WithoutDuplicateCheck(), table.WithoutAutoNameMapping())
	})
	if s, err := tbl.Refresh(t.Context()); err != nil || s.Rows() != 20 {
		t.Errorf("after a race: %v, %v", s, err)
	}
}

func TestLockedDatabaseIsALostRace(t *testing.T) {
	path := "file:" + filepath.Join(t.TempDir(), "x.db") + "?_txlock=immediate"
	var txs []*sql.Tx
	var err error
	for range 2 {
		db, errOpen := sql.Open("sqlite", path)
		must(t, errOpen)
		t.Cleanup(func() { must(t, db.Close()) })
		var tx *sql.Tx
		if tx, err = db.BeginTx(t.Context(), nil); err == nil {
			txs = append(txs, tx)
		}
	}
	for _, tx := range txs {
		must(t, tx.Rollback())
	}
	if err == nil || errors.Is(err, table.ErrCommitFailed) {
		t.Fatalf("second writer = %v, want a locked database", err)
	}
	if !errors.Is(lostRace(err), table.ErrCommitFailed) {
		t.Errorf("lostRace(%v) is not ErrCommitFailed", err)
	}
	if other := errors.New("disk full"); errors.Is(lostRace(other), table.ErrCommitFailed) {
		t.Errorf("lostRace(%v) would be tried again", other)
	}
}

// damages are Verify's findings of damage.
func damages(t *testing.T, l *Lake) []string {
	t.Helper()
	var found []string
	for f, err := range l.Verify(context.Background(), "acme") {
		must(t, err)
		if f.Damage {
			found = append(found, f.Key+": "+f.Detail)
		}
	}
	return found
}
