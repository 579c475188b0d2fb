package query

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

// world is an engine and a registry in memory: events enter a tail, and flush
// moves a piece of it into a Parquet file.
type world struct {
	tb   testing.TB
	root string
	mu   sync.Mutex
	orgs map[event.OrgID]*fakeOrg
}

type fakeOrg struct {
	tail     []entry
	files    []string
	from, to event.Position
	flushed  int
	content  uint64 // changes when files do in another way than by a flush
	rules    Rules
	failing  error // what the next catalog read ends with, after its first row

	emails     []registry.Email
	recipients []registry.Recipient
	links      []registry.Link
	sentTo     []registry.EmailRecipient
	attached   []registry.AttachmentOfEmail
}

// replace lets the organisation have other files, whatever is in them.
func (o *fakeOrg) replace(files []string) {
	o.files = files
	o.content++
}

type entry struct {
	pos event.Position
	in  event.Interaction
}

func newWorld(tb testing.TB) *world {
	return &world{tb: tb, root: tb.TempDir(), orgs: map[event.OrgID]*fakeOrg{}}
}

func (w *world) open(change func(*Options)) *DB {
	w.tb.Helper()
	o := Options{Source: SourceFunc(w.View), Catalog: w, Rules: w.rules, Folders: w.folders, TempDir: filepath.Join(w.root, "spill"), RollupDir: filepath.Join(w.root, "rollups"),
		OnRollupError: func(_ event.OrgID, err error) { w.tb.Errorf("no rollup: %v", err) }, Threads: 2, Concurrency: 3}
	if change != nil {
		change(&o)
	}
	db, err := Open(o)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			w.tb.Error(err)
		}
	})
	return db
}

func (w *world) folders(org event.OrgID) ([]string, error) {
	dir := filepath.Join(w.root, fmt.Sprintf("o'%d", org))
	return []string{dir}, os.MkdirAll(dir, 0o700)
}

// org returns the organisation; the caller holds the lock.
func (w *world) org(id event.OrgID) *fakeOrg {
	o, ok := w.orgs[id]
	if !ok {
		o = &fakeOrg{rules: Rules{State: registry.OrgEnabled}, from: event.PositionOf(1, 0), to: event.PositionOf(1, 0)}
		w.orgs[id] = o
	}
	return o
}

// add appends events as one group of the log and returns the ids they got, dense
// from 1 over the organisation.
func (w *world) add(id event.OrgID, events ...event.Interaction) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.org(id)
	for i, in := range events {
		in.Org = id
		o.tail = append(o.tail, entry{o.to + event.Position(i), in})
	}
	o.to = event.PositionOf(o.to.Group()+1, 0)
}

// flush moves the first n tail events, at most all, into a new file.
func (w *world) flush(id event.OrgID, n int) {
	w.tb.Helper()
	w.mu.Lock()
	o := w.org(id)
	n = min(n, len(o.tail))
	piece := o.tail[:n:n]
	o.flushed++
	serial := o.flushed
	w.mu.Unlock()
	if n == 0 {
		return
	}
	dirs, err := w.folders(id)
	if err != nil {
		w.tb.Fatal(err)
	}
	path := filepath.Join(dirs[0], fmt.Sprintf("%06d.parquet", serial))
	rows := make([]event.Interaction, n)
	for i := range piece {
		rows[i] = piece[i].in
	}
	if err := writeFile(path, rows); err != nil {
		w.tb.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	o.files = append(slices.Clip(o.files), path)
	o.tail = o.tail[n:]
	if o.from = o.to; len(o.tail) > 0 {
		o.from = o.tail[0].pos
	}
}

func writeFile(path string, rows []event.Interaction) error {
	slices.SortStableFunc(rows, func(a, b event.Interaction) int {
		return cmp.Or(cmp.Compare(a.Email, b.Email), cmp.Compare(a.Recipient, b.Recipient), cmp.Compare(a.OccurredAt, b.OccurredAt))
	})
	b := event.NewBuilder(memory.DefaultAllocator)
	defer b.Release()
	for i := range rows {
		b.Add(rows[i].ID, &rows[i])
	}
	batch := b.Batch()
	defer batch.Release()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	out, err := pqarrow.NewFileWriter(batch.Schema(), f, parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd)), pqarrow.DefaultWriterProps())
	if err != nil {
		return err
	}
	if err := out.Write(batch); err != nil {
		return err
	}
	return out.Close()
}

