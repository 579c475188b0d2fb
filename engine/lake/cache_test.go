package lake

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
)

// cacheTest is a cache before a store that counts.
type cacheTest struct {
	*testing.T
	dir   string
	store *blobtest.Faulty
	files []File
}

func newCacheTest(t *testing.T) *cacheTest {
	c := &cacheTest{T: t, dir: t.TempDir(), store: blobtest.NewFaulty(blob.Mem("cache"))}
	for _, name := range []string{"a", "b", "c"} {
		data := []byte(strings.Repeat(name, 100))
		f := File{Path: "w/acme/interactions/data/2026-07/" + name + dataSuffix, Bytes: 100}
		f.Sum = sumOfBytes(data)
		blobtest.Put(t, c.store, f.Path, data)
		c.files = append(c.files, f)
	}
	return c
}

func (c *cacheTest) open(limit int64) *cache {
	c.Helper()
	opened, err := openCache(c.dir, limit)
	must(c, err)
	return opened
}

// get reads file i through the cache and reports how often the store was asked.
func (c *cacheTest) get(from *cache, i int) (fetches int, release func()) {
	c.Helper()
	before := c.store.Calls(blobtest.OpGet)
	path, release, err := from.get(c.Context(), c.store, c.files[i])
	must(c, err)
	data, err := os.ReadFile(path)
	must(c, err)
	if sumOfBytes(data) != c.files[i].Sum {
		c.Fatalf("file %d reads %q", i, data)
	}
	return c.store.Calls(blobtest.OpGet) - before, release
}

// want gets file i, expects it to be fetched so often, and releases it.
func (c *cacheTest) want(from *cache, i, fetches int) {
	c.Helper()
	got, release := c.get(from, i)
	release()
	release() // a second time does nothing
	if got != fetches {
		c.Fatalf("file %d was fetched %d times, want %d", i, got, fetches)
	}
}

// onDisk lists the names in the cache folder.
func (c *cacheTest) onDisk() string {
	c.Helper()
	entries, err := os.ReadDir(filepath.Join(c.dir, "w/acme/interactions/data/2026-07"))
	must(c, err)
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), dataSuffix))
	}
	return strings.Join(names, " ")
}

func TestCacheEvictsWhatIsOldAndUnused(t *testing.T) {
	c := newCacheTest(t)
	cache := c.open(200)
	c.want(cache, 0, 1)
	c.want(cache, 1, 1)
	c.want(cache, 0, 0)
	c.want(cache, 2, 1) // b was used longest ago
	if got := c.onDisk(); got != "a c" {
		t.Fatalf("on disk %q, want a c", got)
	}
	_, releaseA := c.get(cache, 0)
	_, releaseC := c.get(cache, 2)
	_, releaseB := c.get(cache, 1) // all in use: over the limit
	if got := c.onDisk(); got != "a b c" {
		t.Fatalf("on disk %q, want a b c: a file in use was removed", got)
	}
	releaseA()
	if got := c.onDisk(); got != "b c" {
		t.Fatalf("on disk %q, want b c", got)
	}
	releaseB()
	releaseC()
	if cache.mu.bytes != 200 {
		t.Fatalf("%d bytes counted, want 200", cache.mu.bytes)
	}
}

func TestCacheSurvivesRestart(t *testing.T) {
	c := newCacheTest(t)
	first := c.open(1000)
	for i := range c.files {
		c.want(first, i, 1)
	}
	c.want(c.open(1000), 0, 0)
	part := filepath.Join(filepath.Dir(first.path(c.files[0].Path)), partPrefix+"x")
	must(t, os.WriteFile(part, []byte("half"), 0o600))
	must(t, os.WriteFile(first.path(c.files[1].Path), []byte(strings.Repeat("x", 100)), 0o600))
	must(t, os.WriteFile(first.path(c.files[2].Path), []byte("cc"), 0o600))
	again := c.open(1000)
	if _, err := os.Stat(part); err == nil {
		t.Error("an incomplete copy was kept")
	}
	c.want(again, 0, 0)
	c.want(again, 1, 1) // damaged
	c.want(again, 2, 1) // cut short
	c.want(again, 2, 0)
	if again.mu.bytes != 300 {
		t.Errorf("%d bytes counted, want 300", again.mu.bytes)
	}
	must(t, os.RemoveAll(c.dir))
	c.want(again, 0, 1) // somebody cleared the folder
	must(t, os.MkdirAll(c.dir, 0o750))
	if small := c.open(50); small.mu.bytes != 0 || len(small.mu.entries) != 0 {
		t.Errorf("a smaller cache kept %d bytes", small.mu.bytes)
	}
}

