package retention

import (
	"context"
	"fmt"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

// coming is what removals will do to an organisation, for Plan.
func (k *Keeper) coming(ctx context.Context, s *subject) (steps []Step, err error) {
	r := k.opts.Removals
	if r == nil {
		return nil, nil
	}
	open, err := r.Registry.UnfinishedErasures(ctx, s.org.ID)
	if err != nil {
		return nil, err
	}
	for _, e := range open {
		steps = append(steps, Step{
			Task: "erase", Why: []string{WhyErased}, When: k.opts.Now(),
			What: fmt.Sprintf("go on with erasure %d: %d of %d steps are done", e.ID, len(e.Steps), len(eraseSteps)),
		})
	}
	if s.org.State != registry.OrgTerminated {
		return steps, nil
	}
	purge, err := k.comingPurge(ctx, s)
	return append(steps, purge...), err
}

// comingPurge is what the purge of a terminated organisation will delete, and when:
// what its certificate will say was deleted, if nothing changes until then.
func (k *Keeper) comingPurge(ctx context.Context, s *subject) ([]Step, error) {
	r := k.opts.Removals
	from, kept, err := k.purgeFrom(ctx, s.org)
	if err != nil {
		return nil, err
	}
	blobs := Step{Task: "purge", Why: []string{WhyTerminated}, When: from.Time(), Rows: s.table.Snapshot().Rows(),
		What: "delete the table, all blobs and attachments, and what is buffered, for good; resubscribing before then cancels it"}
	for info, err := range r.Store.List(ctx, k.opts.Lake.Prefix(s.org.Name)) {
		if err != nil {
			return nil, err
		}
		blobs.Files++
		blobs.Bytes += info.Size
	}
	if kept > 0 {
		blobs.What += fmt.Sprintf("; this begins %d days before the due date, since the storage account keeps deleted blobs for so long", int(kept.Hours()/24))
	}
	clock, err := r.Registry.ReadClock(ctx)
	if err != nil {
		return nil, err
	}
	if !clock.Trusted() && event.At(k.opts.Now()) >= from {
		blobs.What += "; it waits until the server's clock has gone on for a day without a jump"
	}
	records := Step{Task: "purge", Why: blobs.Why, When: blobs.When, What: "delete all records of people, addresses, preferences, emails and keys, and overwrite their bytes"}
	records.Rows, err = r.Registry.PurgedRows(ctx, s.org.ID)
	return []Step{blobs, records}, err
}
