package retention

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mailwake/engine/blob"
	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// purging is the purge of an organisation on its way.
type purging struct {
	*Removals
	k *Keeper
	p registry.Purge
}

type purgeStep struct {
	name, does string
	run        func(*purging, context.Context) (any, error)
}

// purgeSteps in their order: the registry goes last, since it knows what is left.
var purgeSteps = []purgeStep{
	{"log", "move what is buffered into the table and overwrite the log on disk", (*purging).log},
	{"memory", "drop what queries hold in memory, and all they keep of files", (*purging).memory},
	{"table", "delete table, data files, attachments and local copies", (*purging).table},
	{"copies", "delete versions, snapshots and soft-deleted copies at the storage account", (*purging).copies},
	{"records", "delete all rows of the registry and the keys, and overwrite their bytes", (*purging).records},
	{"search", "list and search everything again", (*purging).search},
}

// purgeFrom is when the deletion of a terminated organisation begins: at its date,
// or earlier by as long as the storage account keeps what is deleted, so that the
// last copy is gone at that date.
func (k *Keeper) purgeFrom(ctx context.Context, o registry.Org) (from event.Micros, kept time.Duration, err error) {
	c, keeps := blob.CopiesOf(k.opts.Removals.Store)
	if !keeps {
		return o.PurgeAt, 0, nil
	}
	kept, err = c.Keeps(ctx)
	if errors.Is(err, blob.ErrNotTold) {
		return o.PurgeAt, 0, nil // the certificate says what is left
	}
	return max(o.TerminatedAt, o.PurgeAt-event.Micros(kept/time.Microsecond)), kept, err
}

// Purge does what Run does about purges, now. Problem: maintenance_elsewhere.
func (k *Keeper) Purge(ctx context.Context) error {
	release, err := k.lead(ctx)
	if err != nil {
		return err
	}
	defer release()
	return k.purge(ctx)
}

// purge begins the purges that are due and goes on with those under way. Must lead.
//
// What cannot be undone is not begun by a clock that has just jumped: it must have
// gone on for a day, by readings at most a day apart, over restarts too. A server
// that was off for more than a day so purges a day later.
func (k *Keeper) purge(ctx context.Context) error {
	r := k.opts.Removals
	if r == nil {
		return nil
	}
	clock, err := r.Registry.ReadClock(ctx)
	errs := []error{err}
	for o := range r.Registry.Snapshot().Orgs() {
		if o.State != registry.OrgTerminated || err != nil || !clock.Trusted() {
			continue
		}
		from, _, err := k.purgeFrom(ctx, o)
		if err == nil && event.At(k.opts.Now()) >= from {
			_, err = r.Registry.BeginPurge(ctx, o.ID, from)
			if problem.Of(err).Code == "purge_not_due" {
				err = nil // resubscribed, or the registry's clock is not there yet
			}
		}
		errs = append(errs, err)
	}
	open, err := r.Registry.UnfinishedPurges(ctx)
	errs = append(errs, err)
	for _, p := range open {
		if err := k.finishPurge(ctx, p); err != nil {
			errs = append(errs, fmt.Errorf("purge of organisation %d: %w", p.Org, err))
		}
	}
	return errors.Join(errs...)
}

// finishPurge does the steps that are not done, and signs the certificate. After a
// restart in the middle the organisation may have an empty table again: so the
// search at the end decides, not what was noted.
func (k *Keeper) finishPurge(ctx context.Context, p registry.Purge) (err error) {
	r := k.opts.Removals
	for range removalTries {
		x := &purging{r, k, p}
		if err = x.run(ctx); !errors.Is(err, errAgain) {
			break
		}
		if err := r.Registry.RedoSteps(ctx, p.Org, 0); err != nil {
			return err
		}
		p.Steps = nil
	}
	if err != nil {
		return err
	}
	if p, err = r.Registry.Purge(ctx, p.Org); err != nil {
		return err
	}
	certificate, err := r.Signer.Sign(purgeReceipt(p, k.opts.Now()))
	if err != nil {
		return err
	}
	k.mu.Lock()
	delete(k.mu.memories, p.Org)
	k.mu.Unlock()
	k.opts.Logger.Info("organisation purged", "org", p.Org)
	return r.Registry.FinishPurge(ctx, p.Org, certificate)
}

func (x *purging) run(ctx context.Context) error {
	done := map[string]bool{}
	for _, s := range x.p.Steps {
		done[s.Step] = true
	}
	for _, step := range purgeSteps {
		if done[step.name] {
			continue
		}
		found, err := step.run(x, ctx)
		if err == nil {
			err = x.Registry.NoteStep(ctx, x.p.Org, 0, step.name, found)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

func (x *purging) log(ctx context.Context) (any, error) {
	return struct {
		Overwritten bool `json:"overwritten"`
	}{true}, x.Shred(ctx)
}

func (x *purging) memory(ctx context.Context) (any, error) {
	if x.Forget == nil {
		return struct{}{}, nil
	}
	return struct{}{}, x.Forget(ctx, x.p.Org)
}

func (x *purging) table(ctx context.Context) (any, error) {
	if err := x.DropTail(ctx, x.p.Org); err != nil {
		return nil, err
	}
	var c lake.Collected
	err := x.wait(ctx, func() (done bool, err error) {
		one, err := x.k.opts.Lake.Drop(ctx, x.p.Name)
		c.Deleted, c.Bytes = c.Deleted+one.Deleted, c.Bytes+one.Bytes
		if errors.Is(err, lake.ErrPinned) {
			return false, nil
		}
		return true, err
	})
	x.k.collected(c)
	return BlobsFound{c.Deleted, c.Bytes}, err
}

func (x *purging) copies(ctx context.Context) (any, error) {
	return x.expunge(ctx, x.k.opts.Lake.Prefix(x.p.Name), func(string) bool { return true })
}

func (x *purging) records(ctx context.Context) (any, error) {
	counts, err := x.Registry.PurgeRecords(ctx, x.p.Org)
	for table, n := range counts {
		if n == 0 {
			delete(counts, table)
		}
	}
	return counts, err
}

// PurgeFound is what a purge's last search found: nothing.
type PurgeFound struct {
	Rows  int64 `json:"rows_left"`
	Blobs int   `json:"blobs_left"`
}

func (x *purging) search(ctx context.Context) (any, error) {
	left, err := x.k.opts.Lake.Dropped(ctx, x.p.Name)
	if err != nil {
		return nil, err
	}
	rows, err := x.Registry.PurgedRows(ctx, x.p.Org)
	if err != nil {
		return nil, err
	}
	if len(left) > 0 || rows > 0 {
		return nil, errAgain
	}
	return PurgeFound{}, nil
}
