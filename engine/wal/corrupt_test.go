package wal

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mailwake/engine/wal/waltest"
)

// damaged returns the disk of a log of several segments whose groups it also
// returns, closed or as a killed process leaves it.
func damaged(t *testing.T, clean bool) (*waltest.Disk, map[LSN][]string) {
	t.Helper()
	disk := waltest.NewDisk()
	o := Options{Dir: dir, VFS: disk, SegmentBytes: 1 << 10}
	l := mustOpen(t, o)
	for i := range 14 {
		mustAppend(t, l, payload(i, 150))
	}
	want := mustContents(t, l)
	if clean {
		mustClose(t, l)
	}
	return disk.Clone(), want
}

func segments(disk *waltest.Disk) []string {
	return slices.DeleteFunc(disk.Names(), func(n string) bool { return !strings.HasSuffix(n, ".wal") })
}

// tryOpen opens and reads the log of disk as a whole.
func tryOpen(disk *waltest.Disk) (map[LSN][]string, error) {
	l, err := Open(Options{Dir: dir, VFS: disk, SegmentBytes: 1 << 10})
	if err != nil {
		return nil, err
	}
	got, err := contents(l)
	return got, errors.Join(err, l.Close())
}

// TestFlippedBits flips a bit of each byte of each segment, and each bit in the
// frame around the last group: Open names the segment and an offset at or just
// before the damage, or the bit did not matter.
func TestFlippedBits(t *testing.T) {
	for _, clean := range []bool{true, false} {
		disk, want := damaged(t, clean)
		for _, name := range segments(disk) {
			good := disk.Bytes(name)
			used := len(good)
			for used > 0 && good[used-1] == 0 {
				used--
			}
			for bit := range 8 * len(good) {
				if bit%8 != bit/8*5%8 && (bit/8 < used-20 || bit/8 > used+8) {
					continue
				}
				bad := slices.Clone(good)
				bad[bit/8] ^= 1 << (bit % 8)
				copied := disk.Clone()
				copied.SetBytes(name, bad)
				got, err := tryOpen(copied)
				if err == nil && bit/8 >= used && reflect.DeepEqual(got, want) {
					continue
				}
				if err == nil {
					t.Fatalf("clean %v: bit %d of byte %d of %s (%d used): %d groups", clean, bit%8, bit/8, name, used, len(got))
				}
				c := wantCorrupt(t, err)
				if c.Segment != name || c.Offset > int64(bit/8) || c.Offset < int64(bit/8)-512 || bit/8 >= (used+7)&^7 {
					t.Fatalf("clean %v: bit %d of byte %d of %s: %v", clean, bit%8, bit/8, name, err)
				}
			}
		}
	}
}

// TestEveryCut shortens each segment, or blanks it from some place on: what was
// acknowledged is missed, with the exceptions that the package documents.
func TestEveryCut(t *testing.T) {
	for _, clean := range []bool{true, false} {
		disk, want := damaged(t, clean)
		names := segments(disk)
		for i, name := range names {
			good := disk.Bytes(name)
			for at := 0; at < len(good); at += 8 {
				blanked := slices.Clone(good)
				clear(blanked[at:])
				for _, bad := range [][]byte{good[:at], blanked} {
					copied := disk.Clone()
					copied.SetBytes(name, bad)
					got, err := tryOpen(copied)
					if err == nil && reflect.DeepEqual(got, want) {
						continue
					}
					if err != nil {
						if c := wantCorrupt(t, err); c.Segment != name {
							t.Fatalf("cut of %s at %d: %v", name, at, err)
						}
						continue
					}
					if clean || i < len(names)-1 || len(got) < 9 {
						t.Fatalf("clean %v: cut of %s at %d went unnoticed, %d groups left", clean, name, at, len(got))
					}
				}
			}
		}
	}
}

// TestBlankedWords blanks each aligned word of each segment, and each sector. In a
// log that was not closed the very last group may be taken for an unfinished write
// by that, and so may more than one if nothing at all is left after the blank.
func TestBlankedWords(t *testing.T) {
	for _, clean := range []bool{true, false} {
		disk, want := damaged(t, clean)
		for _, name := range segments(disk) {
			good := disk.Bytes(name)
			for _, step := range []int{8, sectorSize} {
				for at := 0; at < len(good); at += step {
					bad := slices.Clone(good)
					clear(bad[at:min(at+step, len(bad))])
					copied := disk.Clone()
					copied.SetBytes(name, bad)
					got, err := tryOpen(copied)
					if err != nil {
						if c := wantCorrupt(t, err); c.Segment != name || c.Offset > int64(at)+int64(step) {
							t.Fatalf("blanked %s at %d: %v", name, at, err)
						}
						continue
					}
					used := len(strings.TrimRight(string(good), "\x00"))
					for lsn := LSN(len(got) + 1); !clean && lsn <= LSN(len(want)); lsn++ {
						if lsn == LSN(len(want)) || at+step >= used {
							got[lsn] = want[lsn]
						}
					}
					if !reflect.DeepEqual(got, want) {
						t.Fatalf("clean %v: blanked %d bytes of %s at %d, %d groups left", clean, step, name, at, len(got))
					}
				}
			}
		}
	}
}

