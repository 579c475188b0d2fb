package blob_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
)

// TestDirLeftovers: what a crash between the steps of Put leaves behind is never
// seen, and goes away once it is surely nobody's.
func TestDirLeftovers(t *testing.T) {
	root := t.TempDir()
	d := openDir(t, root)
	blobtest.Put(t, d, "org/kept", []byte("kept"))
	fresh, old := filepath.Join(root, ".tmp", "FRESH"), filepath.Join(root, ".tmp", "OLD")
	for _, name := range []string{fresh, old} {
		if err := os.WriteFile(name, []byte("half an obj"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	yesterday := time.Now().Add(-24 * time.Hour)
	if err := os.Chtimes(old, yesterday, yesterday); err != nil {
		t.Fatal(err)
	}
	// A crash after the link, before the temporary name was removed.
	if err := os.Link(fresh, filepath.Join(root, "org", "linked")); err != nil {
		t.Fatal(err)
	}
	d = openDir(t, root)
	if got := blobtest.Keys(t, d, ""); !slices.Equal(got, []string{"org/kept", "org/linked"}) {
		t.Errorf("keys %q", got)
	}
	if err := d.Put(t.Context(), "org/linked", strings.NewReader("x"), true); !errors.Is(err, blob.ErrExists) {
		t.Errorf("put over a linked object: %v", err)
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Errorf("a file that may be in use was removed: %v", err)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an abandoned file is still there: %v", err)
	}
}

// TestDirLeavesNoTemp: whether Put succeeds or not, nothing stays in .tmp.
func TestDirLeavesNoTemp(t *testing.T) {
	root := t.TempDir()
	d := openDir(t, root)
	blobtest.Put(t, d, "a", []byte("x"))
	_ = d.Put(t.Context(), "a", strings.NewReader("y"), true)   // exists
	_ = d.Put(t.Context(), "a/b", strings.NewReader("y"), true) // below an object
	if err := d.Put(t.Context(), "b", strings.NewReader("y"), true); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Join(root, ".tmp"))
	if err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestDirSymlinks(t *testing.T) {
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	d := openDir(t, root)
	if err := errors.Join(os.Symlink(secret, filepath.Join(root, "file")), os.Symlink(outside, filepath.Join(root, "folder"))); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"file", "folder/secret"} {
		if body, err := d.Get(t.Context(), key, 0, -1); err == nil {
			t.Errorf("get %s left the folder", key)
			_ = body.Close()
		}
		if _, err := d.Stat(t.Context(), key); err == nil {
			t.Errorf("stat %s left the folder", key)
		}
	}
	if err := d.Put(t.Context(), "folder/new", strings.NewReader("x"), false); err == nil {
		t.Error("put left the folder")
	}
	if got := blobtest.Keys(t, d, ""); len(got) != 0 {
		t.Errorf("listed %q", got)
	}
	blobtest.Put(t, d, "file", []byte("mine")) // replaces the link, not its target
	_ = d.Delete(t.Context(), "folder/secret")
	if got, err := os.ReadFile(secret); err != nil || string(got) != "secret" {
		t.Errorf("outside: %q, %v", got, err)
	}
}

// TestDirDeleteRemovesFolders: no trace of an organisation stays.
func TestDirDeleteRemovesFolders(t *testing.T) {
	root := t.TempDir()
	d := openDir(t, root)
	for _, key := range []string{"org1/t/a/1", "org1/t/b/2", "org2/t/3"} {
		blobtest.Put(t, d, key, []byte("x"))
	}
	if err := d.Delete(t.Context(), "org1/t/a/1"); err != nil {
		t.Fatal(err)
	}
	if got := folders(t, root); !slices.Equal(got, []string{"org1", "org1/t", "org1/t/b", "org2", "org2/t"}) {
		t.Errorf("folders %q", got)
	}
	if err := d.Delete(t.Context(), "org1/t/b/2"); err != nil {
		t.Fatal(err)
	}
	if got := folders(t, root); !slices.Equal(got, []string{"org2", "org2/t"}) {
		t.Errorf("folders %q", got)
	}
	blobtest.Put(t, d, "org1/t/a/1", []byte("again"))
	if got := blobtest.Get(t, d, "org1/t/a/1"); string(got) != "again" {
		t.Errorf("got %q", got)
	}
}

func folders(t *testing.T, root string) []string {
	t.Helper()
	var found []string
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, e fs.DirEntry, err error) error {
		if e.IsDir() && name != "." && name != ".tmp" {
			found = append(found, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestLocalPath(t *testing.T) {
	root := t.TempDir()
	d := openDir(t, root)
	blobtest.Put(t, d, "a/b.parquet", []byte("x"))
	wrapped := blob.Retry(blob.Meter(blob.Limit(d, 1)), blob.RetryPolicy{})
	path, ok := blob.LocalPath(wrapped, "a/b.parquet")
	if got, err := os.ReadFile(path); !ok || err != nil || string(got) != "x" {
		t.Errorf("%s: %q, %v", path, got, err)
	}
	if want := "file://" + path; d.URL("a/b.parquet") != want {
		t.Errorf("URL %s, want %s", d.URL("a/b.parquet"), want)
	}
	if got := d.LocalPath("../x"); got != "" {
		t.Errorf("a key led to %s", got)
	}
	if _, ok := blob.LocalPath(blob.Retry(blob.Mem("m"), blob.RetryPolicy{}), "a"); ok {
		t.Error("a store in memory has a path")
	}
}

// crashRoot is set in the process that TestDirKill kills.
const crashRoot = "BLOB_TEST_CRASH_ROOT"

// TestDirKill kills a writer at any moment: what it acknowledged is complete,
// and nothing incomplete can be seen.
func TestDirKill(t *testing.T) {
	if root := os.Getenv(crashRoot); root != "" {
		writeUntilKilled(root)
	}
	for round := range 4 {
		root := t.TempDir()
		acked := runAndKill(t, root, 3+7*round)
		d := openDir(t, root)
		seen := blobtest.Keys(t, d, "")
		for _, key := range acked {
			if !slices.Contains(seen, key) {
				t.Errorf("acknowledged %s is gone", key)
			}
		}
		for _, key := range seen {
			if got := blobtest.Get(t, d, key); !bytes.Equal(got, crashBody(key)) {
				t.Errorf("%s has %d bytes, not the right ones", key, len(got))
			}
		}
	}
}

// runAndKill kills the writer after n acknowledgements, in the middle of the
// next Put, and returns all of them.
func runAndKill(t *testing.T, root string, n int) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDirKill$") //nolint:gosec // this very binary
	cmd.Env = append(os.Environ(), crashRoot+"="+root)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var acked []string
	for in := bufio.NewScanner(out); in.Scan(); {
		acked = append(acked, in.Text())
		if len(acked) == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || len(acked) < n {
		t.Fatalf("the writer ended by itself after %d: %q", len(acked), acked)
	}
	return acked
}

func writeUntilKilled(root string) {
	d, err := blob.Dir(root)
	for i := 0; err == nil; i++ {
		key := fmt.Sprintf("f%d/k%d", i/3, i)
		if err = d.Put(context.Background(), key, bytes.NewReader(crashBody(key)), i%2 == 0); err == nil {
			fmt.Println(key)
		}
	}
	fmt.Println(err)
	os.Exit(3)
}

func crashBody(key string) []byte { return bytes.Repeat([]byte(key+"\n"), 60_000) }

// TestDirPutWhileFoldersGo: Delete must not take the folder away from a Put
// that is about to use it.
func TestDirPutWhileFoldersGo(t *testing.T) {
	d := openDir(t, t.TempDir())
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			key := fmt.Sprintf("a/b/c/k%d", i)
			for range 60 {
				if err := d.Put(t.Context(), key, strings.NewReader("x"), i%2 == 0); err != nil {
					t.Error(err)
				}
				if err := d.Delete(t.Context(), key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// TestDrafts: a folder store takes a draft without copying it, again if need be, and
// never over what is there; others copy it.
func TestDrafts(t *testing.T) {
	root := t.TempDir()
	d := openDir(t, root)
	wrapped := blob.Retry(blob.Meter(blob.Limit(d, 1)), blob.RetryPolicy{})
	dir, ok := blob.DraftFolder(wrapped)
	if !ok {
		t.Fatal("a folder store has no folder of drafts")
	}
	if _, ok := blob.DraftFolder(blob.Retry(blob.Mem("m"), blob.RetryPolicy{})); ok {
		t.Error("a store in memory has one")
	}
	draft, err := blob.NewDraft(dir, "made-")
	if err != nil {
		t.Fatal(err)
	}
	body := bytes.Repeat([]byte("0123456789"), 1<<18)
	for part := range slices.Chunk(body, 100_000) {
		if n, err := draft.Write(part); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	is, err := draft.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for try := range 2 {
		if err := wrapped.Put(t.Context(), "org/taken", draft.File, true); try == 0 && err != nil || try == 1 && !errors.Is(err, blob.ErrExists) {
			t.Errorf("try %d: %v", try, err)
		}
	}
	if err := draft.Close(); err != nil {
		t.Fatal(err)
	}
	if err := blob.RemoveDrafts(dir, "other-"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(draft.Name()); err != nil {
		t.Error("somebody else's draft was removed")
	}
	if err := blob.RemoveDrafts(dir, "made-"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(draft.Name()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the draft is still there: %v", err)
	}
	path := d.LocalPath("org/taken")
	if info, err := os.Stat(path); err != nil || !os.SameFile(info, is) || info.Mode().Perm() != 0o640 {
		t.Errorf("it was copied: %v, %v", info, err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
