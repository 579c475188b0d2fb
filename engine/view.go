package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"mailwake/engine/blob"
	"mailwake/engine/event"
	"mailwake/engine/lake"
)

// View is what one organisation's data was at one instant: the files of a table
// snapshot and the tail after that snapshot's mark. Each event is in exactly one
// of the two. It holds every event whose Append returned before the View was
// taken. A View is not safe for concurrent use; Close it.
type View struct {
	org      event.OrgID
	node     uint8
	snapshot *lake.Snapshot
	paths    []string
	releases []func()
	chunks   []chunk
	from, to event.Position
	content  uint64
}

// View takes a view of org. It reads the catalog for commits of other nodes and
// fetches the snapshot's files into the local cache where they are not there yet.
func (e *Engine) View(ctx context.Context, org event.OrgID) (v *View, err error) {
	for try := 1; ; try++ {
		// Erasure deletes replaced files without a grace: one may go between the taking
		// of a snapshot and its pin. The next snapshot does not have it.
		v, err = e.view(ctx, org)
		if !errors.Is(err, blob.ErrNotFound) || try == viewTries {
			return v, err
		}
	}
}

// viewTries bounds how often a View is taken anew; each time an erasure must have
// deleted files within the same millisecond.
const viewTries = 3

func (e *Engine) view(ctx context.Context, org event.OrgID) (v *View, err error) {
	t, err := e.tail(ctx, org)
	if err != nil {
		return nil, err
	}
	if _, err := t.table.Refresh(ctx); err != nil {
		return nil, fmt.Errorf("refresh table of %s: %w", t.name, err)
	}
	v = e.capture(t)
	v.releases = append(v.releases, e.opts.Lake.Pin(v.snapshot))
	taken := v // a return of an error sets v to nil
	defer func() {
		if err != nil {
			taken.Close()
		}
	}()
	for _, f := range v.snapshot.Files() {
		path, release, err := e.opts.Lake.Local(ctx, f)
		if err != nil {
			return nil, fmt.Errorf("fetch %s: %w", f.Path, err)
		}
		v.paths = append(v.paths, path)
		v.releases = append(v.releases, release)
	}
	return v, nil
}

// capture pairs the newest known snapshot with the tail after its mark.
func (e *Engine) capture(t *tail) *View {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := t.table.Snapshot()
	if !t.follow(s, e.node) {
		e.mu.contents++
		t.content = e.mu.contents
	}
	return &View{
		org: t.org, node: e.opts.Node, snapshot: s, content: t.content,
		chunks: slices.Clone(t.chunks), from: t.from, to: event.PositionOf(uint64(e.mu.delivered)+1, 0),
	}
}

// Files returns the local paths of the snapshot's Parquet files, valid until Close.
func (v *View) Files() []string { return v.paths }

// Snapshot returns the table snapshot.
func (v *View) Snapshot() *lake.Snapshot { return v.snapshot }

// SnapshotID identifies the table snapshot.
func (v *View) SnapshotID() int64 { return v.snapshot.ID() }

// Tail returns the positions that the tail covers: from ≤ p < to.
func (v *View) Tail() (from, to event.Position) { return v.from, v.to }

// Content is the same for two Views of an Engine if the later one has the events of the
// earlier one and those appended since, no others: whatever has left the tail is in
// files as it was, and nothing else has happened to the files.
func (v *View) Content() uint64 { return v.content }

// Rows yields the tail's events at or after from, in log order, with their ids
// set. The Interaction is reused from step to step; its texts are valid as long
// as the View is referenced.
func (v *View) Rows(from event.Position) iter.Seq2[event.Position, *event.Interaction] {
	return v.rows(from, func(d *event.Decoder, row []byte, in *event.Interaction) (bool, error) {
		return true, d.Decode(row, in)
	})
}

// RowsOf is Rows for those of one email, in some third of the time.
func (v *View) RowsOf(email event.EmailID, from event.Position) iter.Seq2[event.Position, *event.Interaction] {
	return v.rows(from, func(d *event.Decoder, row []byte, in *event.Interaction) (bool, error) {
		return d.DecodeOf(email, row, in)
	})
}

func (v *View) rows(from event.Position, decode func(*event.Decoder, []byte, *event.Interaction) (bool, error)) iter.Seq2[event.Position, *event.Interaction] {
	return func(yield func(event.Position, *event.Interaction) bool) {
		in := new(event.Interaction)
		var rows event.Decoder
		group := uint64(0)
		from = max(from, v.from)
		// A row may have the texts of one before it in its group.
		for p, row := range entries(v.chunks, event.PositionOf(from.Group(), 0)) {
			if p.Group() != group {
				group = p.Group()
				rows.NextGroup()
			}
			// It was encoded by this process or checked by replay, so a failure is
			// memory corruption.
			wanted, err := decode(&rows, row, in)
			if err != nil {
				panic(err)
			}
			if !wanted || p < from {
				continue
			}
			if in.ID == 0 {
				in.ID = event.OwnID(v.node, p)
			}
			if !yield(p, in) {
				return
			}
		}
	}
}

// Close releases the files.
func (v *View) Close() {
	for _, release := range v.releases {
		release()
	}
	v.releases = nil
}
