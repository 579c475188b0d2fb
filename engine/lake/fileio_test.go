package lake

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
)

// TestEverythingGoesThroughTheStore: the store syncs, iceberg-go's LocalFS does
// not, so no file may get there by another way.
func TestEverythingGoesThroughTheStore(t *testing.T) {
	folder := t.TempDir()
	var mu sync.Mutex
	put := map[string]bool{}
	tbl := tableOf(t, dirLake(t, folder, func(o *Options) {
		s := blobtest.NewFaulty(o.Store)
		s.Script(func(op blobtest.Op, key string) blobtest.Fault {
			mu.Lock()
			defer mu.Unlock()
			if op == blobtest.OpPut {
				put[key] = true
			}
			return blobtest.Fault{}
		})
		o.Store, o.ExpireEvery = s, 10
	}))
	for i := range uint64(15) {
		commit(t, tbl, Change{Add: []File{write(t, tbl, 10, i)}, Node: "n1", Mark: i + 1})
	}
	root := filepath.Join(folder, "blobs")
	files := 0
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		key, err := filepath.Rel(root, path)
		if !put[filepath.ToSlash(key)] {
			t.Errorf("%s was not put by the store", key)
		}
		return err
	}))
	if files < 30 {
		t.Errorf("only %d files", files)
	}
}

func TestFileIO(t *testing.T) {
	s := blob.Mem("io")
	io := &fileIO{ctx: t.Context(), store: s}
	a, data := s.URL("t/metadata/a.avro"), s.URL("t/data/a.parquet")
	must(t, io.WriteFile(a, []byte("hello")))
	blobtest.Put(t, s, "t/data/a.parquet", []byte("rows"))

	deleted, err := io.DeleteFiles(t.Context(), []string{a, a, s.URL("t/metadata/never")})
	if err != nil || len(deleted) != 3 {
		t.Errorf("DeleteFiles of gone files = %v, %v", deleted, err)
	}
	must(t, io.Remove(a))
	must(t, io.WriteFile(a, []byte("hello")))
	if _, err := io.DeleteFiles(t.Context(), []string{data, a}); err == nil {
		t.Error("DeleteFiles took a data blob")
	}
	if keys := blobtest.Keys(t, s, ""); !slices.Equal(keys, []string{"t/data/a.parquet"}) {
		t.Errorf("left = %v, want the data blob alone", keys)
	}
	if _, err := io.ReadFile(a); !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("ReadFile of a gone file = %v, want both ErrNotExist and ErrNotFound", err)
	}
	for _, location := range []string{"mem://other/x", "/etc/passwd", "file:///etc/passwd"} {
		if _, err := io.Open(location); err == nil {
			t.Errorf("Open(%s) left the store", location)
		}
	}
	w, err := io.Create(a)
	must(t, err)
	_, err = w.Write([]byte("hello, world"))
	must(t, err)
	if _, err := s.Stat(t.Context(), "t/metadata/a.avro"); err == nil {
		t.Error("a file is there before it is complete")
	}
	must(t, w.Close())
	r, err := io.Open(a)
	must(t, err)
	part := make([]byte, 5)
	if _, err := r.ReadAt(part, 7); err != nil || string(part) != "world" {
		t.Errorf("ReadAt = %q, %v", part, err)
	}
	info, err := r.Stat()
	if err != nil || info.Size() != 12 || info.Name() != "a.avro" {
		t.Errorf("Stat = %v, %v", info, err)
	}
}
