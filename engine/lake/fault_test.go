package lake

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/apache/iceberg-go/table"

	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
)

// faultyLake is a lake on a store that fails on script.
type faultyLake struct {
	*Lake
	faulty *blobtest.Faulty
	reopen func() *Lake // on the same store and catalog, without faults
}

func openFaulty(t *testing.T) faultyLake {
	t.Helper()
	folder := t.TempDir()
	mem := blob.Mem("faulty")
	open := func(s blob.Store, cache string) *Lake {
		l, err := Open(t.Context(), Options{Store: s, CatalogPath: filepath.Join(folder, "catalog.db"), CacheDir: filepath.Join(folder, cache)})
		must(t, err)
		t.Cleanup(func() { must(t, l.Close()) })
		return l
	}
	faulty := blobtest.NewFaulty(mem)
	return faultyLake{open(faulty, "a"), faulty, func() *Lake { return open(mem, t.Name()+"-b") }}
}

// settleFlush plays an engine whose commit returned err: look at the mark, and
// if it is not there do the work again with the same mark. The rows must be
// there once in the end.
func settleFlush(t *testing.T, l faultyLake, tbl *Table, mark uint64, err error, rowsBefore, rows int64) {
	t.Helper()
	truth := tableOf(t, l.reopen()).Snapshot()
	done := truth.Mark("n1") == mark
	if want := rowsBefore; truth.Rows() != want && !done || done && truth.Rows() != want+rows {
		t.Fatalf("mark %d and %d rows do not fit (had %d, added %d)", truth.Mark("n1"), truth.Rows(), rowsBefore, rows)
	}
	if err == nil && !done {
		t.Fatal("Commit returned nil but is not in the table")
	}
	if err != nil {
		again, errWrite := tbl.Write(t.Context(), batchOf(t, interactions(int(rows), july, mark)))
		must(t, errWrite)
		_, err = tbl.Commit(t.Context(), Change{Add: []File{again}, Node: "n1", Mark: mark})
		if done != errors.Is(err, ErrMark) || !done && err != nil {
			t.Fatalf("second commit = %v although the first had taken effect: %v", err, done)
		}
	}
	s, err := tbl.Refresh(t.Context())
	must(t, err)
	if s.Rows() != rowsBefore+rows || s.Mark("n1") != mark {
		t.Fatalf("in the end %d rows at mark %d, want %d at %d", s.Rows(), s.Mark("n1"), rowsBefore+rows, mark)
	}
}

// TestCommitOnFaultyStore fails every call of the store that a commit makes,
// before and after its effect, once in passing and once for good.
func TestCommitOnFaultyStore(t *testing.T) {
	full := errors.New("disk full")
	for _, op := range []blobtest.Op{blobtest.OpPut, blobtest.OpGet, blobtest.OpRead, blobtest.OpDelete} {
		for _, when := range []blobtest.When{blobtest.Before, blobtest.After} {
			for name, cause := range map[string]error{"transient": nil, "permanent": full} {
				t.Run(fmt.Sprintf("%s/%d/%s", op, when, name), func(t *testing.T) {
					l := openFaulty(t)
					tbl := tableOf(t, l.Lake)
					rows, mark := int64(0), uint64(0)
					for n := 1; ; n++ {
						mark++
						f := write(t, tbl, 7, mark)
						before := l.faulty.Calls(op)
						l.faulty.FailNth(op, n, blobtest.Fault{When: when, Err: cause})
						_, err := tbl.Commit(t.Context(), Change{Add: []File{f}, Node: "n1", Mark: mark})
						met := l.faulty.Calls(op)-before >= n
						if err != nil && cause == nil {
							t.Fatalf("call %d failed in passing and so did the commit: %v", n, err)
						}
						l.faulty.FailNth(op, n-(l.faulty.Calls(op)-before), blobtest.Fault{}) // not met: take it back
						settleFlush(t, l, tbl, mark, err, rows, 7)
						rows += 7
						if !met {
							return
						}
					}
				})
			}
		}
	}
}

// unreliable is a catalog whose answers get lost.
type unreliable struct {
	table.CatalogIO
	fault  blobtest.Fault // of the next commit
	cancel context.CancelFunc
}

