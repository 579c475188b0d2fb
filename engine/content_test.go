package engine_test

import (
	"context"
	"testing"

	"mailwake/engine"
	"mailwake/engine/lake"
	"mailwake/engine/wal/waltest"
)

// Appends and flushes of this node leave a View's Content; whatever else happens to
// the files does not, even if a flush comes with it.
func TestContent(t *testing.T) {
	b := newBench(t)
	one := b.open()
	b.opts.Node, b.opts.Log.VFS, b.opts.Lake = 1, waltest.NewDisk(), openLake(t, b.dir, "1", b.store)
	two := b.open()
	last := uint64(0)
	after := func(what string, same bool) *engine.View {
		t.Helper()
		v, err := one.View(context.Background(), b.org)
		if err != nil {
			t.Fatal(err)
		}
		v.Close()
		if got := v.Content() == last; got != same {
			t.Errorf("after %s: the same is %v", what, got)
		}
		last = v.Content()
		return v
	}
	next := 1
	add := func(e *engine.Engine) {
		t.Helper()
		mustAppend(t, e, opens(b.org, next, 5))
		next += 5
	}
	remove := func(v *engine.View, n int) {
		t.Helper()
		table, err := b.opts.Lake.Table(context.Background(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := table.Refresh(context.Background()); err != nil {
			t.Fatal(err)
		}
		files := v.Snapshot().Files()
		if _, err := table.Commit(context.Background(), lake.Change{Remove: files[len(files)-n:]}); err != nil {
			t.Fatal(err)
		}
	}
	after("nothing", false)
	add(one)
	after("an append", true)
	mustFlush(t, one, b.org)
	after("a flush", true)
	for range 3 {
		add(one)
		mustFlush(t, one, b.org)
	}
	add(one)
	after("more of both", true)
	add(two)
	after("an append of another node", true)
	mustFlush(t, two, b.org)
	after("its flush", false)
	mustFlush(t, one, b.org)
	v := after("a flush again", true)
	remove(v, 1)
	v = after("a file less", false)
	remove(v, 1)
	add(one)
	mustFlush(t, one, b.org)
	after("a file less and a flush", false)
	add(two)
	mustFlush(t, two, b.org)
	add(one)
	mustFlush(t, one, b.org)
	after("a flush of each", false)
}
