package blob_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
)

func TestMeter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := blobtest.NewFaulty(&gated{Store: blob.Mem("m")})
		m := blob.Meter(f)
		for _, key := range []string{"a", "b", "c"} {
			blobtest.Put(t, m, key, make([]byte, 100))
		}
		_ = m.Put(t.Context(), "a", bytes.NewReader(make([]byte, 50)), true) // exists
		blobtest.Get(t, m, "a")
		_, _ = m.Get(t.Context(), "missing", 0, -1)
		_, _ = m.Stat(t.Context(), "missing")
		for _, op := range []blobtest.Op{blobtest.OpPut, blobtest.OpGet, blobtest.OpStat, blobtest.OpList, blobtest.OpDelete} {
			f.FailNth(op, 1, blobtest.Fault{When: blobtest.Before})
		}
		_ = m.Put(t.Context(), "a", strings.NewReader("lost"), false)
		_, _ = m.Get(t.Context(), "a", 0, -1)
		_, _ = m.Stat(t.Context(), "a")
		for range m.List(t.Context(), "") {
		}
		_ = m.Delete(t.Context(), "a")
		for range m.List(t.Context(), "") {
			<-time.After(time.Hour) // the caller's time, not the store's
		}
		_ = m.Delete(t.Context(), "a", "b")
		want := blob.Stats{
			Put:    blob.OpStats{Calls: 5, Errors: 1, Bytes: 300, Busy: 4 * time.Second},
			Get:    blob.OpStats{Calls: 3, Errors: 1, Bytes: 100, Busy: 4 * time.Second}, // 2 opened, 2 reads
			Stat:   blob.OpStats{Calls: 2, Errors: 1, Busy: time.Second},
			List:   blob.OpStats{Calls: 2, Errors: 1, Busy: 3 * time.Second},
			Delete: blob.OpStats{Calls: 2, Errors: 1, Busy: time.Second},
		}
		if got := m.Stats(); got != want {
			t.Errorf("\n got %+v\nwant %+v", got, want)
		}
	})
}
