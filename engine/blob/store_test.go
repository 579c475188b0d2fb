package blob_test

import (
	"testing"

	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
)

func TestMem(t *testing.T) {
	blobtest.AcceptanceTest(t, func(*testing.T) blob.Store { return blob.Mem("test") })
}

func TestDir(t *testing.T) {
	t.Parallel()
	blobtest.AcceptanceTest(t, func(t *testing.T) blob.Store { return openDir(t, t.TempDir()) })
}

// TestWrapped runs the suite through all wrappers: none of them may change what
// a store does.
func TestWrapped(t *testing.T) {
	t.Parallel()
	blobtest.AcceptanceTest(t, func(t *testing.T) blob.Store {
		s := blobtest.NewFaulty(openDir(t, t.TempDir()))
		return blob.Retry(blob.Meter(blob.Limit(s, 1)), blob.RetryPolicy{})
	})
}

func openDir(t *testing.T, root string) *blob.DirStore {
	t.Helper()
	d, err := blob.Dir(root)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