func TestCacheRefusesBadBlobs(t *testing.T) {
	c := newCacheTest(t)
	cache := c.open(1000)
	for name, data := range map[string]string{"bytes": strings.Repeat("x", 100), "short": "a", "long": strings.Repeat("a", 101)} {
		blobtest.Put(t, c.store, c.files[0].Path, []byte(data))
		var corrupt *CorruptError
		if _, _, err := cache.get(t.Context(), c.store, c.files[0]); !errors.As(err, &corrupt) || corrupt.Key != c.files[0].Path {
			t.Errorf("%s: get = %v, want a CorruptError that names the blob", name, err)
		}
		if got := c.onDisk(); got != "" {
			t.Errorf("%s: left %q on disk", name, got)
		}
	}
	missing := c.files[0]
	missing.Path = "w/none" + dataSuffix
	if _, _, err := cache.get(t.Context(), c.store, missing); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("get of a missing blob = %v", err)
	}
	outside := c.files[0]
	outside.Path = "../../etc/x" + dataSuffix
	if _, _, err := cache.get(t.Context(), c.store, outside); !errors.Is(err, blob.ErrKey) {
		t.Errorf("get of a key outside = %v, want ErrKey", err)
	}
	blobtest.Put(t, c.store, c.files[0].Path, []byte(strings.Repeat("a", 100)))
	c.want(cache, 0, 1) // repaired: no error sticks
}

// TestCacheFetchesOnce: many ask for one blob at once; the first one's context
// ends, then the second fetches for all the others.
func TestCacheFetchesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCacheTest(t)
		cache := c.open(1000)
		hold := make(chan struct{})
		c.store.Script(func(op blobtest.Op, _ string) blobtest.Fault {
			if op == blobtest.OpGet {
				<-hold
			}
			return blobtest.Fault{}
		})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, _, err := cache.get(ctx, c.store, c.files[0]); !errors.Is(err, context.Canceled) {
				t.Errorf("get with an ended context = %v", err)
			}
		})
		synctest.Wait()
		for range 7 {
			wg.Go(func() {
				_, release, err := cache.get(t.Context(), c.store, c.files[0])
				must(t, err)
				release()
			})
		}
		impatient, stop := context.WithCancel(t.Context())
		wg.Go(func() {
			if _, _, err := cache.get(impatient, c.store, c.files[0]); !errors.Is(err, context.Canceled) {
				t.Errorf("get that no longer waits = %v", err)
			}
		})
		synctest.Wait()
		stop()
		synctest.Wait()
		cancel()
		close(hold)
		wg.Wait()
		if got := c.store.Calls(blobtest.OpGet); got != 2 {
			t.Errorf("%d fetches, want 2", got)
		}
	})
}

func TestWriteFillsTheCache(t *testing.T) {
	l := openFaulty(t)
	tbl := tableOf(t, l.Lake)
	f := write(t, tbl, 100, 1)
	commit(t, tbl, Change{Add: []File{f}})
	before := l.faulty.Calls(blobtest.OpGet)
	path, release, err := l.Local(t.Context(), tbl.Snapshot().Files()[0])
	must(t, err)
	defer release()
	if got := l.faulty.Calls(blobtest.OpGet) - before; got != 0 {
		t.Errorf("%d fetches of a blob just written", got)
	}
	data, err := os.ReadFile(path)
	must(t, err)
	if sumOfBytes(data) != f.Sum {
		t.Error("the copy is not the blob")
	}
	cold := l.reopen()
	path, release, err = cold.Local(t.Context(), tableOf(t, cold).Snapshot().Files()[0])
	must(t, err)
	defer release()
	if copied, err := os.ReadFile(path); err != nil || !slices.Equal(copied, data) {
		t.Errorf("a cold cache reads something else: %v", err)
	}
}

func TestLocalOfAFolderIsTheBlob(t *testing.T) {
	folder := t.TempDir()
	l := dirLake(t, folder)
	f := write(t, tableOf(t, l), 10, 1)
	path, release, err := l.Local(t.Context(), f)
	must(t, err)
	release()
	if want := filepath.Join(folder, "blobs", filepath.FromSlash(f.Path)); path != want {
		t.Errorf("path = %s, want %s", path, want)
	}
	must(t, os.Truncate(path, 10))
	var corrupt *CorruptError
	if _, _, err := l.Local(t.Context(), f); !errors.As(err, &corrupt) || corrupt.Key != f.Path {
		t.Errorf("Local of a truncated blob = %v", err)
	}
	must(t, os.Remove(path))
	if _, _, err := l.Local(t.Context(), f); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Local of a missing blob = %v", err)
	}
}
