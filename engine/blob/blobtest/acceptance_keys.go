package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"mailwake/engine/blob"
)

// brokenBody says that it has size bytes and fails after some of them.
type brokenBody struct {
	*bytes.Reader
	after int64
}

var errBroken = errors.New("the body is broken")

func (b *brokenBody) Read(p []byte) (int, error) {
	pos := b.Size() - int64(b.Len())
	if pos >= b.after {
		return 0, errBroken
	}
	return b.Reader.Read(p[:min(int64(len(p)), b.after-pos)])
}

// shortBody says that it has more bytes than it gives.
type shortBody struct{ *bytes.Reader }

func (b shortBody) Seek(off int64, whence int) (int64, error) {
	n, err := b.Reader.Seek(off, whence)
	if whence == io.SeekEnd {
		n += 10
	}
	return n, err
}

func testFailingBody(t *testing.T, s blob.Store) {
	for _, size := range []int{100, 9 << 20} {
		for _, ifAbsent := range []bool{false, true} {
			broken := &brokenBody{bytes.NewReader(make([]byte, size)), int64(size) - 50}
			err := s.Put(t.Context(), "broken", broken, ifAbsent)
			if !errors.Is(err, errBroken) || blob.IsTransient(err) {
				t.Errorf("%d bytes: %v", size, err)
			}
			err = s.Put(t.Context(), "short", shortBody{bytes.NewReader(make([]byte, size))}, ifAbsent)
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("short body of %d bytes: %v", size, err)
			}
		}
	}
	if keys := Keys(t, s, ""); len(keys) != 0 {
		t.Errorf("left behind: %q", keys)
	}
	Put(t, s, "kept", []byte("as it was"))
	broken := &brokenBody{bytes.NewReader(make([]byte, 100)), 50}
	if err := s.Put(t.Context(), "kept", broken, false); !errors.Is(err, errBroken) {
		t.Error(err)
	}
	if got := Get(t, s, "kept"); string(got) != "as it was" {
		t.Errorf("a failed put changed the object to %q", got)
	}
}

func testList(t *testing.T, s blob.Store) {
	keys := []string{
		"a!", "a-b", "a.b", "a/b", "a/b.c", "a/bc/d", "a/bd", "a0", "b/1", "b/10", "b/2", "B/1",
		"c/d/e/f", "c/d/e-f", "c/d.e", "é/1", "z z", "日本/語",
	}
	for i, key := range keys {
		Put(t, s, key, make([]byte, i))
	}
	for _, prefix := range []string{
		"", "a", "a/", "a/b", "a/b.", "a/bc/", "a/bc/d", "a/bc/d/", "b", "b/1", "B", "c/d", "c/d/e", "é", "日", "z ",
		"nothing", "/", "../", "./", "a//", "a/../b", ".tmp", ".tmp/", "\\",
	} {
		want := []string{}
		for _, k := range keys {
			if strings.HasPrefix(k, prefix) {
				want = append(want, k)
			}
		}
		slices.Sort(want)
		if got := Keys(t, s, prefix); !slices.Equal(got, want) {
			t.Errorf("list %q:\n got %q\nwant %q", prefix, got, want)
		}
	}
	for info, err := range s.List(t.Context(), "") {
		if err != nil || info.Size != int64(slices.Index(keys, info.Key)) || info.Modified.IsZero() {
			t.Errorf("listed as %+v, %v", info, err)
		}
	}
	n := 0
	for range s.List(t.Context(), "") { //nolint:errcheck // stops after the first
		if n++; n == 3 {
			break
		}
	}
	if n != 3 {
		t.Errorf("stopped after %d", n)
	}
}

func testDeleteWhileListing(t *testing.T, s blob.Store) {
	for i := range 20 {
		Put(t, s, fmt.Sprintf("folder-%d/object-%d", i%4, i), []byte("x"))
	}
	for info, err := range s.List(t.Context(), "folder-") {
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), info.Key); err != nil {
			t.Fatal(err)
		}
	}
	if keys := Keys(t, s, ""); len(keys) != 0 {
		t.Errorf("left: %q", keys)
	}
}

