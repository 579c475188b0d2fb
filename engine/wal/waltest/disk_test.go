package waltest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/hashicorp/raft-wal/types"
)

func create(t *testing.T, d *Disk, name string, size uint64) types.WritableFile {
	t.Helper()
	f, err := d.Create("dir", name, size)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func mustWrite(t *testing.T, f types.WritableFile, off int64, data []byte) {
	t.Helper()
	if n, err := f.WriteAt(data, off); n != len(data) || err != nil {
		t.Fatalf("wrote %d bytes: %v", n, err)
	}
}

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	old, fresh := bytes.Repeat([]byte{1}, 4096), bytes.Repeat([]byte{2}, 4096)
	outcomes := map[string]int{}
	for seed := range uint64(200) {
		d := NewDisk()
		f := create(t, d, "a", 0)
		mustWrite(t, f, 0, old)
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, f, 4096, fresh)
		g := create(t, d, "b", 100)
		mustWrite(t, g, 0, []byte("b"))
		after := d.Crash(rand.New(rand.NewPCG(seed, 0)))
		b := after.Bytes("dir/a")
		if len(b) < 4096 || !bytes.Equal(b[:4096], old) {
			t.Fatalf("seed %d: synced bytes are lost", seed)
		}
		switch n := bytes.Count(b[4096:], []byte{2}); {
		case n == 0:
			outcomes["none"]++
		case n == 4096:
			outcomes["all"]++
		case bytes.HasPrefix(b[4096:], fresh[:n]):
			outcomes["prefix"]++
		default:
			outcomes["sectors"]++
		}
		if after.Bytes("dir/b") == nil {
			outcomes["no file"]++
		}
		if _, err := f.WriteAt(old, 0); !errors.Is(err, ErrPowerOff) {
			t.Fatalf("write to a disk that crashed: %v", err)
		}
		if _, err := d.OpenReader("dir", "a"); !errors.Is(err, ErrPowerOff) {
			t.Fatalf("open on a disk that crashed: %v", err)
		}
	}
	for _, o := range []string{"none", "all", "prefix", "sectors", "no file"} {
		if outcomes[o] < 10 {
			t.Errorf("%s happened %d times", o, outcomes[o])
		}
	}
}

func TestPowerOffInTheMiddle(t *testing.T) {
	d := NewDisk()
	f := create(t, d, "a", 0)
	d.PowerOff(3)
	mustWrite(t, f, 0, []byte("one"))
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("two"), 3); !errors.Is(err, ErrPowerOff) {
		t.Fatalf("third call: %v", err)
	}
	if err := f.Sync(); !errors.Is(err, ErrPowerOff) {
		t.Fatalf("fourth call: %v", err)
	}
	if b := d.Crash(rand.New(rand.NewPCG(1, 1))).Bytes("dir/a"); !bytes.HasPrefix(b, []byte("one")) {
		t.Fatalf("synced bytes became %q", b)
	}
}

func TestFullDisk(t *testing.T) {
	d := NewDisk()
	d.SetCapacity(100)
	f := create(t, d, "a", 80)
	mustWrite(t, f, 0, make([]byte, 80))
	n, err := f.WriteAt(bytes.Repeat([]byte{7}, 40), 70)
	if n != 30 || !errors.Is(err, syscall.ENOSPC) || d.Used() != 100 {
		t.Fatalf("wrote %d bytes of 40, %d used: %v", n, d.Used(), err)
	}
	mustWrite(t, f, 0, make([]byte, 100)) // space that the file has can be written
	if _, err := d.Create("dir", "b", 10); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("create: %v", err)
	}
	if _, err := d.Create("dir", "b", 0); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("create after a failed create: %v", err)
	}
	if err := d.Delete("dir", "a"); err != nil {
		t.Fatal(err)
	}
	create(t, d, "c", 100)
}

func TestInject(t *testing.T) {
	unwell := errors.New("unwell")
	d := NewDisk()
	f := create(t, d, "a", 0)
	d.Inject(func(op Op) error {
		if op.Kind == Write || op.Kind == Sync || op.Kind == Delete && op.Name == "dir/a" {
			return unwell
		}
		return nil
	})
	if _, err := f.WriteAt([]byte("abcd"), 0); !errors.Is(err, unwell) || string(d.Bytes("dir/a")) != "ab" {
		t.Fatalf("write: %v, file %q", err, d.Bytes("dir/a"))
	}
	if err := f.Sync(); !errors.Is(err, unwell) || d.Syncs() != 0 {
		t.Fatalf("sync: %v", err)
	}
	if err := d.Delete("dir", "a"); !errors.Is(err, unwell) {
		t.Fatalf("delete: %v", err)
	}
	d.Inject(nil)
	if err := f.Sync(); err != nil || d.Syncs() != 1 {
		t.Fatal(err)
	}
	if now, after := d.Bytes("dir/a"), d.Crash(rand.New(rand.NewPCG(1, 1))).Bytes("dir/a"); string(now) != "ab" || len(after) != 0 {
		t.Fatalf("file %q, after a crash %q", now, after)
	}
}

func TestReadAndList(t *testing.T) {
	d := NewDisk()
	f := create(t, d, "a", 10)
	mustWrite(t, f, 4, []byte("xy"))
	r, err := d.OpenReader("dir", "a")
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 8)
	if n, err := r.ReadAt(p, 4); n != 6 || !errors.Is(err, io.EOF) || string(p[:2]) != "xy" {
		t.Fatalf("read %d bytes %q: %v", n, p, err)
	}
	if _, err := r.ReadAt(p, 10); !errors.Is(err, io.EOF) {
		t.Fatalf("read at the end: %v", err)
	}
	if _, err := d.OpenReader("dir", "b"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("open of nothing: %v", err)
	}
	if names, err := d.ListDir("dir"); err != nil || len(names) != 1 || names[0] != "a" {
		t.Fatalf("list: %v, %v", names, err)
	}
	if names, _ := d.ListDir("di"); len(names) != 0 {
		t.Fatalf("list of another folder: %v", names)
	}
	if err := errors.Join(f.Close(), r.Close()); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Fatalf("second close: %v", err)
	}
}
