package lake

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"mailwake/engine/blob"
)

func TestMain(m *testing.M) {
	if isCommitter() {
		runCommitter()
		return
	}
	goleak.VerifyTestMain(m,
		// The driver of database/sql ends its opener soon after Close returned.
		goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

// dirLake opens a lake over a folder; the same folder gives the same lake again.
func dirLake(t testing.TB, folder string, change ...func(*Options)) *Lake {
	t.Helper()
	s, err := blob.Dir(filepath.Join(folder, "blobs"))
	must(t, err)
	o := Options{Store: s, CatalogPath: filepath.Join(folder, "catalog.db"), CacheDir: filepath.Join(folder, "cache")}
	for _, c := range change {
		c(&o)
	}
	l, err := Open(t.Context(), o)
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	return l
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func tableOf(t testing.TB, l *Lake) *Table {
	t.Helper()
	tbl, err := l.Table(t.Context(), "acme")
	must(t, err)
	return tbl
}

// write stores n events of seed.
func write(t testing.TB, tbl *Table, n int, seed uint64) File {
	t.Helper()
	f, err := tbl.Write(t.Context(), batchOf(t, interactions(n, july, seed)))
	must(t, err)
	return f
}

func commit(t testing.TB, tbl *Table, c Change) *Snapshot {
	t.Helper()
	s, err := tbl.Commit(t.Context(), c)
	must(t, err)
	return s
}

// paths are the sorted keys of files.
func paths(files []File) []string {
	var p []string
	for _, f := range files {
		p = append(p, f.Path)
	}
	slices.Sort(p)
	return p
}

// checkPlan compares what the table believes with its manifests, read anew by
// another lake.
func checkPlan(t *testing.T, tbl *Table, folder string) {
	t.Helper()
	fresh := tableOf(t, dirLake(t, folder)).Snapshot()
	known := tbl.Snapshot()
	if got, want := paths(known.Files()), paths(fresh.Files()); !slices.Equal(got, want) {
		t.Fatalf("files known = %v, in the manifests %v", got, want)
	}
	if known.Rows() != fresh.Rows() || known.ID() != fresh.ID() {
		t.Fatalf("snapshot known = %d rows, id %d, in the catalog %d, %d", known.Rows(), known.ID(), fresh.Rows(), fresh.ID())
	}
	byPath := map[string]File{}
	for _, f := range fresh.Files() {
		byPath[f.Path] = f
	}
	for _, f := range known.Files() {
		if f != byPath[f.Path] {
			t.Fatalf("file known = %+v, in the manifest %+v", f, byPath[f.Path])
		}
	}
}

func TestCommitAddsFilesAndMark(t *testing.T) {
	folder := t.TempDir()
	tbl := tableOf(t, dirLake(t, folder))
	if s := tbl.Snapshot(); s.ID() != 0 || len(s.Files()) != 0 || s.Rows() != 0 || s.Mark("n1") != 0 {
		t.Fatalf("new table is not empty: %+v", s)
	}
	a, b := write(t, tbl, 100, 1), write(t, tbl, 50, 2)
	old := commit(t, tbl, Change{Add: []File{a}, Node: "n1", Mark: 7})
	s := commit(t, tbl, Change{Add: []File{b}, Node: "n2", Mark: 3})
	if s.Rows() != 150 || s.Mark("n1") != 7 || s.Mark("n2") != 3 || s != tbl.Snapshot() {
		t.Fatalf("snapshot = %d rows, marks %v", s.Rows(), s.marks)
	}
	if old.Rows() != 100 || old.Mark("n2") != 0 || len(old.Files()) != 1 {
		t.Fatalf("the snapshot before changed: %+v", old)
	}
	checkPlan(t, tbl, folder)
}

func TestCommitMarkAlone(t *testing.T) {
	folder := t.TempDir()
	tbl := tableOf(t, dirLake(t, folder))
	commit(t, tbl, Change{Node: "n1", Mark: 5})
	commit(t, tbl, Change{Add: []File{write(t, tbl, 10, 1)}, Node: "n1", Mark: 6})
	s := commit(t, tbl, Change{Node: "n1", Mark: 9})
	if s.Mark("n1") != 9 || s.Rows() != 10 {
		t.Fatalf("mark = %d, rows = %d, want 9, 10", s.Mark("n1"), s.Rows())
	}
	checkPlan(t, tbl, folder)
}

func TestCommitReplacesFiles(t *testing.T) {
	folder := t.TempDir()
	tbl := tableOf(t, dirLake(t, folder))
	a, b, c := write(t, tbl, 10, 1), write(t, tbl, 20, 2), write(t, tbl, 30, 3)
	commit(t, tbl, Change{Add: []File{a, b, c}, Node: "n1", Mark: 1})
	merged := write(t, tbl, 30, 4)
	commit(t, tbl, Change{Add: []File{merged}, Remove: []File{a, b}})
	checkPlan(t, tbl, folder)
	if got, want := paths(tbl.Snapshot().Files()), paths([]File{c, merged}); !slices.Equal(got, want) {
		t.Fatalf("files = %v, want %v", got, want)
	}
	if _, err := tbl.Commit(t.Context(), Change{Remove: []File{a}}); !errors.Is(err, ErrStale) {
		t.Fatalf("removing a file twice = %v, want ErrStale", err)
	}
	commit(t, tbl, Change{Remove: []File{c, merged}, Node: "n1", Mark: 2})
	if s := tbl.Snapshot(); len(s.Files()) != 0 || s.Mark("n1") != 2 {
		t.Fatalf("after removing all: %+v", s)
	}
	checkPlan(t, tbl, folder)
}

// TestRemoveStartsOver: a removal meets a commit of another node that it did
// not know of, and one that removed the same file.
func TestRemoveStartsOver(t *testing.T) {
	folder := t.TempDir()
	tbl, other := tableOf(t, dirLake(t, folder)), tableOf(t, dirLake(t, folder))
	a, b := write(t, tbl, 10, 1), write(t, tbl, 20, 2)
	commit(t, tbl, Change{Add: []File{a, b}})
	commit(t, other, Change{Add: []File{write(t, other, 5, 3)}, Node: "n2", Mark: 1})
	s := commit(t, tbl, Change{Remove: []File{a}})
	if s.Rows() != 25 {
		t.Fatalf("rows = %d, want 25", s.Rows())
	}
	news := write(t, tbl, 7, 4)
	commit(t, tbl, Change{Add: []File{news}})
	if s := commit(t, other, Change{Remove: []File{news}}); s.Rows() != 25 {
		t.Fatalf("rows = %d after removing a file this lake had not seen, want 25", s.Rows())
	}
	if _, err := other.Commit(t.Context(), Change{Remove: []File{a}}); !errors.Is(err, ErrStale) {
		t.Fatalf("removing what another node removed = %v, want ErrStale", err)
	}
	checkPlan(t, other, folder)
}

func TestMarkNeverMovesBack(t *testing.T) {
	folder := t.TempDir()
	tbl, other := tableOf(t, dirLake(t, folder)), tableOf(t, dirLake(t, folder))
	commit(t, tbl, Change{Add: []File{write(t, tbl, 10, 1)}, Node: "n1", Mark: 5})
	for name, from := range map[string]*Table{"who knows": tbl, "who does not": other} {
		for _, mark := range []uint64{4, 5} {
			_, err := from.Commit(t.Context(), Change{Add: []File{write(t, from, 1, mark)}, Node: "n1", Mark: mark})
			if !errors.Is(err, ErrMark) {
				t.Errorf("%s: mark %d after 5 = %v, want ErrMark", name, mark, err)
			}
			if s := from.Snapshot(); s.Mark("n1") != 5 || s.Rows() != 10 {
				t.Errorf("%s: snapshot shows mark %d, %d rows, want 5, 10", name, s.Mark("n1"), s.Rows())
			}
		}
	}
}

func TestCommitRefuses(t *testing.T) {
	l := dirLake(t, t.TempDir())
	tbl := tableOf(t, l)
	f := write(t, tbl, 10, 1)
	other, err := l.Table(t.Context(), "acme-2")
	must(t, err)
	foreign := write(t, other, 10, 1)
	for name, c := range map[string]Change{
		"nothing":             {},
		"mark without node":   {Add: []File{f}, Mark: 1},
		"node name":           {Add: []File{f}, Node: "a/b", Mark: 1},
		"file of another org": {Add: []File{foreign}, Node: "n1", Mark: 1},
		"file twice":          {Add: []File{f, f}, Node: "n1", Mark: 1},
		"add and remove":      {Add: []File{f}, Remove: []File{f}, Node: "n1", Mark: 1},
		"not from Write":      {Add: []File{{Path: f.Path, Rows: 1, Bytes: 1}}, Node: "n1", Mark: 1},
	} {
		if _, err := tbl.Commit(t.Context(), c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if s := tbl.Snapshot(); s.ID() != 0 || s.Mark("n1") != 0 {
		t.Errorf("a refused change left something: %+v", s)
	}
}

func TestTableRefusesNames(t *testing.T) {
	l := dirLake(t, t.TempDir())
	for _, org := range []string{"", "-a", "A", "a/b", "..", "a.b", "ä", strings.Repeat("a", 64), "a\n"} {
		if _, err := l.Table(t.Context(), org); !errors.Is(err, ErrOrg) {
			t.Errorf("Table(%q) = %v, want ErrOrg", org, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	folder := t.TempDir()
	percent, err := blob.Dir(filepath.Join(folder, "100%"))
	must(t, err)
	for name, o := range map[string]Options{
		"escape in path":  {Store: percent, CatalogPath: filepath.Join(folder, "c")},
		"no store":        {CatalogPath: filepath.Join(folder, "c")},
		"no catalog":      {Store: blob.Mem("x"), CacheDir: folder},
		"no cache":        {Store: blob.Mem("x"), CatalogPath: filepath.Join(folder, "c")},
		"warehouse":       {Store: blob.Mem("x"), CatalogPath: filepath.Join(folder, "c"), CacheDir: folder, Warehouse: "../x"},
		"expire too soon": {Store: blob.Mem("x"), CatalogPath: filepath.Join(folder, "c"), CacheDir: folder, ExpireEvery: 2},
		"catalog folder":  {Store: blob.Mem("x"), CatalogPath: folder, CacheDir: folder},
	} {
		if l, err := Open(t.Context(), o); err == nil {
			t.Errorf("%s: accepted", name)
			_ = l.Close()
		}
	}
}

// TestRefreshSeesOthers: two lakes, one in the memory of another process as far
// as this package can tell.
func TestRefreshSeesOthers(t *testing.T) {
	folder := t.TempDir()
	tbl, other := tableOf(t, dirLake(t, folder)), tableOf(t, dirLake(t, folder))
	commit(t, tbl, Change{Add: []File{write(t, tbl, 10, 1)}, Node: "n1", Mark: 1})
	if other.Snapshot().Rows() != 0 {
		t.Fatal("Snapshot did IO")
	}
	s, err := other.Refresh(t.Context())
	must(t, err)
	if s.Rows() != 10 || s.Mark("n1") != 1 || other.Snapshot() != s {
		t.Fatalf("refreshed = %d rows, mark %d", s.Rows(), s.Mark("n1"))
	}
	again, err := other.Refresh(t.Context())
	must(t, err)
	if again != s {
		t.Error("Refresh without news made another snapshot")
	}
}

// TestManyLakes: stores of several kinds in one process do not mix.
func TestManyLakes(t *testing.T) {
	var tables []*Table
	for i := range 3 {
		s := blob.Mem(fmt.Sprint("lake", i))
		folder := t.TempDir()
		l, err := Open(t.Context(), Options{Store: s, CatalogPath: filepath.Join(folder, "c.db"), CacheDir: filepath.Join(folder, "cache")})
		must(t, err)
		t.Cleanup(func() { must(t, l.Close()) })
		tables = append(tables, tableOf(t, l))
	}
	tables = append(tables, tableOf(t, dirLake(t, t.TempDir())))
	for i, tbl := range tables {
		commit(t, tbl, Change{Add: []File{write(t, tbl, 10+i, uint64(i))}, Node: "n1", Mark: 1})
	}
	for i, tbl := range tables {
		s, err := tbl.Refresh(t.Context())
		must(t, err)
		if s.Rows() != int64(10+i) {
			t.Errorf("lake %d has %d rows, want %d", i, s.Rows(), 10+i)
		}
	}
}

func TestClosedLake(t *testing.T) {
	l := dirLake(t, t.TempDir())
	tbl := tableOf(t, l)
	must(t, l.Close())
	if _, err := tbl.Refresh(t.Context()); err == nil {
		t.Error("Refresh of a closed lake worked")
	}
}

// TestCatalogIsDurable: the log is trimmed on the word of the catalog.
func TestCatalogIsDurable(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a folder (ä)")
	l := dirLake(t, folder)
	// Also: a folder whose name URLs escape, through conflict and expiry.
	tbl, other := tableOf(t, l), tableOf(t, dirLake(t, folder, expireEvery(6)))
	for i := range uint64(8) {
		commit(t, tbl, Change{Add: []File{write(t, tbl, 5, i)}, Node: "n1", Mark: i + 1})
		commit(t, other, Change{Add: []File{write(t, other, 5, i)}, Node: "n2", Mark: i + 1})
	}
	commit(t, tbl, Change{Remove: other.Snapshot().Files()[:3]})
	checkPlan(t, tbl, folder)
	if got := damages(t, l); len(got) != 0 {
		t.Errorf("Verify = %q", got)
	}
	for pragma, want := range map[string]string{"synchronous": "2", "journal_mode": "wal", "busy_timeout": "10000"} {
		var got string
		must(t, l.db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got))
		if got != want {
			t.Errorf("%s = %s, want %s", pragma, got, want)
		}
	}
	if _, err := os.Stat(filepath.Join(folder, "catalog.db")); err != nil {
		t.Errorf("catalog: %v", err)
	}
}

func TestFolderHoldsTheFiles(t *testing.T) {
	remote := openFaulty(t)
	for name, l := range map[string]*Lake{"folder": dirLake(t, t.TempDir()), "cache": remote.Lake} {
		folder, err := l.Folder("acme")
		must(t, err)
		path, release, err := l.Local(t.Context(), write(t, tableOf(t, l), 10, 1))
		must(t, err)
		release()
		if !filepath.IsAbs(folder) || !strings.HasPrefix(path, folder+string(filepath.Separator)) {
			t.Errorf("%s: file %s is not in %s", name, path, folder)
		}
		if _, err := l.Folder("../x"); !errors.Is(err, ErrOrg) {
			t.Errorf("%s: Folder of a bad name = %v", name, err)
		}
	}
}
