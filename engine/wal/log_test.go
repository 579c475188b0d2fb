package wal

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mailwake/engine/wal/waltest"
)

func TestAppendReadReopen(t *testing.T) {
	for _, clean := range []bool{true, false} {
		disk := waltest.NewDisk()
		l := mustOpen(t, onDisk(disk))
		if l.First() != 0 || l.Last() != 0 || l.Size() != 0 {
			t.Fatalf("new log: first %d, last %d, size %d", l.First(), l.Last(), l.Size())
		}
		want := map[LSN][]string{}
		size := int64(0)
		for i := range 100 {
			records := []string{payload(i, 10+i*3), "", payload(i, 0)}
			frames := framed(records...)
			lsn, err := l.Append(t.Context(), frames, len(records))
			if err != nil || lsn != LSN(i+1) {
				t.Fatalf("append %d: lsn %d, %v", i, lsn, err)
			}
			clear(frames)
			want[lsn] = records
			size += int64(len(frames))
		}
		check := func(l *Log) {
			t.Helper()
			if got := mustContents(t, l); !reflect.DeepEqual(got, want) {
				t.Fatalf("read %d groups, want %d", len(got), len(want))
			}
			if l.First() != 1 || l.Last() != 100 || l.Size() != size {
				t.Fatalf("first %d, last %d, size %d, want 1, 100, %d", l.First(), l.Last(), l.Size(), size)
			}
		}
		check(l)
		if clean {
			mustClose(t, l)
		} else {
			disk = disk.Clone()
		}
		l = mustOpen(t, onDisk(disk))
		check(l)
		if lsn := mustAppend(t, l, "next"); lsn != 101 {
			t.Fatalf("append after reopen got lsn %d", lsn)
		}
	}
}

func TestReadFrom(t *testing.T) {
	l := mustOpen(t, onDisk(waltest.NewDisk()))
	mustAppend(t, l, "a", "b", "c", "d")
	if err := l.Truncate(2); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from LSN
		want []LSN
	}{{0, []LSN{3, 4}}, {1, []LSN{3, 4}}, {4, []LSN{4}}, {5, nil}, {99, nil}} {
		var got []LSN
		for rec, err := range l.Read(c.from) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, rec.LSN)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("read from %d: %v, want %v", c.from, got, c.want)
		}
	}
}

func TestFrames(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, c := range []struct {
		name  string
		bytes []byte
		want  []string
		whole bool
	}{
		{"none", nil, nil, true},
		{"some", framed("a", "", long), []string{"a", "", long}, true},
		{"cut record", framed("a", "bcd")[:4], []string{"a"}, false},
		{"cut length", append(framed("a"), 0x80), []string{"a"}, false},
		{"huge length", append(framed("a"), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), []string{"a"}, false},
		{"overlong length", append(framed("a"), slices.Repeat([]byte{0x80}, 11)...), []string{"a"}, false},
	} {
		var got []string
		for i, rec := range Frames(c.bytes) {
			if i != len(got) {
				t.Errorf("%s: ordinal %d, want %d", c.name, i, len(got))
			}
			got = append(got, string(rec))
		}
		if n, ok := countFrames(c.bytes); !slices.Equal(got, c.want) || ok != c.whole || n != len(c.want) {
			t.Errorf("%s: %q, count %d, whole %v; want %q, %v", c.name, got, n, ok, c.want, c.whole)
		}
	}
}

