package blob_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
)

func TestRetryPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := blobtest.NewFaulty(blob.Mem("m"))
		f.Script(func(blobtest.Op, string) blobtest.Fault { return blobtest.Fault{When: blobtest.Before} })
		var waits []time.Duration
		s := blob.Retry(f, blob.RetryPolicy{Tries: 6, First: time.Second, Max: 5 * time.Second,
			Notify: func(_, _ string, _ int, wait time.Duration, _ error) { waits = append(waits, wait) }})
		start := time.Now()
		_, err := s.Stat(t.Context(), "k")
		if !blob.IsTransient(err) || !errors.Is(err, blobtest.ErrInjected) || !strings.Contains(err.Error(), "tried 6 times") {
			t.Errorf("error %v", err)
		}
		if f.Calls(blobtest.OpStat) != 6 || len(waits) != 5 {
			t.Errorf("%d calls, waits %v", f.Calls(blobtest.OpStat), waits)
		}
		var sum time.Duration
		for i, most := range []time.Duration{1, 2, 4, 5, 5} {
			sum += waits[i]
			if most *= time.Second; waits[i] < most/2 || waits[i] > most {
				t.Errorf("wait %d: %v, want %v to %v", i, waits[i], most/2, most)
			}
		}
		if got := time.Since(start); got != sum {
			t.Errorf("took %v, waits add up to %v", got, sum)
		}
	})
}

func TestRetryContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := blobtest.NewFaulty(blob.Mem("m"))
		f.Script(func(blobtest.Op, string) blobtest.Fault { return blobtest.Fault{When: blobtest.Before} })
		s := blob.Retry(f, blob.RetryPolicy{First: time.Hour, Max: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		err := s.Delete(ctx, "k")
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestRetryNotTransient(t *testing.T) {
	f := blobtest.NewFaulty(blob.Mem("m"))
	permanent := errors.New("permanent")
	f.FailNth(blobtest.OpPut, 1, blobtest.Fault{When: blobtest.Before, Err: permanent})
	s := blob.Retry(f, blob.RetryPolicy{})
	if err := s.Put(t.Context(), "k", strings.NewReader("x"), false); !errors.Is(err, permanent) {
		t.Error(err)
	}
	if _, err := s.Stat(t.Context(), "k"); !errors.Is(err, blob.ErrNotFound) {
		t.Error(err)
	}
	if f.Calls(blobtest.OpPut) != 1 || f.Calls(blobtest.OpStat) != 1 {
		t.Error("a permanent error was tried again")
	}
}

// TestRetryPutIfAbsent: the answer of the first try is lost, before or after it
// took effect, and another writer may have been there.
func TestRetryPutIfAbsent(t *testing.T) {
	for _, c := range []struct {
		name  string
		there string // stored by somebody else beforehand, "" for nothing
		when  blobtest.When
		stat  blobtest.When // fault of the comparison
		want  error
	}{
		{"lost before", "", blobtest.Before, blobtest.Never, nil},
		{"lost after", "", blobtest.After, blobtest.Never, nil},
		{"lost after, comparison fails once", "", blobtest.After, blobtest.Before, nil},
		{"somebody else's", "theirs", blobtest.Before, blobtest.Never, blob.ErrExists},
		{"somebody else's of the same size", "ourz", blobtest.Before, blobtest.Never, blob.ErrExists},
		{"somebody else's, first try", "theirs", blobtest.Never, blobtest.Never, blob.ErrExists},
		{"the same bytes, first try", "ours", blobtest.Never, blobtest.Never, blob.ErrExists},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := blob.Mem("m")
				want := "ours"
				if c.there != "" {
					blobtest.Put(t, mem, "k", []byte(c.there))
					want = c.there
				}
				f := blobtest.NewFaulty(mem)
				f.FailNth(blobtest.OpPut, 1, blobtest.Fault{When: c.when})
				f.FailNth(blobtest.OpStat, 1, blobtest.Fault{When: c.stat})
				err := blob.Retry(f, blob.RetryPolicy{}).Put(t.Context(), "k", strings.NewReader("ours"), true)
				if !errors.Is(err, c.want) || c.want == nil && err != nil {
					t.Errorf("error %v, want %v", err, c.want)
				}
				if got := blobtest.Get(t, mem, "k"); string(got) != want {
					t.Errorf("stored %q, want %q", got, want)
				}
			})
		})
	}
}

// TestRetryAll: every operation survives a fault before and one after.
func TestRetryAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := blobtest.NewFaulty(blob.Mem("m"))
		for _, op := range []blobtest.Op{blobtest.OpPut, blobtest.OpGet, blobtest.OpStat, blobtest.OpList, blobtest.OpDelete} {
			f.FailNth(op, 1, blobtest.Fault{When: blobtest.Before})
			f.FailNth(op, 2, blobtest.Fault{When: blobtest.After})
		}
		s := blob.Retry(f, blob.RetryPolicy{})
		for _, key := range []string{"a", "b", "c"} {
			blobtest.Put(t, s, key, []byte("of "+key))
		}
		if got := blobtest.Get(t, s, "b"); string(got) != "of b" {
			t.Errorf("got %q", got)
		}
		if info, err := s.Stat(t.Context(), "b"); err != nil || info.Size != 4 {
			t.Errorf("%+v, %v", info, err)
		}
		if got := blobtest.Keys(t, s, ""); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("a list that broke off after its end was resumed as %q", got)
		}
		if err := s.Delete(t.Context(), "a", "b"); err != nil {
			t.Error(err)
		}
		if got := blobtest.Keys(t, s, ""); !slices.Equal(got, []string{"c"}) {
			t.Errorf("left %q", got)
		}
	})
}
