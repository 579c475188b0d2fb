package lake

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/apache/iceberg-go"

	"mailwake/engine/blob"
)

// commitLongest is longer than any commit takes, retries included: what was noted
// as replaced so long ago and still is in the table was not replaced.
const commitLongest = time.Hour

// Collected says what a Collect or a Sweep did.
type Collected struct {
	Deleted int   // blobs that were deleted and seen to be gone
	Bytes   int64 // their size, as far as known
	Waiting int   // replaced blobs whose grace is not over, or that an old snapshot refers to
	Pinned  int   // replaced blobs that this process is reading
}

// Collect deletes the blobs that left the table before the given time and that
// neither a retained snapshot nor anybody in this process needs. Readers in other
// processes are safe if the time lies back further than they ever read. A blob is
// done with only when the store says that it is gone.
func (t *Table) Collect(ctx context.Context, before time.Time) (Collected, error) {
	c, err := t.collect(ctx, before)
	if err != nil {
		return c, fmt.Errorf("collect blobs of %s: %w", t.org, err)
	}
	return c, nil
}

func (t *Table) collect(ctx context.Context, before time.Time) (c Collected, err error) {
	if _, err := t.Refresh(ctx); err != nil {
		return c, err
	}
	list, err := t.lake.listReplaced(ctx, t.org)
	if err != nil || len(list) == 0 {
		return c, err
	}
	s := t.current.Load()
	live := keysOf(s.snapshot.files)
	due, err := t.settleLedger(ctx, list, live, before, &c)
	if err != nil || len(due) == 0 {
		return c, err
	}
	referenced, err := t.referenced(ctx, s)
	if err != nil {
		return c, err
	}
	pinned, gone := t.lake.pins.pinned(), []string(nil)
	for _, key := range due {
		if _, used := referenced[key]; used {
			c.Waiting++
			continue
		}
		if _, used := pinned[key]; used {
			c.Pinned++
			continue
		}
		gone = append(gone, key)
	}
	if err := t.remove(ctx, gone, &c); err != nil {
		return c, err
	}
	return c, t.lake.forgetReplaced(ctx, t.org, gone)
}

// settleLedger brings the ledger in line with the table and returns the keys
// whose grace is over.
func (t *Table) settleLedger(ctx context.Context, list []replaced, live map[string]struct{}, before time.Time, c *Collected) (due []string, err error) {
	now := t.lake.opts.Now()
	var left, stayed []string
	for _, r := range list {
		_, in := live[r.key]
		switch {
		case in:
			if now.Sub(r.noted) > commitLongest {
				stayed = append(stayed, r.key)
			}
		case r.since.IsZero():
			left = append(left, r.key)
			c.Waiting++
		case r.since.After(before):
			c.Waiting++
		default:
			due = append(due, r.key)
		}
	}
	if err := t.lake.forgetReplaced(ctx, t.org, stayed); err != nil {
		return nil, err
	}
	return due, t.lake.noteReplaced(ctx, t.org, left, now)
}

// remove deletes keys and local copies of them, and makes sure that they are gone.
func (t *Table) remove(ctx context.Context, keys []string, c *Collected) error {
	if len(keys) == 0 {
		return nil
	}
	var bytes int64
	for _, key := range keys {
		if info, err := t.lake.opts.Store.Stat(ctx, key); err == nil {
			bytes += info.Size
		}
		if t.lake.cache != nil {
			t.lake.cache.forget(key)
		}
	}
	if err := t.lake.opts.Store.Delete(ctx, keys...); err != nil {
		return err
	}
	for _, key := range keys {
		_, err := t.lake.opts.Store.Stat(ctx, key)
		if err == nil {
			err = fmt.Errorf("%s is still there after it was deleted", key)
		}
		if !errors.Is(err, blob.ErrNotFound) {
			return err
		}
	}
	c.Deleted += len(keys)
	c.Bytes += bytes
	return nil
}