func testDeleteMany(t *testing.T, s blob.Store) {
	const n = 300
	var keys []string
	for i := range n {
		keys = append(keys, fmt.Sprintf("many/%03d/x", i))
	}
	var wg sync.WaitGroup
	for part := range slices.Chunk(keys, n/8) {
		wg.Go(func() {
			for _, key := range part {
				if err := s.Put(t.Context(), key, strings.NewReader("x"), false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	Put(t, s, "many/kept", []byte("x"))
	if got := len(Keys(t, s, "many/")); got != n+1 {
		t.Fatalf("%d keys listed", got)
	}
	keys = append(keys, keys[0], "many/missing", "nowhere/at/all", "many", "many/kept/below")
	for round := range 2 {
		if err := s.Delete(t.Context(), keys...); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	if got := Keys(t, s, ""); !slices.Equal(got, []string{"many/kept"}) {
		t.Errorf("left: %q", got)
	}
	if err := s.Delete(t.Context()); err != nil {
		t.Errorf("delete nothing: %v", err)
	}
	Put(t, s, keys[0], []byte("again"))
	if got := Get(t, s, keys[0]); string(got) != "again" {
		t.Errorf("got %q", got)
	}
}

func testKeys(t *testing.T, s blob.Store) {
	keys := []string{
		"with space/and  two", "100%", "100%25/%2e%2e/%2F", "a+b&c=d;e", "q?x=1#frag", "öäü/ß/日本語/🙂",
		"e\u0301", "\u00e9", "'quoted' \"twice\"", "...a", ".hidden/.tmp/x", "tmp", "a~b!(c)*[d]{e}|^`<f>:,@$",
		"month=2026-07/00000-0-abc.parquet", "UPPER", "upper", strings.Repeat("d", 255), strings.Repeat("e/", 449) + "ee",
	}
	for i, key := range keys {
		Put(t, s, key, fmt.Append(nil, i))
	}
	for i, key := range keys {
		if got := Get(t, s, key); string(got) != fmt.Sprint(i) {
			t.Errorf("%q holds %q, want %d", key, got, i)
		}
	}
	slices.Sort(keys)
	if got := Keys(t, s, ""); !slices.Equal(got, keys) {
		t.Errorf("list:\n got %q\nwant %q", got, keys)
	}
	if err := s.Delete(t.Context(), keys...); err != nil {
		t.Error(err)
	}
	if got := Keys(t, s, ""); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}

func testBadKeys(t *testing.T, s blob.Store) {
	for _, key := range []string{
		"", "/", "/abs", "end/", "a//b", ".", "..", "../up", "a/../b", "a/..", "a/./b", "dot.", "a./b", "a\\b", "..\\up",
		"nul\x00", "line\n", "\x7f", "bad\xff", ".tmp", ".tmp/x", strings.Repeat("k", 256), strings.Repeat("k/", 450) + "k",
	} {
		ctx := t.Context()
		_, errGet := s.Get(ctx, key, 0, -1)
		_, errStat := s.Stat(ctx, key)
		errs := []error{errGet, errStat, s.Put(ctx, key, strings.NewReader("x"), false), s.Delete(ctx, "fine", key)}
		for i, err := range errs {
			if !errors.Is(err, blob.ErrKey) {
				t.Errorf("key %q, %s: %v", key, []string{"get", "stat", "put", "delete"}[i], err)
			}
		}
	}
}

func testContext(t *testing.T, s blob.Store) {
	Put(t, s, "there", bytes.Repeat([]byte("x"), 1<<20))
	ctx, cancel := context.WithCancel(t.Context())
	body, err := s.Get(ctx, "there", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, body); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("read: %v", err) // a store may have had all bytes at hand
	}
	if err := body.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	_, errGet := s.Get(ctx, "there", 0, -1)
	_, errStat := s.Stat(ctx, "there")
	var errList error
	for _, err := range s.List(ctx, "") {
		errList = err
	}
	errs := []error{errGet, errStat, errList, s.Put(ctx, "new", strings.NewReader("x"), false), s.Delete(ctx, "there")}
	for i, err := range errs {
		if !errors.Is(err, context.Canceled) || blob.IsTransient(err) {
			t.Errorf("%s: %v", []string{"get", "stat", "list", "put", "delete"}[i], err)
		}
	}
	if keys := Keys(t, s, ""); !slices.Equal(keys, []string{"there"}) {
		t.Errorf("keys %q", keys)
	}
	testCancelHalfway(t, s)
}

// cancellingBody ends its context when half of it has been read.
type cancellingBody struct {
	*bytes.Reader
	cancel context.CancelFunc
}

func (b *cancellingBody) Read(p []byte) (int, error) {
	if int64(b.Len()) <= b.Size()/2 {
		b.cancel()
	}
	return b.Reader.Read(p[:min(len(p), 64<<10)])
}

func testCancelHalfway(t *testing.T, s blob.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Put(ctx, "half", &cancellingBody{bytes.NewReader(make([]byte, 10<<20)), cancel}, false)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	if _, err := s.Stat(t.Context(), "half"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("a cancelled put left something: %v", err)
	}
}
