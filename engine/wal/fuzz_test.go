package wal

import (
	"reflect"
	"testing"

	"mailwake/engine/wal/waltest"
)

// fuzzRecords are what the logs under FuzzRead hold, a group each.
func fuzzRecords() []string {
	var records []string
	for i := range 12 {
		records = append(records, payload(i, 10+20*i))
	}
	return records
}

// FuzzRead overwrites and cuts the files of a log in any way. Open and Read may
// report damage, but never panic and never yield a group that was not written.
func FuzzRead(f *testing.F) {
	written := waltest.NewDisk()
	l := mustOpen(f, Options{Dir: dir, VFS: written, SegmentBytes: 1 << 10})
	records := fuzzRecords()
	mustAppend(f, l, records...)
	names := written.Names()

	group := append(make([]byte, headerLen), framed("forged")...)
	seal(group, 13, 1, 0)
	for i := range names {
		f.Add(uint8(i), uint16(0), []byte(nil), uint16(0))
		f.Add(uint8(i), uint16(40), []byte{0xff}, uint16(0))
		f.Add(uint8(i), uint16(0), []byte("mwmeta1\n"), uint16(100))
		f.Add(uint8(i), uint16(fileHeader), []byte{1, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f}, uint16(0))
		f.Add(uint8(i), uint16(fileHeader), []byte{2, 0, 0, 0, 8, 0, 0, 0}, uint16(0))
		f.Add(uint8(i), uint16(fileHeader+frameHeader), group, uint16(0))
		f.Add(uint8(i), uint16(600), make([]byte, 500), uint16(1000))
	}
	f.Fuzz(func(t *testing.T, file uint8, at uint16, patch []byte, cut uint16) {
		disk := written.Clone()
		name := names[int(file)%len(names)]
		b := disk.Bytes(name)
		if cut > 0 {
			b = b[:min(int(cut), len(b))]
		}
		at = uint16(min(int(at), len(b)))
		b = append(b[:at:at], append(patch, b[min(int(at)+len(patch), len(b)):]...)...)
		disk.SetBytes(name, b)
		l, err := Open(Options{Dir: dir, VFS: disk, SegmentBytes: 1 << 10})
		if err != nil {
			return
		}
		got, _ := contents(l)
		for lsn, have := range got {
			if lsn > LSN(len(records)) || !reflect.DeepEqual(have, records[lsn-1:lsn]) {
				t.Errorf("group %d is %q", lsn, have)
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// FuzzFrames checks that framing and unframing agree on any bytes.
func FuzzFrames(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(framed("a", "", "bc"))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, whole := countFrames(b)
		i := 0
		var again []byte
		for ordinal, rec := range Frames(b) {
			if ordinal != i {
				t.Fatalf("ordinal %d, want %d", ordinal, i)
			}
			i++
			again = Frame(again, rec)
		}
		if i != n || whole && len(again) > len(b) {
			t.Fatalf("%d frames, counted %d", i, n)
		}
	})
}
