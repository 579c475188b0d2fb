package lake

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Orphan is a data blob that is in no snapshot and not waiting for Collect: a
// commit was lost, or is still going on.
type Orphan struct {
	File               // Path and Bytes only
	Modified time.Time // by the store's clock
}

// Orphans lists the data blobs below the table's prefix that nothing refers to.
func (t *Table) Orphans(ctx context.Context) ([]Orphan, error) {
	out, err := t.orphans(ctx)
	if err != nil {
		return nil, fmt.Errorf("list orphans of %s: %w", t.org, err)
	}
	return out, nil
}

func (t *Table) orphans(ctx context.Context) (out []Orphan, err error) {
	for info, err := range t.lake.opts.Store.List(ctx, t.lake.tableKey(t.org)+"/data/") {
		if err != nil {
			return nil, err
		}
		if strings.HasSuffix(info.Key, dataSuffix) {
			out = append(out, Orphan{File{Path: info.Key, Bytes: info.Size}, info.Modified})
		}
	}
	if _, err := t.Refresh(ctx); err != nil {
		return nil, err
	}
	needed, err := t.referenced(ctx, t.current.Load())
	if err != nil {
		return nil, err
	}
	list, err := t.lake.listReplaced(ctx, t.org)
	if err != nil {
		return nil, err
	}
	for _, r := range list {
		needed[r.key] = struct{}{}
	}
	kept := out[:0]
	for _, o := range out {
		if _, ok := needed[o.Path]; !ok {
			kept = append(kept, o)
		}
	}
	return kept, nil
}