func TestAppendRefuses(t *testing.T) {
	o := onDisk(waltest.NewDisk())
	o.LimitBytes = 10 << 20
	l := mustOpen(t, o)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	small := mustOpen(t, Options{Dir: "small", VFS: waltest.NewDisk(), SegmentBytes: testSegment, LimitBytes: 10})
	for _, c := range []struct {
		name   string
		log    *Log
		ctx    context.Context
		frames []byte
		n      int
		want   error // nil: any error
	}{
		{"no records", l, t.Context(), nil, 0, nil},
		{"fewer than said", l, t.Context(), framed("a"), 2, nil},
		{"more than said", l, t.Context(), framed("a", "b"), 1, nil},
		{"broken frame", l, t.Context(), []byte{200}, 1, nil},
		{"too many", l, t.Context(), make([]byte, maxRecords+1), maxRecords + 1, ErrTooLarge},
		{"too many bytes", l, t.Context(), framed(strings.Repeat("x", maxGroupBytes)), 1, ErrTooLarge},
		{"over the limit by itself", small, t.Context(), framed("0123456789"), 1, ErrTooLarge},
		{"cancelled", l, cancelled, framed("a"), 1, context.Canceled},
	} {
		lsn, err := c.log.Append(c.ctx, c.frames, c.n)
		if err == nil || lsn != 0 || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: lsn %d, error %v, want %v", c.name, lsn, err, c.want)
		}
	}
	if l.Last() != 0 || l.Size() != 0 {
		t.Errorf("refused calls left last %d, size %d", l.Last(), l.Size())
	}
	// What is just within the limits is taken.
	if _, err := l.Append(t.Context(), make([]byte, maxRecords), maxRecords); err != nil {
		t.Error(err)
	}
	if _, err := l.Append(t.Context(), framed(strings.Repeat("x", maxGroupBytes-4)), 1); err != nil {
		t.Error(err)
	}
	if got := mustContents(t, l); len(got[1]) != maxRecords || len(got[2][0]) != maxGroupBytes-4 {
		t.Errorf("largest groups: %d records, %d bytes", len(got[1]), len(got[2][0]))
	}
}

func TestTruncate(t *testing.T) {
	disk := waltest.NewDisk()
	l := mustOpen(t, onDisk(disk))
	var records []string
	for i := range 200 {
		records = append(records, payload(i, 100))
	}
	mustAppend(t, l, records...)
	one := int64(len(framed(records[0])))
	files := len(disk.Names())
	for _, c := range []struct {
		upTo, first LSN
		size        int64
	}{
		{0, 1, 200}, {1, 2, 199}, {1, 2, 199}, {150, 151, 50}, {10, 151, 50}, {199, 200, 1}, {200, 200, 0}, {200, 200, 0}, {1000, 200, 0},
	} {
		if err := l.Truncate(c.upTo); err != nil {
			t.Fatal(err)
		}
		if l.First() != c.first || l.Size() != c.size*one || l.Last() != 200 {
			t.Fatalf("truncate %d: first %d, last %d, size %d; want %d, 200, %d", c.upTo, l.First(), l.Last(), l.Size(), c.first, c.size*one)
		}
	}
	if left := len(disk.Names()); left >= files || left > 5 {
		t.Errorf("%d files before, %d after", files, left)
	}
	mustClose(t, l)
	l = mustOpen(t, onDisk(disk))
	if got := mustContents(t, l); len(got) != 1 || got[200][0] != records[199] {
		t.Fatalf("after reopen: %v", got)
	}
	if l.First() != 200 || l.Last() != 200 || l.Size() != one {
		t.Fatalf("after reopen: first %d, last %d, size %d", l.First(), l.Last(), l.Size())
	}
	if lsn := mustAppend(t, l, "next"); lsn != 201 {
		t.Fatalf("next lsn %d", lsn)
	}
}

func TestFullRecoversAfterTruncate(t *testing.T) {
	o := onDisk(waltest.NewDisk())
	o.LimitBytes = 1000
	l := mustOpen(t, o)
	record := payload(0, 91) // 99 bytes with its length
	for range 10 {
		mustAppend(t, l, record)
	}
	last := l.Last()
	if _, err := l.Append(t.Context(), framed(record), 1); !errors.Is(err, ErrFull) {
		t.Fatalf("11th append: %v", err)
	}
	if l.Last() != last || l.Err() != nil {
		t.Fatalf("full log: last %d, err %v", l.Last(), l.Err())
	}
	mustAppend(t, l, "tiny")
	// Even the group that is never dropped must not keep the log full.
	if err := l.Truncate(l.Last()); err != nil {
		t.Fatal(err)
	}
	if l.Size() != 0 {
		t.Fatalf("size %d after everything was truncated", l.Size())
	}
	for range 10 {
		mustAppend(t, l, record)
	}
}

