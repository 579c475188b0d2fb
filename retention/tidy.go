package retention

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/engine/registry"
)

// tidyEvery is how long what a process keeps of data files may outlive them.
const tidyEvery = 5 * time.Minute

// tidied is how far a process has cleaned up after itself. Run owns it.
type tidied struct {
	at      time.Time
	emptied map[event.OrgID]uint64 // Consent.Emptied of what was cleaned up
	purged  map[event.OrgID]bool
}

// tidy removes what only this process can reach, whichever process removed the
// data: copies and rollups of files that are in no table any more, and, at once
// after an erasure or a purge, also what its log and its queries hold. Every process
// does so, leading or not.
func (k *Keeper) tidy(ctx context.Context) error {
	now := k.opts.Now()
	due := now.Sub(k.tidied.at).Abs() >= tidyEvery // a clock that was set back puts nothing off
	erased := map[event.OrgID]uint64{}
	snapshot := k.opts.Registry.Snapshot()
	for o := range snapshot.Orgs() {
		if emptied := snapshot.Consent(o.ID).Emptied; emptied != k.tidied.emptied[o.ID] {
			erased[o.ID] = emptied
		}
	}
	gone, err := k.purgedSince(ctx)
	if err == nil && k.opts.Removals != nil && len(erased)+len(gone) > 0 {
		err = k.opts.Removals.Shred(ctx)
	}
	if err != nil {
		return err
	}
	var errs []error
	for o := range snapshot.Orgs() {
		emptied, theirs := erased[o.ID]
		if !due && !theirs {
			continue
		}
		if err := k.tidyOrg(ctx, o, theirs); err != nil {
			errs = append(errs, fmt.Errorf("tidy up after organisation %d: %w", o.ID, err))
		} else if theirs {
			k.tidied.emptied[o.ID] = emptied
		}
	}
	for _, p := range gone {
		errs = append(errs, k.tidyPurged(ctx, p))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if due {
		k.tidied.at = now
	}
	return nil
}

func (k *Keeper) tidyOrg(ctx context.Context, o registry.Org, erased bool) error {
	s, err := k.subject(ctx, o)
	if err != nil {
		return err
	}
	if _, err := s.table.Refresh(ctx); err != nil {
		return err
	}
	s.table.ForgetCopies()
	r := k.opts.Removals
	switch {
	case r == nil:
	case erased && r.Forget != nil:
		return r.Forget(ctx, o.ID)
	case r.Tidy != nil:
		live := map[string]bool{}
		for _, f := range s.table.Snapshot().Files() {
			live[path.Base(f.Path)] = true
		}
		return r.Tidy(ctx, o.ID, func(file string) bool { return live[file] })
	}
	return nil
}

// purgedSince lists organisations that are no more and of which this process may
// have something. What is buffered of them goes nowhere.
func (k *Keeper) purgedSince(ctx context.Context) (list []registry.Purge, err error) {
	if k.opts.Removals == nil {
		return nil, nil
	}
	all, err := k.opts.Removals.Registry.Purges(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if p.FinishedAt == 0 || k.tidied.purged[p.Org] {
			continue
		}
		if err := k.opts.Removals.DropTail(ctx, p.Org); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// tidyPurged forgets an organisation that is no more.
func (k *Keeper) tidyPurged(ctx context.Context, p registry.Purge) error {
	if f := k.opts.Removals.Forget; f != nil {
		if err := f(ctx, p.Org); err != nil {
			return fmt.Errorf("tidy up after organisation %d: %w", p.Org, err)
		}
	}
	err := k.opts.Lake.ForgetDropped(p.Name)
	if errors.Is(err, lake.ErrPinned) {
		return nil // somebody reads still: the next time
	}
	k.tidied.purged[p.Org] = err == nil
	return err
}
