package lake

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"mailwake/engine/blob"
)

// TestReceiver: files are taken where they lie, as blob or as copy of one; of those
// that were not taken nothing is left, also after a crash, nor is any taken that was
// made elsewhere.
func TestReceiver(t *testing.T) {
	for name, store := range map[string]func(root string) blob.Store{
		"folder": func(root string) blob.Store {
			d, err := blob.Dir(root)
			must(t, err)
			return d
		},
		"elsewhere": func(string) blob.Store { return blob.Mem("receiver") },
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			l, err := Open(t.Context(), Options{Store: store(filepath.Join(root, "blobs")), CatalogPath: filepath.Join(root, "catalog.db"), CacheDir: filepath.Join(root, "cache")})
			must(t, err)
			defer l.Close()
			tbl := tableOf(t, l)
			in := tbl.Receive()
			texts := NewTexts()
			var made []Made
			maker := NewMaker(in.Place(), func(_ context.Context, m Made) error { made = append(made, m); return nil })
			rows := interactions(3000, july, 4)
			for range 2 {
				e := NewEncoder(maker, texts, EncoderOptions{Rules: 2})
				must(t, e.Write(t.Context(), rowsOf(texts, rows)))
				must(t, e.Finish(t.Context()))
			}
			is, err := os.Stat(made[0].Local)
			must(t, err)
			must(t, in.Take(t.Context(), made[0]))
			files := in.Files()
			if len(files) != 1 || files[0].Rules != 2 || files[0].Rows != 3000 || files[0].Bytes != is.Size() {
				t.Fatalf("%+v", files)
			}
			must(t, checkBlob(t.Context(), l.opts.Store, files[0]))
			path, release, err := l.Local(t.Context(), files[0])
			must(t, err)
			defer release()
			if info, err := os.Stat(path); err != nil || !os.SameFile(info, is) {
				t.Errorf("it was copied: %v", err)
			}
			if got := readAll(t, l, files[0]); !slices.Equal(got, rows) {
				t.Error("other rows came back")
			}
			foreign := made[1]
			foreign.Local = path
			if err := in.Take(t.Context(), foreign); !errors.Is(err, ErrBatch) {
				t.Errorf("a file from elsewhere: %v", err)
			}
			crashed := tbl.Receive()
			must(t, errors.Join(func() error { _, err := crashed.Write([]byte("half a f")); return err }(), crashed.buffer.Flush()))
			half := crashed.draft.Name()
			must(t, in.Close())
			if _, err := os.Stat(made[1].Local); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("what was not taken is still there: %v", err)
			}
			if _, err := os.Stat(half); err != nil {
				t.Errorf("another Receiver's file is gone: %v", err)
			}
			lead, ok, err := l.Lead(t.Context())
			if must(t, err); !ok {
				t.Fatal("nobody else leads")
			}
			lead()
			if _, err := os.Stat(half); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("what a crash left is still there: %v", err)
			}
		})
	}
}
