package engine_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailwake/engine"
	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/engine/wal"
	"mailwake/engine/wal/waltest"
)

func TestOpenNeedsItsParts(t *testing.T) {
	b := newBench(t)
	for name, spoil := range map[string]func(*engine.Options){
		"folder":   func(o *engine.Options) { o.Dir = "" },
		"registry": func(o *engine.Options) { o.Registry = nil },
		"lake":     func(o *engine.Options) { o.Lake = nil },
	} {
		o := b.opts
		spoil(&o)
		if e, err := engine.Open(context.Background(), o); err == nil {
			t.Errorf("opens without %s", name)
			e.Close()
		}
	}
}

func TestCrashLosesNothingAcknowledged(t *testing.T) {
	for seed := range uint64(20) {
		b := newBench(t)
		e := b.open()
		mustAppend(t, e, opens(b.org, 1, 5))
		mustFlush(t, e, b.org)
		mustAppend(t, e, opens(b.org, 6, 5))
		b.opts.Log.VFS = b.disk.Crash(rand.New(rand.NewPCG(seed, 0)))
		e.Close() // cannot end well without power
		c := want(t, b.open(), b.org, 1, 10)
		if len(c.files) != 5 || len(c.tail) != 5 {
			t.Errorf("seed %d: view is %+v", seed, c)
		}
	}
}

func TestLogOlderThanStorage(t *testing.T) {
	b := newBench(t)
	e := b.open()
	mustAppend(t, e, opens(b.org, 1, 5))
	old := b.disk.Clone()
	for i := range 3 {
		mustAppend(t, e, opens(b.org, 6+i, 1))
	}
	mustFlush(t, e, b.org)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	b.opts.Log.VFS = old
	e, err := engine.Open(context.Background(), b.opts)
	if !errors.Is(err, wal.ErrBehind) {
		t.Fatalf("open: %v, want ErrBehind", err)
	}
	if e != nil {
		t.Error("an engine comes back with the error")
	}
	for _, part := range []string{"group 1", "up to 4"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

// A log that is gone is no reason not to start, but its numbers must go on after
// the mark: events under old numbers would count as flushed.
func TestLogIsGone(t *testing.T) {
	b := newBench(t)
	e := b.open()
	for i := range 4 {
		mustAppend(t, e, opens(b.org, 1+i, 1))
	}
	mustFlush(t, e, b.org)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	b.opts.Log.VFS = waltest.NewDisk()
	e = b.open()
	v, err := e.View(context.Background(), b.org)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if from, to := v.Tail(); from > to {
		t.Errorf("the tail goes from %d to %d", from, to)
	}
	mustAppend(t, e, opens(b.org, 5, 2))
	want(t, e, b.org, 1, 6)
	mustFlush(t, e, b.org)
	want(t, b.reopen(e), b.org, 1, 6)
}

func TestDamagedLog(t *testing.T) {
	b := newBench(t)
	e := b.open()
	for i := range 5 {
		mustAppend(t, e, opens(b.org, 1+i, 1))
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	names := b.disk.Names()
	i := slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, ".wal") })
	if i < 0 {
		t.Fatalf("no segment in %v", names)
	}
	data := b.disk.Bytes(names[i])
	data[200] ^= 0x10
	b.disk.SetBytes(names[i], data)
	e, err := engine.Open(context.Background(), b.opts)
	corrupt, ok := errors.AsType[*wal.CorruptError](err)
	if !ok {
		t.Fatalf("open: %v, want a CorruptError", err)
	}
	if e != nil {
		t.Error("an engine comes back with the error")
	}
	if corrupt.Segment != names[i] || corrupt.Offset <= 0 || corrupt.Offset > 200 || !strings.Contains(err.Error(), names[i]) {
		t.Errorf("error %q names %s at %d, want %s at or before 200", err, corrupt.Segment, corrupt.Offset, names[i])
	}
	data[200] ^= 0x10
	b.disk.SetBytes(names[i], data)
	want(t, b.open(), b.org, 1, 5)
}

