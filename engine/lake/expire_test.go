package lake

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"mailwake/engine/blob/blobtest"
)

func expireEvery(n int) func(*Options) {
	return func(o *Options) { o.ExpireEvery, o.Logger = n, slog.New(slog.DiscardHandler) }
}

// TestExpiryKeepsData: old snapshots go with their manifests, pinned ones keep
// their data, also data that a later commit has removed.
func TestExpiryKeepsData(t *testing.T) {
	folder := t.TempDir()
	l := dirLake(t, folder, expireEvery(10))
	tbl := tableOf(t, l)
	pinned := commit(t, tbl, Change{Add: []File{write(t, tbl, 5, 1000), write(t, tbl, 5, 1001)}})
	commit(t, tbl, Change{Remove: pinned.Files()[:1], Add: []File{write(t, tbl, 5, 1002)}})
	for i := range uint64(40) {
		commit(t, tbl, Change{Add: []File{write(t, tbl, 5, i)}, Node: "n1", Mark: i + 1})
		if n := len(tbl.current.Load().iceberg.Metadata().Snapshots()); n > 10 {
			t.Fatalf("%d snapshots after commit %d, want at most 10", n, i)
		}
	}
	for _, f := range slices.Concat(pinned.Files(), tbl.Snapshot().Files()) {
		if _, release, err := l.Local(t.Context(), f); err != nil {
			t.Errorf("file after expiry: %v", err)
		} else {
			release()
		}
	}
	meta := tbl.current.Load().iceberg.Metadata()
	used := map[string]struct{}{}
	must(t, metadataFiles(&fileIO{t.Context(), l.opts.Store}, meta.Snapshots(), used))
	for _, key := range blobtest.Keys(t, l.opts.Store, l.tableKey("acme")+"/metadata/") {
		if _, ok := used[l.opts.Store.URL(key)]; !ok && strings.HasSuffix(key, ".avro") {
			t.Errorf("%s is in no snapshot", key)
		}
	}
	if got := damages(t, l); len(got) != 0 {
		t.Errorf("Verify = %q", got)
	}
	if l.ExpireFailures() != 0 {
		t.Errorf("%d expiries failed", l.ExpireFailures())
	}
	checkPlan(t, tbl, folder)
}

// TestExpiryThatFails must not fail the commit, and comes back later.
func TestExpiryThatFails(t *testing.T) {
	for name, op := range map[string]blobtest.Op{"before its commit": blobtest.OpPut, "after its commit": blobtest.OpDelete} {
		t.Run(name, func(t *testing.T) {
			faulty := blobtest.NewFaulty(nil)
			folder := t.TempDir()
			l := dirLake(t, folder, expireEvery(10), func(o *Options) { faulty.Store, o.Store = o.Store, faulty })
			tbl := tableOf(t, l)
			var files []File
			for i := range uint64(60) {
				files = append(files, write(t, tbl, 2, i))
			}
			for i, f := range files {
				if i == 9 {
					full := errors.New("disk full")
					if op == blobtest.OpPut {
						faulty.FailNth(op, 4, blobtest.Fault{When: blobtest.Before, Err: full}) // manifest, list, metadata, then expiry's metadata
					} else {
						faulty.FailNth(op, 1, blobtest.Fault{When: blobtest.Before, Err: full})
					}
				}
				commit(t, tbl, Change{Add: []File{f}, Node: "n1", Mark: uint64(i + 1)})
				if want := int64(0); i >= 9 && l.ExpireFailures() != 1 || i < 9 && l.ExpireFailures() != want {
					t.Fatalf("after commit %d: %d failures", i, l.ExpireFailures())
				}
			}
			if n := len(tbl.current.Load().iceberg.Metadata().Snapshots()); n > 10 {
				t.Errorf("%d snapshots: expiry never came back", n)
			}
			checkPlan(t, tbl, folder)
		})
	}
}