func (u *unreliable) CommitTable(ctx context.Context, id table.Identifier, reqs []table.Requirement, updates []table.Update) (table.Metadata, string, error) {
	fault := u.fault
	u.fault = blobtest.Fault{}
	if fault.When == blobtest.Before {
		return nil, "", fault.Err
	}
	m, location, err := u.CatalogIO.CommitTable(ctx, id, reqs, updates)
	if fault.When == blobtest.After && err == nil {
		m, location, err = nil, "", fault.Err
	}
	if u.cancel != nil {
		u.cancel()
	}
	return m, location, err
}

// TestCommitOnUnreliableCatalog: whatever the catalog answers, the mark tells.
func TestCommitOnUnreliableCatalog(t *testing.T) {
	for name, fault := range map[string]blobtest.Fault{
		"refused":                        {When: blobtest.Before, Err: errors.New("disk full")},
		"lost race":                      {When: blobtest.Before, Err: table.ErrCommitFailed},
		"answer lost":                    {When: blobtest.After, Err: errors.New("connection reset")},
		"answer is a race but it is not": {When: blobtest.After, Err: table.ErrCommitFailed},
	} {
		t.Run(name, func(t *testing.T) {
			l := openFaulty(t)
			tbl := tableOf(t, l.Lake)
			commit(t, tbl, Change{Add: []File{write(t, tbl, 5, 1)}, Node: "n1", Mark: 1})
			l.committer = &unreliable{CatalogIO: l.catalog, fault: fault}
			_, err := tbl.Commit(t.Context(), Change{Add: []File{write(t, tbl, 7, 2)}, Node: "n1", Mark: 2})
			if tookEffect := fault.When == blobtest.After; tookEffect && err != nil {
				t.Fatalf("commit took effect but = %v", err)
			}
			settleFlush(t, l, tbl, 2, err, 5, 7)

			// A compaction has no mark: its snapshot tells.
			l.committer = &unreliable{CatalogIO: l.catalog, fault: fault}
			_, err = tbl.Commit(t.Context(), Change{Remove: tbl.Snapshot().Files(), Add: []File{write(t, tbl, 12, 3)}})
			s := tableOf(t, l.reopen()).Snapshot()
			if want := err == nil; (len(s.Files()) == 1) != want || s.Rows() != 12 {
				t.Fatalf("after a compaction that returned %v: %d files, %d rows", err, len(s.Files()), s.Rows())
			}
			if got := damages(t, l.Lake); len(got) != 0 {
				t.Fatalf("Verify = %q", got)
			}
		})
	}
}

// TestCommitWhoseCallerLeaves: the context ends just after the catalog took it.
func TestCommitWhoseCallerLeaves(t *testing.T) {
	l := openFaulty(t)
	tbl := tableOf(t, l.Lake)
	ctx, cancel := context.WithCancel(t.Context())
	l.committer = &unreliable{CatalogIO: l.catalog, cancel: cancel, fault: blobtest.Fault{When: blobtest.After, Err: context.Canceled}}
	if _, err := tbl.Commit(ctx, Change{Add: []File{write(t, tbl, 7, 1)}, Node: "n1", Mark: 1}); err != nil {
		t.Fatalf("Commit = %v", err)
	}
	settleFlush(t, l, tbl, 1, nil, 0, 7)
	if _, err := tbl.Commit(ctx, Change{Node: "n1", Mark: 2}); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit with an ended context = %v", err)
	}
}

// TestWriteOnFaultyStore: a blob whose Put took effect but failed is the same
// blob when a retrying store meets it again; other bytes are not.
func TestWriteOnFaultyStore(t *testing.T) {
	l := openFaulty(t)
	tbl := tableOf(t, l.Lake)
	batch := batchOf(t, interactions(5, july, 1))
	for _, when := range []blobtest.When{blobtest.Before, blobtest.After} {
		l.faulty.FailNth(blobtest.OpPut, 1, blobtest.Fault{When: when})
		if _, err := tbl.Write(t.Context(), batch); !errors.Is(err, blobtest.ErrInjected) {
			t.Errorf("Write = %v, want the store's error", err)
		}
	}
	l.faulty.FailNth(blobtest.OpPut, 1, blobtest.Fault{When: blobtest.After, Err: blob.ErrExists})
	f, err := tbl.Write(t.Context(), batch)
	must(t, err)
	commit(t, tbl, Change{Add: []File{f}})
	l.faulty.FailNth(blobtest.OpPut, 1, blobtest.Fault{When: blobtest.Before, Err: blob.ErrExists})
	if _, err := tbl.Write(t.Context(), batch); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Write over a blob that is not there = %v, want ErrNotFound", err)
	}
}
