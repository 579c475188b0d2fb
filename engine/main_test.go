package engine_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"go.uber.org/goleak"

	"mailwake/engine"
	"mailwake/engine/blob"
	"mailwake/engine/blob/blobtest"
	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/engine/registry"
	"mailwake/engine/wal/waltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var july = time.Date(2026, 7, 15, 12, 0, 0, 0, time.UTC)

// parquetRow is a row of a data file, as an implementation of Parquet other
// than the lake's reads it.
type parquetRow struct {
	EventID     int64   `parquet:"event_id"`
	OccurredAt  int64   `parquet:"occurred_at"`
	Delay       int64   `parquet:"delay"`
	Kind        string  `parquet:"kind"`
	EmailID     int64   `parquet:"email_id"`
	RecipientID int64   `parquet:"recipient_id"`
	Component   int32   `parquet:"component"`
	Actor       string  `parquet:"actor"`
	Reason      string  `parquet:"reason"`
	Device      string  `parquet:"device"`
	Client      string  `parquet:"client"`
	OS          string  `parquet:"os"`
	Source      string  `parquet:"source"`
	UserAgent   *string `parquet:"user_agent,optional"`
	Network     *string `parquet:"network,optional"`
}

func (r *parquetRow) interaction() event.Interaction {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	return event.Interaction{
		ID: r.EventID, OccurredAt: event.Micros(r.OccurredAt), ReceivedAt: event.Micros(r.OccurredAt + r.Delay),
		Kind:  event.Kind(slices.Index(event.Kinds(), r.Kind)),
		Email: event.EmailID(r.EmailID), Recipient: event.RecipientID(r.RecipientID), Component: r.Component,
		Actor: event.Actor(slices.Index(event.Actors(), r.Actor)), Reason: r.Reason,
		Device: event.Device(slices.Index(event.Devices(), r.Device)), Client: r.Client, OS: r.OS,
		Source:    event.Source(slices.Index(event.Sources(), r.Source)),
		UserAgent: text(r.UserAgent), Network: text(r.Network),
	}
}

// readParquet reads all events of a data file; their Org is 0.
func readParquet(path string) ([]event.Interaction, error) {
	rows, err := parquet.ReadFile[parquetRow](path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	in := make([]event.Interaction, len(rows))
	for i := range rows {
		in[i] = rows[i].interaction()
	}
	return in, nil
}

// bench is what an Engine stands on: a registry with one organisation, a store
// that fails on script, a lake and a disk for the log.
type bench struct {
	t     testing.TB
	dir   string
	reg   *registry.Registry
	store *blobtest.Faulty
	lake  *lake.Lake
	disk  *waltest.Disk
	org   event.OrgID
	opts  engine.Options
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), store: blobtest.NewFaulty(blob.Mem("test")), disk: waltest.NewDisk()}
	b.reg = openRegistry(t, b.dir)
	b.org = b.newOrg("acme")
	b.lake = openLake(t, b.dir, "0", b.store)
	b.opts = engine.Options{Dir: "data", Registry: b.reg, Lake: b.lake}
	b.opts.Log.VFS, b.opts.Log.SegmentBytes = b.disk, 256<<10 // a disk in memory, copied by crashes
	return b
}

func openRegistry(t testing.TB, dir string) *registry.Registry {
	t.Helper()
	r, err := registry.Open(context.Background(), registry.Options{DSN: "sqlite://" + filepath.Join(dir, "registry.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func openLake(t testing.TB, dir, node string, store blob.Store) *lake.Lake {
	t.Helper()
	l, err := lake.Open(context.Background(), lake.Options{
		Store: store, CatalogPath: filepath.Join(dir, "catalog.db"), CacheDir: filepath.Join(dir, "cache-"+node),
		Logger: slog.New(slog.DiscardHandler), ExpireEvery: 8,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func (b *bench) newOrg(name string) event.OrgID {
	b.t.Helper()
	o, err := b.reg.CreateOrg(context.Background(), registry.NewOrg{Name: name})
	if err != nil {
		b.t.Fatal(err)
	}
	return o.ID
}

// open opens an Engine that is closed with the test.
func (b *bench) open() *engine.Engine {
	b.t.Helper()
	e, err := engine.Open(context.Background(), b.opts)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { e.Close() })
	return e
}

// reopen closes e and opens another one on the same log.
func (b *bench) reopen(e *engine.Engine) *engine.Engine {
	b.t.Helper()
	if err := e.Close(); err != nil {
		b.t.Fatal(err)
	}
	return b.open()
}

// opens makes n events of org that are told apart by Recipient, from first on.
func opens(org event.OrgID, first, n int) []event.Interaction {
	in := make([]event.Interaction, n)
	for i := range in {
		at := event.At(july) + event.Micros(first+i)
		in[i] = event.Interaction{Org: org, OccurredAt: at, ReceivedAt: at, Kind: event.Open, Email: 1, Recipient: event.RecipientID(first + i), Source: event.Pixel}
	}
	return in
}

func mustAppend(t testing.TB, e *engine.Engine, in []event.Interaction) {
	t.Helper()
	if err := e.Append(context.Background(), in); err != nil {
		t.Fatal(err)
	}
}

func mustFlush(t testing.TB, e *engine.Engine, org event.OrgID) {
	t.Helper()
	if err := e.Flush(context.Background(), org); err != nil {
		t.Fatal(err)
	}
}

// content is what a View shows, by Recipient.
type content struct{ files, tail []int }

func (c content) all() []int { return slices.Sorted(slices.Values(slices.Concat(c.files, c.tail))) }

func contentOf(t testing.TB, v *engine.View) (c content) {
	t.Helper()
	for _, path := range v.Files() {
		in, err := readParquet(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range in {
			c.files = append(c.files, int(in[i].Recipient))
		}
	}
	for _, in := range v.Rows(0) {
		c.tail = append(c.tail, int(in.Recipient))
	}
	return c
}

// look takes a View, reads it and closes it.
func look(t testing.TB, e *engine.Engine, org event.OrgID) content {
	t.Helper()
	v, err := e.View(context.Background(), org)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	return contentOf(t, v)
}

// numbers are first … first+n-1.
func numbers(first, n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = first + i
	}
	return out
}

func want(t testing.TB, e *engine.Engine, org event.OrgID, first, n int) content {
	t.Helper()
	c := look(t, e, org)
	if got := c.all(); !slices.Equal(got, numbers(first, n)) {
		t.Fatalf("view of %d has %d events %v, want %d from %d on, each once", org, len(got), got, n, first)
	}
	return c
}
