package retention

import (
	"context"
	"errors"
	"time"

	"mailwake/engine/blob"
	"mailwake/engine/problem"
)

func (x *erasing) log(ctx context.Context) (any, error) {
	return struct {
		Overwritten bool `json:"overwritten"`
	}{true}, x.Shred(ctx)
}

// ManifestsFound says what became of manifests.
type ManifestsFound struct {
	Rewritten bool `json:"rewritten"`
	Snapshots int  `json:"snapshots_dropped"`
}

func (x *erasing) manifests(ctx context.Context) (any, error) {
	var out ManifestsFound
	var err error
	if out.Rewritten, err = x.s.table.RewriteManifests(ctx); err != nil {
		return nil, err
	}
	// Snapshots have the time of this machine, whatever clock is injected.
	out.Snapshots, err = x.s.table.Expire(ctx, time.Now())
	return out, err
}

// BlobsFound says what was deleted from the store.
type BlobsFound struct {
	Deleted int   `json:"deleted"`
	Bytes   int64 `json:"bytes"`
}

// blobs deletes replaced blobs as soon as nobody reads them.
func (x *erasing) blobs(ctx context.Context) (any, error) {
	var out BlobsFound
	// What was replaced since the step before, while a reader was waited for, is in
	// older snapshots as well.
	if _, err := x.s.table.Expire(ctx, time.Now()); err != nil {
		return nil, err
	}
	err := x.wait(ctx, func() (bool, error) {
		// What is noted just now is due too.
		c, err := x.s.table.Collect(ctx, x.k.opts.Now().Add(time.Second))
		x.k.collected(c)
		out.Deleted, out.Bytes = out.Deleted+c.Deleted, out.Bytes+c.Bytes
		return c.Waiting+c.Pinned == 0, err
	})
	x.s.table.ForgetCopies()
	return out, err
}

// wait calls try until it is done, for as long as the patience lasts but at least
// twice: what leaves a table is noted first and deleted then.
func (r *Removals) wait(ctx context.Context, try func() (done bool, err error)) error {
	patience := time.NewTimer(r.Patience)
	defer patience.Stop()
	for over := false; ; {
		if done, err := try(); done || err != nil {
			return err
		}
		if over {
			return problem.New(503, "removal_waits", "Somebody is reading what is to be deleted, or a lost upload is not old enough; nothing new is collected, and the removal goes on by itself.")
		}
		pause := time.NewTimer(removalPause)
		select {
		case <-pause.C:
		case <-patience.C:
			pause.Stop()
			over = true
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
}

// orphans deletes what no table has but holds rows of theirs. Which of them is an
// upload in flight, perhaps another node's, only age tells.
func (x *erasing) orphans(ctx context.Context) (any, error) {
	var out BlobsFound
	list, err := x.s.table.Orphans(ctx)
	if err != nil {
		return nil, err
	}
	for _, o := range list {
		holds, err := holdsAny(ctx, x.k.opts.Lake, o.File, x.cull.holds)
		if err != nil {
			return nil, err
		}
		if !holds {
			continue
		}
		if err := x.wait(ctx, func() (bool, error) { return time.Since(o.Modified) >= x.OrphanAge, nil }); err != nil {
			return nil, err
		}
		if err := x.Store.Delete(ctx, o.Path); err != nil {
			return nil, err
		}
		out.Deleted++
		out.Bytes += o.Bytes
	}
	x.s.table.ForgetCopies()
	return out, nil
}

func (x *erasing) attachments(ctx context.Context) (any, error) {
	list, err := x.Registry.ErasedAttachments(ctx, x.e.Org, x.e.ID)
	if err != nil {
		return nil, err
	}
	var out BlobsFound
	keys := make([]string, len(list))
	for i, a := range list {
		keys[i] = a.Key
		out.Bytes += a.Size
	}
	out.Deleted = len(keys)
	if len(keys) == 0 {
		return out, nil
	}
	if err := x.Store.Delete(ctx, keys...); err != nil {
		return nil, err
	}
	for _, key := range keys {
		if _, err := x.Store.Stat(ctx, key); !errors.Is(err, blob.ErrNotFound) {
			return nil, errors.Join(errors.New("an attachment is still there after it was deleted"), err)
		}
	}
	return out, nil
}

func (x *erasing) records(ctx context.Context) (any, error) {
	return x.Registry.EraseRecords(ctx, x.e.Org, x.e.ID)
}

func (x *erasing) memory(ctx context.Context) (any, error) {
	if x.Forget == nil {
		return struct{}{}, nil
	}
	return struct{}{}, x.Forget(ctx, x.e.Org)
}

// CopiesFound says what a storage account keeps beyond what was deleted.
type CopiesFound struct {
	Deleted int   `json:"deleted"`
	Left    int   `json:"left"` // not allowed to be deleted
	Bytes   int64 `json:"bytes_left"`
	// Until is when the account will have dropped the last one; nil when nothing is
	// left, and when the account drops some of them never.
	Until *time.Time `json:"until,omitempty"`
	Never int        `json:"never_dropped,omitempty"` // of Left: those that stay until somebody deletes them
	Kinds []string   `json:"kinds,omitempty"`
}

func (r *Removals) expunge(ctx context.Context, prefix string, wanted func(key string) bool) (out CopiesFound, err error) {
	done, left, err := blob.ExpungeAll(ctx, r.Store, prefix, wanted)
	out.Deleted, out.Left = done, len(left)
	kinds := map[blob.CopyKind]bool{}
	for _, c := range left {
		out.Bytes += c.Bytes
		switch {
		case c.Until.IsZero():
			out.Never++
		case out.Until == nil || c.Until.After(*out.Until):
			out.Until = &c.Until
		}
		if !kinds[c.Kind] {
			kinds[c.Kind] = true
			out.Kinds = append(out.Kinds, string(c.Kind))
		}
	}
	return out, err
}

// copies deletes what the account keeps of blobs that are gone: which of them held
// rows of theirs cannot be told any more. Those of live blobs are left alone.
func (x *erasing) copies(ctx context.Context) (any, error) {
	live := map[string]bool{}
	for info, err := range x.Store.List(ctx, x.k.opts.Lake.Prefix(x.s.org.Name)) {
		if err != nil {
			return nil, err
		}
		live[info.Key] = true
	}
	return x.expunge(ctx, x.k.opts.Lake.Prefix(x.s.org.Name), func(key string) bool { return !live[key] })
}

// SearchFound says what the last search looked at; it found nothing.
type SearchFound struct {
	Files int `json:"files_searched"`
	Read  int `json:"files_read"` // of the others, bounds and rollups tell
}

// search looks for what is left: an event that was being recorded when the erasure
// began is in the table by now.
func (x *erasing) search(ctx context.Context) (any, error) {
	if err := x.Shred(ctx); err != nil {
		return nil, err
	}
	snapshot, err := x.s.table.Refresh(ctx)
	if err != nil {
		return nil, err
	}
	hold, read, err := x.holding(ctx, snapshot.Files())
	if err != nil {
		return nil, err
	}
	stale, err := x.s.table.StaleManifests(ctx)
	if err != nil {
		return nil, err
	}
	traces, err := x.Registry.SearchErased(ctx, x.e.Org, x.e.Person, x.e.Recipients, nil)
	if err != nil {
		return nil, err
	}
	if len(hold) > 0 || stale || len(traces.Records) > 0 {
		return nil, errAgain
	}
	return SearchFound{Files: len(snapshot.Files()), Read: read}, nil
}