type fakeView struct {
	tail     []entry
	files    []string
	from, to event.Position
	content  uint64
	closed   bool
}

func (w *world) View(ctx context.Context, id event.OrgID) (View, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.org(id)
	return &fakeView{tail: slices.Clip(o.tail), files: slices.Clip(o.files), from: o.from, to: o.to, content: o.content}, nil
}

func (v *fakeView) Files() []string                 { return v.files }
func (v *fakeView) SnapshotID() int64               { return int64(len(v.files)) }
func (v *fakeView) Tail() (from, to event.Position) { return v.from, v.to }
func (v *fakeView) Content() uint64                 { return v.content }
func (v *fakeView) Close()                          { v.closed = true }
func (v *fakeView) Rows(from event.Position) iter.Seq2[event.Position, *event.Interaction] {
	return func(yield func(event.Position, *event.Interaction) bool) {
		var in event.Interaction
		for _, p := range v.tail {
			if in = p.in; p.pos >= from && !yield(p.pos, &in) {
				return
			}
		}
	}
}

func (v *fakeView) RowsOf(email event.EmailID, from event.Position) iter.Seq2[event.Position, *event.Interaction] {
	return tailOf(v, email, from)
}

// EmailChanges takes the place in the list for the number of the change.
func (w *world) EmailChanges(_ context.Context, org event.OrgID, after int64) iter.Seq2[registry.Email, error] {
	return since(w, org, func(o *fakeOrg) []registry.Email {
		for i := int(after); i < len(o.emails); i++ {
			o.emails[i].Change = int64(i + 1)
		}
		return o.emails
	}, func(e registry.Email) bool { return e.Change > after })
}

func (w *world) RecipientsSince(_ context.Context, org event.OrgID, after event.RecipientID) iter.Seq2[registry.Recipient, error] {
	return since(w, org, func(o *fakeOrg) []registry.Recipient { return o.recipients }, func(r registry.Recipient) bool { return r.ID > after })
}

func (w *world) LinksSince(_ context.Context, org event.OrgID, after event.EmailID) iter.Seq2[registry.Link, error] {
	return since(w, org, func(o *fakeOrg) []registry.Link { return o.links }, func(l registry.Link) bool { return l.Email > after })
}

func (w *world) EmailRecipientsSince(_ context.Context, org event.OrgID, after event.EmailID) iter.Seq2[registry.EmailRecipient, error] {
	return since(w, org, func(o *fakeOrg) []registry.EmailRecipient { return o.sentTo }, func(r registry.EmailRecipient) bool { return r.Email > after })
}

func (w *world) EmailAttachmentsSince(_ context.Context, org event.OrgID, after event.EmailID) iter.Seq2[registry.AttachmentOfEmail, error] {
	return since(w, org, func(o *fakeOrg) []registry.AttachmentOfEmail { return o.attached }, func(a registry.AttachmentOfEmail) bool { return a.Email > after })
}

func (w *world) rules(id event.OrgID) (Rules, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.org(id).rules
	if r.Consent.Denied == nil {
		nobody := func(event.Kind) iter.Seq[event.RecipientID] { return func(func(event.RecipientID) bool) {} }
		r.Consent.Denied, r.Consent.Granted = nobody, nobody
	}
	return r, nil
}

func since[T any](w *world, id event.OrgID, list func(*fakeOrg) []T, behind func(T) bool) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		w.mu.Lock()
		o := w.org(id)
		all, failing := list(o), o.failing
		rows := slices.Clone(all[sort.Search(len(all), func(i int) bool { return behind(all[i]) }):])
		w.mu.Unlock()
		for _, row := range rows {
			if !yield(row, nil) {
				return
			}
			if failing != nil {
				yield(row, failing)
				return
			}
		}
	}
}