// TestBlankedEnd blanks whole groups at the end of a log that was not closed. It
// shows if the log has been opened or truncated since they were written.
func TestBlankedEnd(t *testing.T) {
	for name, remember := range map[string]func(*Log) error{
		"opened":    func(*Log) error { return nil },
		"truncated": func(l *Log) error { mustAppend(t, l, "d"); return l.Truncate(1) },
	} {
		disk := waltest.NewDisk()
		mustAppend(t, mustOpen(t, onDisk(disk)), "a", "b", "c")
		disk = disk.Clone()
		l := mustOpen(t, onDisk(disk))
		if err := remember(l); err != nil {
			t.Fatal(err)
		}
		copied := disk.Clone()
		segment := segments(copied)[0]
		b := copied.Bytes(segment)
		last := int64(fileHeader + int(l.Last()-1)*56) // each of these groups takes 56 bytes
		if string(b[last+frameHeader+1:][:3]) != formatMagic {
			t.Fatal("no group where the test thinks")
		}
		clear(b[last:])
		copied.SetBytes(segment, b)
		_, err := Open(onDisk(copied))
		if c := wantCorrupt(t, err); c.Offset != last || c.LSN != l.Last() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDamageWhileOpen damages a file after Open: Read must notice.
func TestDamageWhileOpen(t *testing.T) {
	o := Options{Dir: t.TempDir(), SegmentBytes: 1 << 10}
	l := mustOpen(t, o)
	for i := range 12 {
		mustAppend(t, l, payload(i, 150))
	}
	mustClose(t, l)
	names, err := filepath.Glob(o.Dir + "/*.wal")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		l := mustOpen(t, o)
		good, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		start := int64(fileHeader)
		for _, damage := range []func([]byte) []byte{
			func(b []byte) []byte { b[start+frameHeader+headerLen+20] ^= 4; return b },
			func(b []byte) []byte { b[start] = 9; return b },
			func(b []byte) []byte { b[start+7] = 0x7f; return b },
			func(b []byte) []byte { return b[:start] },
			func(b []byte) []byte { return b[:start+frameHeader+50] },
		} {
			if len(strings.Trim(string(good), "\x00")) == 0 {
				continue // the newest segment may hold no group yet
			}
			if err := os.WriteFile(name, damage(slices.Clone(good)), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := contents(l)
			if c := wantCorrupt(t, err); c.Segment != name || c.Offset != start {
				t.Errorf("read of a damaged file: %v", err)
			}
			if err := os.WriteFile(name, good, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := mustContents(t, l); len(got) != 12 {
			t.Errorf("%d groups after the damage was undone", len(got))
		}
		mustClose(t, l)
	}
}

// TestSealedBeforeCrash stops the log between the write that fills a segment and
// the start of the next one, where raft-wal alone would refuse all later writes.
func TestSealedBeforeCrash(t *testing.T) {
	disk := waltest.NewDisk()
	o := onDisk(disk)
	l := mustOpen(t, o)
	mustAppend(t, l, "a")
	disk.Inject(failNth(waltest.Write, "meta", 1, true, errDisk))
	mustAppend(t, l, payload(1, testSegment)) // fills the segment; the rotation after it fails
	copied := disk.Clone()
	o.VFS = copied
	again := mustOpen(t, o)
	mustAppend(t, again, "b")
	if got := mustContents(t, again); len(got) != 3 {
		t.Fatalf("%d groups", len(got))
	}
	disk.Inject(nil)
	if lsn := mustAppend(t, l, "c"); lsn != 3 { // the log itself recovers too
		t.Fatalf("lsn %d", lsn)
	}
}

// TestRecordsThatLookLikeGroups has a torn last write whose record contains
// a complete later group: it must not be taken for proof of damage.
func TestRecordsThatLookLikeGroups(t *testing.T) {
	disk := waltest.NewDisk()
	l := mustOpen(t, onDisk(disk))
	mustAppend(t, l, "a")
	forged := append(make([]byte, headerLen), framed("forged")...)
	seal(forged, 3, 1, 0)
	frame := []byte{1, 0, 0, 0, byte(len(forged)), 0, 0, 0}
	for pad := range 8 { // one of them aligns it with the file
		torn := disk.Clone()
		again := mustOpen(t, onDisk(torn))
		mustAppend(t, again, string(slices.Concat(make([]byte, pad), frame, forged, []byte(strings.Repeat("x", 1000)))))
		torn = torn.Clone()
		name := segments(torn)[0]
		b := torn.Bytes(name)
		clear(b[1024:]) // the end of the write is missing
		torn.SetBytes(name, b)
		if got := mustContents(t, mustOpen(t, onDisk(torn))); len(got) != 1 {
			t.Fatalf("groups %v", got)
		}
	}
}