// A log whose groups are intact but hold what the engine cannot take must not be
// skipped, and Open must leave nothing behind.
func TestLogOfAnotherRegistry(t *testing.T) {
	b := newBench(t)
	second := b.newOrg("second")
	e := b.open()
	mustAppend(t, e, opens(second, 1, 1))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	other := newBench(t) // has one organisation only
	other.opts.Log.VFS = b.disk
	if _, err := engine.Open(context.Background(), other.opts); !errors.Is(err, engine.ErrUnknownOrg) || !strings.Contains(err.Error(), "group 1") {
		t.Fatalf("open: %v, want ErrUnknownOrg and the group", err)
	}
	// The log is closed again, so that it can be opened with the right one.
	want(t, b.open(), second, 1, 1)
}

func TestLogWithRowsOfAnotherVersion(t *testing.T) {
	b := newBench(t)
	l, err := wal.Open(wal.Options{Dir: filepath.Join(b.opts.Dir, "wal"), VFS: b.disk})
	if err != nil {
		t.Fatal(err)
	}
	in := opens(b.org, 1, 1)[0]
	row := event.AppendRow(nil, &in)
	row[0]++
	if _, err := l.Append(context.Background(), wal.Frame(nil, row), 1); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := engine.Open(context.Background(), b.opts); !errors.Is(err, event.ErrInvalid) || !strings.Contains(err.Error(), "group 1 row 0") {
		t.Fatalf("open: %v, want ErrInvalid and the place", err)
	}
}

func TestOpenWhileTheStoreIsDown(t *testing.T) {
	b := newBench(t)
	e := b.open()
	mustAppend(t, e, opens(b.org, 1, 5))
	mustFlush(t, e, b.org)
	mustAppend(t, e, opens(b.org, 6, 5))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	b.opts.Lake = openLake(t, b.dir, "0", b.store)
	b.store.Script(down)
	if _, err := engine.Open(context.Background(), b.opts); err == nil {
		t.Fatal("opens without knowing the marks")
	}
	b.store.Script(nil)
	want(t, b.open(), b.org, 1, 10)
}

func TestOpenCancelled(t *testing.T) {
	b := newBench(t)
	e := b.open()
	mustAppend(t, e, opens(b.org, 1, 1))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := engine.Open(ctx, b.opts); !errors.Is(err, context.Canceled) {
		t.Fatalf("open: %v, want Canceled", err)
	}
	want(t, b.open(), b.org, 1, 1)
}

// The same on the operating system's files, with a lake in a folder.
func TestOnRealFiles(t *testing.T) {
	b := newBench(t)
	b.opts.Log.VFS = nil
	b.opts.Dir = filepath.Join(b.dir, "data")
	e := b.open()
	mustAppend(t, e, opens(b.org, 1, 5))
	mustFlush(t, e, b.org)
	mustAppend(t, e, opens(b.org, 6, 5))
	e = b.reopen(e)
	want(t, e, b.org, 1, 10)
	entries, err := os.ReadDir(filepath.Join(b.opts.Dir, "wal"))
	if err != nil || len(entries) == 0 {
		t.Errorf("the log's folder holds %v, %v", entries, err)
	}
}

func TestDamagedBlob(t *testing.T) {
	b := newBench(t)
	e := b.open()
	mustAppend(t, e, opens(b.org, 1, 5))
	mustFlush(t, e, b.org)
	v, err := e.View(context.Background(), b.org)
	if err != nil {
		t.Fatal(err)
	}
	key := v.Snapshot().Files()[0].Path
	v.Close()
	if err := b.store.Put(context.Background(), key, strings.NewReader("not a Parquet file"), false); err != nil {
		t.Fatal(err)
	}
	// Another node, which has no copy of its own.
	b.opts.Node, b.opts.Log.VFS, b.opts.Lake = 1, waltest.NewDisk(), openLake(t, b.dir, "1", b.store)
	_, err = b.open().View(context.Background(), b.org)
	if corrupt, ok := errors.AsType[*lake.CorruptError](err); !ok || corrupt.Key != key {
		t.Fatalf("view: %v, want a CorruptError of %s", err, key)
	}
	want(t, e, b.org, 1, 5) // has a copy
}
