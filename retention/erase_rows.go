package retention

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"mailwake/engine/event"
	"mailwake/engine/lake"
)

// eraseWorkers read and rewrite files at once: a file is decoded by one core.
const eraseWorkers = 4

// RowsFound says what became of data files.
type RowsFound struct {
	Files     int   `json:"files"`      // of the table
	Read      int   `json:"files_read"` // of one column; of the others, bounds and rollups tell
	Rewritten int   `json:"files_rewritten"`
	Erased    int64 `json:"rows_erased"`
	Kept      int64 `json:"rows_kept"` // of rewritten files
	BytesOld  int64 `json:"bytes_before"`
	BytesNew  int64 `json:"bytes_after"`
}

// rows rewrites the files that hold rows of theirs, in one commit.
func (x *erasing) rows(ctx context.Context) (any, error) {
	w := newWorkshop(x.k.opts.Worker, false) // somebody waits for it
	defer w.close()
	for range replans {
		snapshot, err := x.s.table.Refresh(ctx)
		if err != nil {
			return nil, err
		}
		out := RowsFound{Files: len(snapshot.Files())}
		var hold []lake.File
		if hold, out.Read, err = x.holding(ctx, snapshot.Files()); err != nil {
			return nil, err
		}
		if len(hold) == 0 {
			return out, nil
		}
		err = x.k.rolled(ctx, w, x.s, func(w workshop) error { return x.rewrite(ctx, w, hold, &out) })
		if err == nil {
			return out, nil
		}
		if !errors.Is(err, lake.ErrConflict) {
			return nil, err
		}
		x.k.stats.conflicts.Add(1)
	}
	return nil, fmt.Errorf("other commits came first %d times", replans)
}

// rewrite replaces files by such without rows of theirs.
func (x *erasing) rewrite(ctx context.Context, w workshop, files []lake.File, out *RowsFound) error {
	written, counts := make([][]lake.File, len(files)), make([]Counts, len(files))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(eraseWorkers)
	for i := range files {
		g.Go(func() (err error) {
			written[i], counts[i], err = w.merge(gctx, x.k.opts.Lake, x.s.table, files[i:i+1], x.cull, x.k.opts.FileBytes, func(int64) {})
			return err
		})
	}
	err := g.Wait()
	var add []lake.File
	var sum Counts
	for i := range files {
		add = append(add, written[i]...)
		sum.add(counts[i])
		out.BytesOld += files[i].Bytes
	}
	if err == nil {
		_, err = x.s.table.Commit(ctx, lake.Change{Add: add, Remove: files})
	}
	if err != nil {
		return errors.Join(err, x.s.table.Discard(ctx, add))
	}
	for _, f := range add {
		out.BytesNew += f.Bytes
	}
	out.Rewritten, out.Erased, out.Kept = len(files), sum.Erased, sum.Written
	x.k.count(x.s, sum)
	return nil
}

// holding returns the files that hold rows of theirs, and how many had to be read.
func (x *erasing) holding(ctx context.Context, files []lake.File) (hold []lake.File, read int, err error) {
	found, reads := make([]bool, len(files)), make([]bool, len(files))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(eraseWorkers)
	for i := range files {
		g.Go(func() (err error) {
			found[i], reads[i], err = x.k.holds(gctx, x.e.Org, files[i], x.cull, x.e.Recipients)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, 0, err
	}
	for i, f := range files {
		if found[i] {
			hold = append(hold, f)
		}
		if reads[i] {
			read++
		}
	}
	return hold, read, nil
}

// holds reports whether f has a row of one of the recipients, which are those of c.
// Bounds of recipient_id exclude some files, rollups tell of most others, in a block
// or two. A file without one is read: that column alone, which is sorted within an
// email and takes about a byte a row.
func (k *Keeper) holds(ctx context.Context, org event.OrgID, f lake.File, c *cull, recipients []event.RecipientID) (holds, read bool, err error) {
	if !c.overlaps(&f) {
		return false, false, nil
	}
	if told := k.opts.Removals.Told; told != nil {
		if holds, known := told(org, f, recipients); known {
			return holds, false, nil
		}
	}
	holds, err = holdsAny(ctx, k.opts.Lake, f, c.holds)
	return holds, true, err
}

func holdsAny(ctx context.Context, l *lake.Lake, f lake.File, wanted func(event.RecipientID) bool) (found bool, err error) {
	r, err := l.Columns(ctx, f, lake.NewTexts(), []int{lake.RecipientID}, nil)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	var rows lake.Rows
	last, is := int64(-1), false
	for {
		switch err := r.Next(&rows); {
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, err
		}
		for _, id := range rows.Longs[lake.RecipientID] {
			if id != last {
				last, is = id, wanted(event.RecipientID(id))
			}
			if is {
				return true, nil
			}
		}
	}
}