// referenced are the data blobs of all snapshots that the table still has.
func (t *Table) referenced(ctx context.Context, s *state) (map[string]struct{}, error) {
	keys := keysOf(s.snapshot.files)
	files := &fileIO{ctx: ctx, store: t.lake.opts.Store}
	read := map[string]struct{}{}
	for _, snap := range s.iceberg.Metadata().Snapshots() {
		manifests, err := manifestsOf(files, &snap)
		if err != nil {
			return nil, fmt.Errorf("read manifest list: %w", err)
		}
		for _, m := range manifests {
			if _, before := read[m.FilePath()]; before {
				continue
			}
			read[m.FilePath()] = struct{}{}
			entries, err := entriesOf(files, m)
			if err != nil {
				return nil, fmt.Errorf("read manifest: %w", err)
			}
			for _, e := range entries {
				if e.Status() == iceberg.EntryStatusDELETED {
					continue
				}
				key, err := keyOf(t.lake.opts.Store, e.DataFile().FilePath())
				if err != nil {
					return nil, err
				}
				keys[key] = struct{}{}
			}
		}
	}
	return keys, nil
}

func keysOf(files []File) map[string]struct{} {
	keys := make(map[string]struct{}, len(files))
	for _, f := range files {
		keys[f.Path] = struct{}{}
	}
	return keys
}

// Discard gives up files that Write or a Receiver has stored and no commit has
// taken: Collect deletes them after its grace, unless the table has them after
// all. Only their writer knows that nobody will commit them.
func (t *Table) Discard(ctx context.Context, files []File) error {
	keys := make([]string, len(files))
	for i, f := range files {
		keys[i] = f.Path
	}
	return t.lake.noteReplaced(context.WithoutCancel(ctx), t.org, keys, time.Time{})
}

// Sweep deletes what lost commits and crashes left behind: blobs below the
// table's prefix that nothing refers to and that were stored before the given
// time, which must lie back further than any write and commit takes.
func (t *Table) Sweep(ctx context.Context, before time.Time) (Collected, error) {
	c, err := t.sweep(ctx, before)
	if err != nil {
		return c, fmt.Errorf("sweep blobs of %s: %w", t.org, err)
	}
	return c, nil
}

func (t *Table) sweep(ctx context.Context, before time.Time) (c Collected, err error) {
	// Listed first: what is committed after the listing is not in it, or is young.
	var old []string
	for info, err := range t.lake.opts.Store.List(ctx, t.lake.tableKey(t.org)+"/") {
		if err != nil {
			return c, err
		}
		if info.Modified.Before(before) {
			old = append(old, info.Key)
		}
	}
	if len(old) == 0 {
		return c, nil
	}
	if _, err := t.Refresh(ctx); err != nil {
		return c, err
	}
	s := t.current.Load()
	needed, err := t.referenced(ctx, s)
	if err != nil {
		return c, err
	}
	if err := t.metadataKeys(ctx, s, needed); err != nil {
		return c, err
	}
	list, err := t.lake.listReplaced(ctx, t.org)
	if err != nil {
		return c, err
	}
	for _, r := range list {
		needed[r.key] = struct{}{} // Collect's
	}
	for key := range t.lake.pins.pinned() {
		needed[key] = struct{}{}
	}
	var orphans []string
	for _, key := range old {
		if _, ok := needed[key]; !ok {
			orphans = append(orphans, key)
		}
	}
	return c, t.remove(ctx, orphans, &c)
}

// metadataKeys adds what the current metadata is made of, and its predecessors.
func (t *Table) metadataKeys(ctx context.Context, s *state, keys map[string]struct{}) error {
	m := s.iceberg.Metadata()
	locations := map[string]struct{}{s.iceberg.MetadataLocation(): {}}
	for e := range m.PreviousFiles() {
		locations[e.MetadataFile] = struct{}{}
	}
	if err := metadataFiles(&fileIO{ctx: ctx, store: t.lake.opts.Store}, m.Snapshots(), locations); err != nil {
		return err
	}
	for location := range locations {
		key, err := keyOf(t.lake.opts.Store, location)
		if err != nil {
			return err
		}
		keys[key] = struct{}{}
	}
	return nil
}
