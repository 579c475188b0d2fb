package retention

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/lake"
)

// policy is what holds for s now.
func (k *Keeper) policy(ctx context.Context, s *subject) (*Policy, error) {
	p := &Policy{Policy: s.org.Policy, MinMerge: k.opts.MinMerge, FullBytes: k.opts.FullBytes}
	for r, err := range k.opts.Registry.Refusals(ctx, s.org.ID) {
		if err != nil {
			return nil, err
		}
		p.Refusals = append(p.Refusals, r)
	}
	// Rows that were being recorded when an erasure began, or that came back with an
	// old backup, go with the next rewrite.
	p.Erased = k.opts.Registry.ErasedRecipients(s.org.ID)
	return p, nil
}

// expire removes whole files.
func (k *Keeper) expire(ctx context.Context, s *subject) error {
	snapshot, err := s.table.Refresh(ctx)
	if err != nil {
		return err
	}
	p := Policy{Policy: s.org.Policy}
	gone := p.Expired(snapshot.Files(), k.opts.Now())
	if len(gone) == 0 {
		return nil
	}
	if _, err := s.table.Commit(ctx, lake.Change{Remove: gone}); err != nil {
		return err
	}
	var c Counts
	for _, f := range gone {
		c.Aged += f.Rows
	}
	k.count(s, c)
	return nil
}

// enforce rewrites the files that hold rows which consent strikes out, or rows of
// erased people that came back, from a backup say.
func (k *Keeper) enforce(ctx context.Context, s *subject) error {
	return k.rewrites(ctx, s, func(r *Rewrite) bool { return slices.Contains(r.Why, WhyRefused) || slices.Contains(r.Why, WhyErased) })
}

// compact does all rewrites that are due.
func (k *Keeper) compact(ctx context.Context, s *subject) error {
	return k.rewrites(ctx, s, func(*Rewrite) bool { return true })
}

