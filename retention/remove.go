package retention

import (
	"context"
	"errors"
	"slices"

	"mailwake/engine/event"
	"mailwake/engine/lake"
)

// Removed says what a removal of rows found and did.
type Removed struct {
	Files     int      `json:"files"`           // in the table
	Read      int      `json:"files_searched"`  // whose bounds did not rule the recipients out, those that came meanwhile included
	Rewritten int      `json:"files_rewritten"` // that held rows of theirs
	Rows      int64    `json:"rows_removed"`
	Replaced  []string `json:"replaced"` // keys of the blobs that held them; Collect deletes these
}

// RemoveRows takes every row of the recipients out of the organisation's table, of
// whatever kind. It rewrites the files that hold such rows and touches no other:
// bounds of recipient_id rule files out, and of the rest three columns are read.
// What was replaced is in the ledger for lake.Table.Collect. It does not see what
// is not flushed, and is to be repeated when it fails. Problems: org_not_found,
// maintenance_elsewhere.
func (k *Keeper) RemoveRows(ctx context.Context, org event.OrgID, recipients []event.RecipientID) (done Removed, err error) {
	o, err := k.org(org)
	if err != nil {
		return done, err
	}
	release, err := k.lead(ctx)
	if err != nil {
		return done, err
	}
	defer release()
	s, err := k.subject(ctx, o)
	if err != nil {
		return done, err
	}
	for n := 0; ; n++ {
		again, err := k.removeOnce(ctx, s, recipients, &done)
		if err == nil || !errors.Is(err, lake.ErrConflict) || n == replans {
			if err == nil && again && n < replans {
				continue // files may have come meanwhile
			}
			return done, err
		}
		k.stats.conflicts.Add(1)
	}
}

// removeOnce goes through the files once; again says that it changed some.
func (k *Keeper) removeOnce(ctx context.Context, s *subject, recipients []event.RecipientID, done *Removed) (again bool, err error) {
	snapshot, err := s.table.Refresh(ctx)
	if err != nil {
		return false, err
	}
	p, err := k.policy(ctx, s)
	if err != nil {
		return false, err
	}
	p.Erased = append(p.Erased, recipients...)
	only := &Policy{Erased: recipients}
	c := only.cull(k.opts.Now())
	done.Files = max(done.Files, len(snapshot.Files()))
	for _, f := range snapshot.Files() {
		if !c.overlaps(&f) {
			continue
		}
		done.Read++
		why, err := strikes(ctx, k.opts.Lake, f, c)
		if err != nil {
			return again, err
		}
		if why == "" {
			continue
		}
		counts, err := k.rewrite(ctx, s, &Rewrite{Month: f.MinTime.Month(), Files: []lake.File{f}, Why: []string{why}}, p)
		if err != nil {
			return again, err
		}
		again = true
		done.Rewritten++
		done.Rows += counts.Erased
		if !slices.Contains(done.Replaced, f.Path) {
			done.Replaced = append(done.Replaced, f.Path)
		}
	}
	return again, nil
}