func TestNext(t *testing.T) {
	disk := waltest.NewDisk()
	open := func(next LSN) *Log {
		o := onDisk(disk)
		o.Next = next
		return mustOpen(t, o)
	}
	for _, next := range []LSN{0, 50, 7, 1, 70} { // the log stays empty meanwhile
		l := open(next)
		if l.First() != 0 || l.Last() != 0 {
			t.Fatalf("empty log: first %d, last %d", l.First(), l.Last())
		}
		mustClose(t, l)
	}
	l := open(70)
	if lsn := mustAppend(t, l, "a", "b"); lsn != 71 {
		t.Fatalf("second lsn %d, want 71", lsn)
	}
	mustClose(t, l)
	for _, next := range []LSN{0, 1, 71, 72} {
		l := open(next)
		if got := slices.Sorted(maps.Keys(mustContents(t, l))); !slices.Equal(got, []LSN{70, 71}) {
			t.Fatalf("next %d: groups %v", next, got)
		}
		mustClose(t, l)
	}
	o := onDisk(disk)
	o.Next = 73
	if _, err := Open(o); !errors.Is(err, ErrBehind) {
		t.Fatalf("log that ends at 71 with next 73: %v", err)
	}
}

func TestClosed(t *testing.T) {
	l := mustOpen(t, onDisk(waltest.NewDisk()))
	mustAppend(t, l, "a")
	mustClose(t, l)
	mustClose(t, l)
	if _, err := l.Append(t.Context(), framed("b"), 1); !errors.Is(err, ErrClosed) {
		t.Errorf("append: %v", err)
	}
	if err := l.Truncate(1); !errors.Is(err, ErrClosed) {
		t.Errorf("truncate: %v", err)
	}
	for _, err := range l.Read(0) {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("read: %v", err)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{}, {Dir: t.TempDir(), LimitBytes: -1}, {Dir: t.TempDir(), SegmentBytes: 2 << 30}} {
		if l, err := Open(o); err == nil {
			t.Errorf("%+v was accepted", o)
			_ = l.Close()
		}
	}
}

func TestOperatingSystemFiles(t *testing.T) {
	o := Options{Dir: t.TempDir() + "/new/folder", SegmentBytes: testSegment}
	l := mustOpen(t, o)
	for i := range 100 {
		mustAppend(t, l, payload(i, 100))
	}
	if err := l.Truncate(60); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	l = mustOpen(t, o)
	if got := mustContents(t, l); len(got) != 40 || got[61][0] != payload(60, 100) {
		t.Fatalf("%d groups after reopen", len(got))
	}
}

func TestShredLeavesNoByte(t *testing.T) {
	o := Options{Dir: t.TempDir(), SegmentBytes: testSegment}
	l := mustOpen(t, o)
	const marker = "a marker that must go"
	for range 50 {
		mustAppend(t, l, marker)
	}
	found := func() (n int) {
		for _, path := range pathsIn(t, o.Dir) {
			if b, err := os.ReadFile(path); err != nil {
				t.Fatal(err)
			} else if bytes.Contains(b, []byte(marker)) {
				n++
			}
		}
		return n
	}
	if err := l.Shred(func() error { return nil }); !errors.Is(err, ErrNeeded) || l.Last() != 50 {
		t.Fatalf("shred of what is needed: %v, last %d", err, l.Last())
	}
	if err := l.Truncate(50); err != nil {
		t.Fatal(err)
	}
	if found() == 0 {
		t.Fatal("truncated bytes are gone already: this test shows nothing")
	}
	if err := l.Shred(func() error { return l.Truncate(l.Last()) }); err != nil || found() != 0 || l.First() != 0 || l.Size() != 0 {
		t.Fatalf("shred: %v; marker in %d files, first %d, size %d", err, found(), l.First(), l.Size())
	}
	mustClose(t, l)
	l = mustOpen(t, o)
	if lsn := mustAppend(t, l, "after"); lsn != 51 {
		t.Fatalf("the group after a shred and a restart is %d", lsn)
	}
}

func pathsIn(t *testing.T, dir string) []string {
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
