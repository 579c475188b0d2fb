package lake

import (
	"context"
	"errors"
	"math/rand/v2"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/apache/iceberg-go"

	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
)

func TestVerifyIntact(t *testing.T) {
	l := openFaulty(t)
	tbl := tableOf(t, l.Lake)
	commit(t, tbl, Change{Add: []File{write(t, tbl, 10, 1)}, Node: "n1", Mark: 1})
	commit(t, tbl, Change{Add: []File{write(t, tbl, 20, 2)}, Node: "n1", Mark: 2})
	write(t, tbl, 5, 3) // never committed
	var found []Finding
	for f, err := range l.Verify(t.Context(), "acme") {
		must(t, err)
		found = append(found, f)
	}
	if len(found) != 1 || found[0].Damage || !strings.HasPrefix(found[0].Detail, "2 data blobs intact with 30 rows,") || !strings.Contains(found[0].Detail, "; 1 data blobs (") {
		t.Errorf("findings = %+v", found)
	}
	for range l.Verify(t.Context(), "acme") {
		break // must not go on, nor panic
	}
}

// TestVerifyNamesTheDamage damages one blob after the other.
func TestVerifyNamesTheDamage(t *testing.T) {
	flip := func(data []byte) []byte {
		data = slices.Clone(data)
		data[len(data)/2] ^= 1
		return data
	}
	cut := func(data []byte) []byte { return data[:len(data)/2] }
	for name, c := range map[string]struct {
		part   string // pattern of the key to damage
		damage func([]byte) []byte
		want   string // in the detail
	}{
		"data bit flipped":       {"/data/", flip, "checksum "},
		"data cut":               {"/data/", cut, " bytes, want "},
		"data missing":           {"/data/", nil, "missing"},
		"manifest missing":       {`-m\d+\.avro$`, nil, "manifest missing"},
		"manifest cut":           {`-m\d+\.avro$`, cut, "manifest cannot be read"},
		"manifest list missing":  {"/snap-", nil, "manifest list missing"},
		"manifest list cut":      {"/snap-", cut, "manifest list cannot be read"},
		"metadata missing":       {"/00001-", nil, "table metadata missing"},
		"metadata bit flipped":   {"/00001-", flip, "table metadata cannot be read: "},
		"metadata cut":           {"/00001-", cut, "table metadata cannot be read: "},
		"metadata of some other": {"/00001-", func([]byte) []byte { return []byte("{}") }, "table metadata cannot be read: "},
	} {
		t.Run(name, func(t *testing.T) {
			l := openFaulty(t)
			tbl := tableOf(t, l.Lake)
			commit(t, tbl, Change{Add: []File{write(t, tbl, 100, 1)}, Node: "n1", Mark: 1})
			keys := blobtest.Keys(t, l.faulty, "")
			key := keys[slices.IndexFunc(keys, func(k string) bool { return regexp.MustCompile(c.part).MatchString(k) })]
			data := blobtest.Get(t, l.faulty, key)
			must(t, l.faulty.Store.Delete(t.Context(), key))
			if c.damage != nil {
				blobtest.Put(t, l.faulty, key, c.damage(data))
			}
			got := damages(t, l.Lake)
			if len(got) != 1 || !strings.HasPrefix(got[0], key+": ") || !strings.Contains(got[0], c.want) {
				t.Errorf("findings = %q, want one that names %s and says %q", got, key, c.want)
			}
			if strings.HasPrefix(c.want, "table metadata") {
				if _, err := tbl.Refresh(t.Context()); err != nil {
					t.Errorf("what this process has in memory is not good any more: %v", err)
				}
				if _, err := tbl.reload(t.Context()); err == nil || !strings.Contains(err.Error(), path.Base(key)) {
					t.Errorf("reading it again: %v, want an error that names %s", err, key)
				}
			}
		})
	}
}

// TestVerifyFindsChangedBytes changes bytes of manifests and of a manifest list, one at
// a time: what Verify does not report has no effect.
func TestVerifyFindsChangedBytes(t *testing.T) {
	l := openFaulty(t)
	tbl := tableOf(t, l.Lake)
	commit(t, tbl, Change{Add: []File{write(t, tbl, 100, 1), write(t, tbl, 70, 2)}, Node: "n1", Mark: 1})
	commit(t, tbl, Change{Add: []File{write(t, tbl, 90, 3)}, Remove: tbl.Snapshot().Files()[:1], Node: "n1", Mark: 2})
	// What the table says of its files, as far as somebody goes by it.
	read := func() (files []File, entries []iceberg.DataFile) {
		now, err := tbl.reload(t.Context())
		must(t, err)
		for df, err := range dataFiles(t.Context(), now.iceberg) {
			must(t, err)
			entries = append(entries, df)
		}
		return now.snapshot.Files(), entries
	}
	files, entries := read()
	list := tbl.current.Load().iceberg.CurrentSnapshot().ManifestList
	const every = 151
	from, silent := rand.IntN(every), 0 //nolint:gosec // which bytes
	for _, key := range blobtest.Keys(t, l.faulty, "") {
		if !strings.HasSuffix(key, ".avro") || strings.Contains(key, "/snap-") && !strings.HasSuffix(list, key) {
			continue
		}
		data := blobtest.Get(t, l.faulty, key)
		for at := from; at < len(data); at += every {
			damaged := slices.Clone(data)
			damaged[at] ^= 1 << (at % 8)
			must(t, l.faulty.Store.Delete(t.Context(), key))
			blobtest.Put(t, l.faulty, key, damaged)
			if len(damages(t, l.Lake)) > 0 {
				continue
			}
			silent++
			gotFiles, gotEntries := read()
			same := len(gotFiles) == len(files) && len(gotEntries) == len(entries)
			for i := range gotEntries {
				same = same && difference(gotEntries[i], entries[i]) == "" && gotFiles[i].Path == files[i].Path
			}
			if !same {
				t.Errorf("%s: byte %d of %d: not found, but the table differs", key, at, len(data))
			}
		}
		must(t, l.faulty.Store.Delete(t.Context(), key))
		blobtest.Put(t, l.faulty, key, data)
	}
	t.Logf("from byte %d: %d whose change has no effect", from, silent)
}

