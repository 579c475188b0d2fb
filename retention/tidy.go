package retention

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/lake"
)

// tidyEvery is how long what a process keeps of data files may outlive them.
const tidyEvery = 5 * time.Minute

// tidied is how far a process has cleaned up after itself. Run owns it.
type tidied struct {
	at      time.Time
	emptied map[event.OrgID]uint64 // how many erased recipients were known
	purged  map[event.OrgID]bool
}

// tidy removes what only this process can reach, whichever process removed the
// data: copies and rollups of files that are in no table any more, and, at once
// after an erasure or a purge, also what its log and its queries hold. Every process
// does so, leading or not.
func (k *Keeper) tidy(ctx context.Context) error {
	now := k.opts.Now()
	due := now.Sub(k.tidied.at).Abs() >= tidyEvery // a clock that was set back puts nothing off
	var errs []error
	for o := range k.opts.Registry.Snapshot().Orgs() {
		emptied := k.opts.Registry.Snapshot().Consent(o.ID).Emptied
		erased := emptied != k.tidied.emptied[o.ID]
		if !due && !erased {
			continue
		}
		s, err := k.subject(ctx, o)
		if err == nil {
			err = k.tidyOrg(ctx, s, erased)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("tidy up after organisation %d: %w", o.ID, err))
			continue
		}
		k.tidied.emptied[o.ID] = emptied
	}
	if errs = append(errs, k.tidyPurged(ctx)); due && errors.Join(errs...) == nil {
		k.tidied.at = now
	}
	return errors.Join(errs...)
}

func (k *Keeper) tidyOrg(ctx context.Context, s *subject, erased bool) error {
	r := k.opts.Removals
	if erased && r != nil {
		if err := r.Shred(ctx); err != nil {
			return err
		}
	}
	if _, err := s.table.Refresh(ctx); err != nil {
		return err
	}
	s.table.ForgetCopies()
	switch {
	case r == nil:
	case erased && r.Forget != nil:
		return r.Forget(ctx, s.org.ID)
	case r.Tidy != nil:
		live := map[string]bool{}
		for _, f := range s.table.Snapshot().Files() {
			live[path.Base(f.Path)] = true
		}
		return r.Tidy(ctx, s.org.ID, func(file string) bool { return live[file] })
	}
	return nil
}

// tidyPurged forgets organisations that are no more.
func (k *Keeper) tidyPurged(ctx context.Context) error {
	r := k.opts.Removals
	if r == nil {
		return nil
	}
	list, err := r.Registry.Purges(ctx)
	if err != nil {
		return err
	}
	for _, p := range list {
		if p.FinishedAt == 0 || k.tidied.purged[p.Org] {
			continue
		}
		x := &purging{r, k, p}
		if err := r.DropTail(ctx, p.Org); err != nil {
			return err
		}
		if err := r.Shred(ctx); err != nil {
			return err
		}
		if _, err := x.memory(ctx); err != nil {
			return err
		}
		if err := k.opts.Lake.ForgetDropped(p.Name); err != nil {
			if errors.Is(err, lake.ErrPinned) {
				continue // somebody is reading still: the next time
			}
			return err
		}
		k.tidied.purged[p.Org] = true
	}
	return nil
}
