package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwake/engine/blob"
)

// AcceptanceTest checks that the stores which open returns do what blob.Store
// promises. Each part of it opens its own, empty store.
func AcceptanceTest(t *testing.T, open func(*testing.T) blob.Store) {
	parts := []struct {
		name string
		run  func(*testing.T, blob.Store)
	}{
		{"round trip", testRoundTrip},
		{"ranges", testRanges},
		{"missing", testMissing},
		{"overwrite", testOverwrite},
		{"if absent", testIfAbsent},
		{"if absent race", testIfAbsentRace},
		{"overwrite race", testOverwriteRace},
		{"failing body", testFailingBody},
		{"list", testList},
		{"delete while listing", testDeleteWhileListing},
		{"delete many", testDeleteMany},
		{"keys", testKeys},
		{"bad keys", testBadKeys},
		{"context", testContext},
		{"large", testLarge},
		{"url", testURL},
	}
	for _, p := range parts {
		t.Run(p.name, func(t *testing.T) { p.run(t, open(t)) })
	}
}

func testRoundTrip(t *testing.T, s blob.Store) {
	before := time.Now().Add(-2 * time.Second) // stores keep whole seconds
	for _, data := range []string{"", "x", "hello, store", strings.Repeat("ab", 5000)} {
		Put(t, s, "round/trip", []byte(data))
		if got := Get(t, s, "round/trip"); string(got) != data {
			t.Errorf("%d bytes came back as %d", len(data), len(got))
		}
		info, err := s.Stat(t.Context(), "round/trip")
		if err != nil || info.Key != "round/trip" || info.Size != int64(len(data)) {
			t.Errorf("stat of %d bytes: %+v, %v", len(data), info, err)
		}
		if info.Modified.Before(before) || info.Modified.After(time.Now().Add(2*time.Second)) {
			t.Errorf("modified %v", info.Modified)
		}
	}
	half := bytes.NewReader([]byte("0123456789"))
	if _, err := half.Seek(5, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "half", half, false); err != nil {
		t.Fatal(err)
	}
	if got := Get(t, s, "half"); string(got) != "0123456789" {
		t.Errorf("a body that stood in its middle was stored as %q", got)
	}
}

func testRanges(t *testing.T, s blob.Store) {
	Put(t, s, "digits", []byte("0123456789"))
	Put(t, s, "empty", nil)
	for _, c := range []struct {
		key    string
		off, n int64
		want   string
	}{
		{"digits", 0, -1, "0123456789"},
		{"digits", 0, 10, "0123456789"},
		{"digits", 0, 1, "0"},
		{"digits", 0, 0, ""},
		{"digits", 3, 4, "3456"},
		{"digits", 3, -1, "3456789"},
		{"digits", 9, 1, "9"},
		{"digits", 8, 100, "89"},
		{"digits", 10, -1, ""},
		{"digits", 10, 5, ""},
		{"digits", 99, -1, ""},
		{"digits", 99, 5, ""},
		{"empty", 0, -1, ""},
		{"empty", 0, 0, ""},
		{"empty", 0, 7, ""},
		{"empty", 7, -1, ""},
	} {
		got, err := read(t.Context(), s, c.key, c.off, c.n)
		if err != nil || string(got) != c.want {
			t.Errorf("%s from %d, %d bytes: %q, %v; want %q", c.key, c.off, c.n, got, err, c.want)
		}
	}
	if _, err := read(t.Context(), s, "digits", -1, 3); err == nil {
		t.Error("a negative offset was accepted")
	}
	body, err := s.Get(t.Context(), "digits", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if err := body.Close(); err != nil {
		t.Errorf("close an unread body: %v", err)
	}
}

func testMissing(t *testing.T, s blob.Store) {
	Put(t, s, "folder/file", []byte("x"))
	for _, key := range []string{"nothing", "folder", "folder/other", "folder/file/below", "a/b/c/d"} {
		if _, err := s.Get(t.Context(), key, 0, -1); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("get %s: %v", key, err)
		}
		if _, err := s.Get(t.Context(), key, 0, 0); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("get nothing of %s: %v", key, err)
		}
		if _, err := s.Stat(t.Context(), key); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("stat %s: %v", key, err)
		}
	}
}

func testOverwrite(t *testing.T, s blob.Store) {
	Put(t, s, "k", []byte("first, and longer"))
	Put(t, s, "k", []byte("second"))
	if got := Get(t, s, "k"); string(got) != "second" {
		t.Errorf("got %q", got)
	}
}

