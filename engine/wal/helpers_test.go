package wal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"mailwake/engine/wal/waltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const dir = "wal"

// testSegment makes segments change every few groups.
const testSegment = 4 << 10

func onDisk(disk *waltest.Disk) Options {
	return Options{Dir: dir, VFS: disk, SegmentBytes: testSegment}
}

func mustOpen(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func mustClose(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// mustAppend stores each record with its own call and returns the last LSN.
func mustAppend(t testing.TB, l *Log, records ...string) LSN {
	t.Helper()
	var last LSN
	for _, r := range records {
		lsn, err := l.Append(context.Background(), framed(r), 1)
		if err != nil {
			t.Fatal(err)
		}
		last = lsn
	}
	return last
}

func framed(records ...string) []byte {
	var b []byte
	for _, r := range records {
		b = Frame(b, []byte(r))
	}
	return b
}

// payload returns a record of about n bytes that differs from every other i.
func payload(i, n int) string {
	return fmt.Sprintf("%06d:%s", i, bytes.Repeat([]byte{byte('a' + i%26)}, n))
}

// contents reads the whole log as LSN -> records.
func contents(l *Log) (map[LSN][]string, error) {
	got := make(map[LSN][]string)
	last := LSN(0)
	for rec, err := range l.Read(0) {
		if err != nil {
			return got, err
		}
		if last != 0 && rec.LSN != last+1 {
			return got, fmt.Errorf("group %d follows %d", rec.LSN, last)
		}
		last = rec.LSN
		for i, b := range Frames(rec.Frames) {
			if i != len(got[rec.LSN]) {
				return got, fmt.Errorf("group %d: ordinal %d instead of %d", rec.LSN, i, len(got[rec.LSN]))
			}
			got[rec.LSN] = append(got[rec.LSN], string(b))
		}
	}
	return got, nil
}

func mustContents(t testing.TB, l *Log) map[LSN][]string {
	t.Helper()
	got, err := contents(l)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func wantCorrupt(t testing.TB, err error) *CorruptError {
	t.Helper()
	c, ok := errors.AsType[*CorruptError](err)
	if !ok {
		t.Fatalf("error %v is not a CorruptError", err)
	}
	return c
}