// rewrites plans and executes until nothing of the wanted kind is left.
func (k *Keeper) rewrites(ctx context.Context, s *subject, want func(*Rewrite) bool) error {
	w := newWorkshop(k.opts.Worker, true)
	defer w.close()
	for range replans {
		plan, p, err := k.plan(ctx, s)
		if err != nil {
			return err
		}
		plan = slices.DeleteFunc(plan, func(r Rewrite) bool { return !want(&r) })
		if len(plan) == 0 {
			return nil
		}
		for _, r := range plan {
			_, err := k.rewrite(ctx, w, s, &r, p)
			if errors.Is(err, lake.ErrConflict) {
				k.stats.conflicts.Add(1)
				break // the rest of the plan is as old as this one
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// plan is what Policy.Rewrites makes of the newest snapshot.
func (k *Keeper) plan(ctx context.Context, s *subject) ([]Rewrite, *Policy, error) {
	snapshot, err := s.table.Refresh(ctx)
	if err != nil {
		return nil, nil, err
	}
	p, err := k.policy(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	now := k.opts.Now()
	struck, err := k.struck(ctx, s, snapshot.Files(), p, now)
	if err != nil {
		return nil, nil, err
	}
	return p.Rewrites(snapshot.Files(), struck, now), p, nil
}

// rewrite replaces the files of r by a merge of them, in one commit.
func (k *Keeper) rewrite(ctx context.Context, w workshop, s *subject, r *Rewrite, p *Policy) (counts Counts, err error) {
	k.progress(0, r.Rows())
	err = k.rolled(ctx, w, s, func(w workshop) error {
		var out []lake.File
		out, counts, err = w.merge(ctx, k.opts.Lake, s.table, r.Files, p.cull(k.opts.Now()), k.opts.FileBytes, func(done int64) { k.progress(done, r.Rows()) })
		if err != nil {
			return fmt.Errorf("rewrite %d files: %w", len(r.Files), err)
		}
		if _, err := s.table.Commit(ctx, lake.Change{Add: out, Remove: r.Files}); err != nil {
			// Collect looks at the table before it deletes any of them.
			return errors.Join(err, s.table.Discard(ctx, out))
		}
		return nil
	})
	if err != nil {
		return counts, err
	}
	k.count(s, counts)
	k.stats.rewrites.Add(1)
	if counts.WhileRefused > 0 {
		k.opts.Logger.Error("rows had been collected from recipients who refused; they were removed", "org", s.org.ID, "rows", counts.WhileRefused)
	}
	return counts, nil
}

// rolled calls change, which merges files in the workshop and commits what comes of
// it, and their rollups come in meanwhile. Without its rollups a file is as good, and
// slower.
func (k *Keeper) rolled(ctx context.Context, w workshop, s *subject, change func(workshop) error) error {
	if k.opts.Incoming == nil {
		return change(w)
	}
	dir, done, err := k.opts.Incoming(ctx, s.org.ID)
	if err != nil {
		k.opts.Logger.Warn("rollups of rewritten files are made when they are asked for", "org", s.org.ID, "error", err)
		return change(w)
	}
	w.rollups = dir
	defer func() {
		// Also where the caller has left: until then none is removed.
		if err := done(context.WithoutCancel(ctx)); err != nil {
			k.opts.Logger.Warn("rollups of replaced files are removed later", "org", s.org.ID, "error", err)
		}
	}()
	return change(w)
}

// scans remembers which files were found to hold nothing to strike out, by what
// was looked for.
type scans map[string]uint64

var seed = maphash.MakeSeed()

// fingerprint tells apart what c looks for.
func (c *cull) fingerprint() uint64 {
	var sum uint64
	for r, s := range c.refused {
		sum += maphash.Comparable(seed, struct {
			r event.RecipientID
			s standing
		}{r, s})
	}
	return sum
}

// struck names the files that hold rows which consent or erasure strikes out now.
// Bounds of recipient_id rule files out; of the others four columns are read, less
// than half of the file, and the answer is remembered.
func (k *Keeper) struck(ctx context.Context, s *subject, files []lake.File, p *Policy, now time.Time) (map[string]string, error) {
	found := map[string]string{}
	c := p.cull(now)
	if len(c.refused) == 0 {
		return found, nil
	}
	looked, known := c.fingerprint(), scans{}
	for _, f := range files {
		if s.scans[f.Path] == looked {
			known[f.Path] = looked
			continue
		}
		if !c.overlaps(&f) {
			continue
		}
		why, err := strikes(ctx, k.opts.Lake, f, c)
		if err != nil {
			return nil, err
		}
		if why == "" {
			known[f.Path] = looked
		} else {
			found[f.Path] = why
		}
	}
	s.scans = known
	return found, nil
}

// strikes returns why c strikes out a row of f, or "".
func strikes(ctx context.Context, l *lake.Lake, f lake.File, c *cull) (why string, err error) {
	texts := lake.NewTexts()
	r, err := l.Columns(ctx, f, texts, []int{lake.RecipientID, lake.OccurredAt, lake.Delay}, []int{lake.Kind})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	k := newKinds(texts)
	var rows lake.Rows
	for {
		err := r.Next(&rows)
		if errors.Is(err, io.EOF) {
			return why, nil
		}
		if err != nil {
			return "", err
		}
		for i := range rows.Len() {
			switch c.of(&rows, i, k) {
			case erased:
				return WhyErased, nil
			case refused, whileRefused:
				return WhyRefused, nil
			}
		}
	}
}

func (k *Keeper) manifests(ctx context.Context, s *subject) error {
	done, err := s.table.RewriteManifests(ctx)
	if done {
		k.stats.manifests.Add(1)
	}
	return err
}

func (k *Keeper) snapshots(ctx context.Context, s *subject) error {
	n, err := s.table.Expire(ctx, k.opts.Now().Add(-k.opts.Grace))
	k.stats.snapshots.Add(int64(n))
	return err
}

func (k *Keeper) collect(ctx context.Context, s *subject) error {
	c, err := s.table.Collect(ctx, k.opts.Now().Add(-k.opts.Grace))
	k.collected(c)
	return err
}

func (k *Keeper) orphans(ctx context.Context, s *subject) error {
	c, err := s.table.Sweep(ctx, k.opts.Now().Add(-orphanAge))
	k.collected(c)
	return err
}