func testIfAbsent(t *testing.T, s blob.Store) {
	for _, size := range []int{0, 10, 9 << 20} {
		key := fmt.Sprintf("absent/%d", size)
		first, second := bytes.Repeat([]byte("1"), size), bytes.Repeat([]byte("2"), size)
		if err := s.Put(t.Context(), key, bytes.NewReader(first), true); err != nil {
			t.Fatal(err)
		}
		if err := s.Put(t.Context(), key, bytes.NewReader(second), true); !errors.Is(err, blob.ErrExists) {
			t.Errorf("second put of %d bytes: %v", size, err)
		}
		if !bytes.Equal(Get(t, s, key), first) {
			t.Errorf("a refused put of %d bytes changed the object", size)
		}
		if err := s.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if err := s.Put(t.Context(), key, bytes.NewReader(second), true); err != nil {
			t.Errorf("put of %d bytes after a delete: %v", size, err)
		}
	}
}

// race has eight callers put one key at once, or three if their bodies are
// large enough to be sent in parts. Each body consists of its caller's number.
func race(s blob.Store, key string, size int, ifAbsent bool) (bodies [][]byte, errs []error) {
	racers := 8
	if size > 1<<20 {
		racers = 3
	}
	var wg sync.WaitGroup
	start := make(chan struct{})
	errs = make([]error, racers)
	for i := range racers {
		bodies = append(bodies, bytes.Repeat([]byte{byte('0' + i)}, size))
		wg.Go(func() {
			<-start
			errs[i] = s.Put(context.Background(), key, bytes.NewReader(bodies[i]), ifAbsent)
		})
	}
	close(start)
	wg.Wait()
	return bodies, errs
}

func testIfAbsentRace(t *testing.T, s blob.Store) {
	for round, size := range []int{1, 1000, 1000, 9 << 20} {
		key := fmt.Sprintf("new/folder-%d/object", round)
		bodies, errs := race(s, key, size, true)
		var winners []int
		for i, err := range errs {
			switch {
			case err == nil:
				winners = append(winners, i)
			case !errors.Is(err, blob.ErrExists):
				t.Errorf("%d bytes: racer %d: %v", size, i, err)
			}
		}
		if len(winners) != 1 {
			t.Fatalf("%d bytes: winners %v", size, winners)
		}
		if !bytes.Equal(Get(t, s, key), bodies[winners[0]]) {
			t.Errorf("%d bytes: the object is not the winner's", size)
		}
	}
}

// testOverwriteRace allows transient errors: callers who overwrite the same
// large object at once may take the blocks away from each other.
func testOverwriteRace(t *testing.T, s blob.Store) {
	for round, size := range []int{1, 1000, 9 << 20} {
		key := fmt.Sprintf("over/%d", round)
		bodies, errs := race(s, key, size, false)
		for i, err := range errs {
			if err != nil && !blob.IsTransient(err) {
				t.Errorf("%d bytes: racer %d: %v", size, i, err)
			}
		}
		got := Get(t, s, key)
		if !slices.ContainsFunc(bodies, func(b []byte) bool { return bytes.Equal(b, got) }) {
			t.Errorf("%d bytes: the object is nobody's", size)
		}
	}
}

func testLarge(t *testing.T, s blob.Store) {
	data := make([]byte, 20<<20+13)
	for i, r := 0, rand.New(rand.NewPCG(1, 2)); i < len(data); i += 8 {
		v := r.Uint64()
		for j := i; j < min(i+8, len(data)); j++ {
			data[j] = byte(v >> (8 * (j - i)))
		}
	}
	Put(t, s, "large", data)
	if !bytes.Equal(Get(t, s, "large"), data) {
		t.Fatal("20 MB came back differently")
	}
	const off, n = 8<<20 - 5, 8<<20 + 10 // over two block borders
	got, err := read(t.Context(), s, "large", off, n)
	if err != nil || !bytes.Equal(got, data[off:off+n]) {
		t.Errorf("range of a large object: %d bytes, %v", len(got), err)
	}
}

func testURL(t *testing.T, s blob.Store) {
	base := s.URL("")
	if !strings.Contains(base, "://") || !strings.HasSuffix(base, "/") {
		t.Errorf("base URL %q", base)
	}
	if got := s.URL("a/b c%20.parquet"); got != base+"a/b c%20.parquet" {
		t.Errorf("URL %q is not below %q", got, base)
	}
}