// TestVerifyComparesRows: the manifest entry of one file stands for another.
func TestVerifyComparesRows(t *testing.T) {
	l := openFaulty(t)
	tbl := tableOf(t, l.Lake)
	f := write(t, tbl, 10, 1)
	_, footer, err := encodeParquet(batchOf(t, interactions(11, july, 1)), func() {})
	must(t, err)
	must(t, tbl.describe(&f, footer))
	commit(t, tbl, Change{Add: []File{f}})
	if got := damages(t, l.Lake); !slices.Equal(got, []string{f.Path + ": holds 10 rows, manifest says 11"}) {
		t.Errorf("findings = %q", got)
	}
}

// TestVerifyComparesBounds: a reader that goes by wrong bounds skips rows.
func TestVerifyComparesBounds(t *testing.T) {
	l := openFaulty(t)
	tbl := tableOf(t, l.Lake)
	rows := batchOf(t, interactions(10, july, 1))
	f, err := tbl.Write(t.Context(), rows)
	must(t, err)
	_, footer, err := encodeParquet(batchOf(t, interactions(10, july, 2)), func() {})
	must(t, err)
	must(t, tbl.describe(&f, footer))
	commit(t, tbl, Change{Add: []File{f}})
	if got := damages(t, l.Lake); len(got) != 1 || !strings.HasPrefix(got[0], f.Path+": manifest has another ") {
		t.Errorf("findings = %q", got)
	}
}

// TestVerifyNeverGuesses: what cannot be read now is not called missing.
func TestVerifyNeverGuesses(t *testing.T) {
	l := openFaulty(t)
	tbl := tableOf(t, l.Lake)
	f := write(t, tbl, 10, 1)
	commit(t, tbl, Change{Add: []File{f}})
	l.faulty.Script(func(op blobtest.Op, key string) blobtest.Fault {
		if op == blobtest.OpRead && key == f.Path {
			return blobtest.Fault{When: blobtest.Before}
		}
		return blobtest.Fault{}
	})
	if got := damages(t, l.Lake); len(got) != 1 || !strings.HasPrefix(got[0], f.Path+": cannot be read: ") {
		t.Errorf("findings = %q", got)
	}
	l.faulty.Script(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for f, err := range l.Verify(ctx, "acme") {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("with an ended context: %+v, %v", f, err)
		}
	}
	for f, err := range l.Verify(t.Context(), "nobody") {
		if err == nil {
			t.Errorf("an organisation without a table: %+v", f)
		}
	}
}

// TestLakeOnAzure runs the life of a table against a real blob server.
func TestLakeOnAzure(t *testing.T) {
	folder := t.TempDir()
	store := blob.Retry(blobtest.Azurite(t).Store(t), blob.RetryPolicy{})
	open := func(cache string) *Lake {
		l, err := Open(t.Context(), Options{Store: store, CatalogPath: folder + "/catalog.db", CacheDir: folder + "/" + cache, ExpireEvery: 6})
		must(t, err)
		t.Cleanup(func() { must(t, l.Close()) })
		return l
	}
	l := open("warm")
	tbl := tableOf(t, l)
	if location := tbl.current.Load().iceberg.Location(); !strings.HasPrefix(location, "abfs://") {
		t.Errorf("location = %s", location)
	}
	for i := range uint64(8) {
		commit(t, tbl, Change{Add: []File{write(t, tbl, 10, i)}, Node: "n1", Mark: i + 1})
	}
	commit(t, tbl, Change{Remove: tbl.Snapshot().Files()[:4], Add: []File{write(t, tbl, 40, 9)}})
	cold := open("cold")
	s := tableOf(t, cold).Snapshot()
	if s.Rows() != 80 || s.Mark("n1") != 8 || len(s.Files()) != 5 {
		t.Errorf("reopened: %d rows in %d files at mark %d, want 80 in 5 at 8", s.Rows(), len(s.Files()), s.Mark("n1"))
	}
	for _, f := range s.Files() {
		_, release, err := cold.Local(t.Context(), f)
		must(t, err)
		release()
	}
	if got := damages(t, cold); len(got) != 0 {
		t.Errorf("Verify = %q", got)
	}
	if l.ExpireFailures() != 0 {
		t.Errorf("%d expiries failed", l.ExpireFailures())
	}
}
