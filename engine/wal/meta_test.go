package wal

import (
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mailwake/engine/wal/waltest"
)

func TestMissingFiles(t *testing.T) {
	for _, clean := range []bool{true, false} {
		disk, _ := damaged(t, clean)
		for _, name := range segments(disk) {
			copied := disk.Clone()
			copied.SetBytes(name, nil)
			_, err := tryOpen(copied)
			if c := wantCorrupt(t, err); c.Segment != name || !errors.Is(err, os.ErrNotExist) {
				t.Errorf("without %s: %v", name, err)
			}
		}
		for _, lose := range [][]byte{nil, {}, []byte("rubbish that is not a meta file")} {
			copied := disk.Clone()
			copied.SetBytes(dir+"/meta-0", lose)
			copied.SetBytes(dir+"/meta-1", lose)
			before := segments(copied)
			_, err := tryOpen(copied)
			if c := wantCorrupt(t, err); !strings.HasPrefix(c.Segment, dir+"/meta-") {
				t.Errorf("without meta files: %v", err)
			}
			if after := segments(copied); !slices.Equal(before, after) {
				t.Errorf("segments %v became %v", before, after)
			}
		}
	}
}

// TestDamagedMeta flips bits in the meta files. One of them may be the victim of
// a crash, so the other one is used if it fits the segments; never is anything
// lost or invented.
func TestDamagedMeta(t *testing.T) {
	disk, want := damaged(t, true)
	for _, name := range []string{dir + "/meta-0", dir + "/meta-1"} {
		good := disk.Bytes(name)
		for at := 0; at < len(good) && (at < 24 || good[at] != 0); at++ {
			bad := slices.Clone(good)
			bad[at] ^= 0x10
			copied := disk.Clone()
			copied.SetBytes(name, bad)
			got, err := tryOpen(copied)
			if err != nil {
				wantCorrupt(t, err)
			} else if !reflect.DeepEqual(got, want) {
				t.Fatalf("byte %d of %s: %d groups", at, name, len(got))
			}
		}
	}
	both := disk.Clone()
	for _, name := range []string{dir + "/meta-0", dir + "/meta-1"} {
		b := both.Bytes(name)
		b[30] ^= 1
		both.SetBytes(name, b)
	}
	_, err := tryOpen(both)
	if c := wantCorrupt(t, err); c.Segment != dir+"/meta-0" || c.Offset != slotHeader {
		t.Fatalf("both damaged: %v", err)
	}
}

// TestStaleMeta damages the newest meta file after a segment was added: the older
// one does not know that segment, whose groups must not be thrown away.
func TestStaleMeta(t *testing.T) {
	stale := 0
	disk := waltest.NewDisk()
	l := mustOpen(t, Options{Dir: dir, VFS: disk, SegmentBytes: 1 << 10})
	for i := range 30 {
		mustAppend(t, l, payload(i, 150))
		for _, slot := range []string{"/meta-0", "/meta-1"} {
			copied := disk.Clone()
			copied.SetBytes(dir+slot, []byte("gone"))
			got, err := tryOpen(copied)
			if err != nil {
				wantCorrupt(t, err)
				stale++
			} else if len(got) != i+1 {
				t.Fatalf("%d of %d groups without %s", len(got), i+1, slot)
			}
		}
	}
	if stale > 20 {
		t.Errorf("%d of 60 logs do not open with one meta file", stale)
	}
}

func TestForeignFiles(t *testing.T) {
	disk, want := damaged(t, true)
	disk.SetBytes(dir+"/notes.txt", []byte("hello"))
	if got, err := tryOpen(disk); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("with a text file: %v", err)
	}
	disk.SetBytes(dir+"/copy of a.wal", []byte("hello"))
	_, err := tryOpen(disk)
	if c := wantCorrupt(t, err); c.Segment != dir+"/copy of a.wal" {
		t.Fatal(err)
	}
}

// TestOldMeta brings back both meta files of an earlier day: raft-wal would delete
// the segments that they do not name.
func TestOldMeta(t *testing.T) {
	disk := waltest.NewDisk()
	l := mustOpen(t, Options{Dir: dir, VFS: disk, SegmentBytes: 1 << 10})
	mustAppend(t, l, "a")
	old := disk.Clone()
	for i := range 20 {
		mustAppend(t, l, payload(i, 150))
	}
	mustClose(t, l)
	for _, name := range []string{dir + "/meta-0", dir + "/meta-1"} {
		disk.SetBytes(name, old.Bytes(name))
	}
	before := segments(disk)
	_, err := tryOpen(disk)
	if c := wantCorrupt(t, err); !strings.HasPrefix(c.Segment, dir+"/meta-") {
		t.Fatal(err)
	}
	if after := segments(disk); !slices.Equal(before, after) {
		t.Fatalf("segments %v became %v", before, after)
	}
}
