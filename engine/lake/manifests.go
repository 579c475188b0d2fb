package lake

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/apache/iceberg-go"
	iceio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"
)

// manyManifests is where reading the manifests begins to cost more than writing
// them anew.
const manyManifests = 50

// manifestsOf reads a snapshot's manifest list. iceberg-go panics on some damaged
// ones; here that is a *CorruptError.
func manifestsOf(io iceio.IO, snap *table.Snapshot) (manifests []iceberg.ManifestFile, err error) {
	defer recovered(snap.ManifestList, &err)
	return snap.Manifests(io)
}

// entriesOf is the same for the entries of a manifest, those of removed files too.
func entriesOf(io iceio.IO, m iceberg.ManifestFile) (entries []iceberg.ManifestEntry, err error) {
	defer recovered(m.FilePath(), &err)
	for e, err := range m.Entries(io, false) {
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func recovered(location string, err *error) {
	if p := recover(); p != nil {
		*err = &CorruptError{location, fmt.Sprintf("does not parse: %v", p)}
	}
}

// RewriteManifests writes the manifests of the current snapshot anew, one per
// month, if one of them still has entries of files that were removed, whose
// bounds would outlive the rows they were taken from, or if there are very many.
// It reports whether it did. What the old manifests held is gone when a later
// Expire drops the snapshots before.
func (t *Table) RewriteManifests(ctx context.Context) (bool, error) {
	unlock, err := t.lock(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	done, err := t.rewriteManifests(ctx)
	if err != nil {
		return false, fmt.Errorf("rewrite manifests of %s: %w", t.org, err)
	}
	return done, nil
}

// StaleManifests reports whether RewriteManifests would do something.
func (t *Table) StaleManifests(ctx context.Context) (bool, error) {
	return staleManifests(ctx, t.current.Load().iceberg)
}

func staleManifests(ctx context.Context, tbl *table.Table) (bool, error) {
	head := tbl.CurrentSnapshot()
	if head == nil {
		return false, nil
	}
	io, err := tbl.FS(ctx)
	if err != nil {
		return false, err
	}
	manifests, err := manifestsOf(io, head)
	if err != nil {
		return false, fmt.Errorf("read manifest list: %w", err)
	}
	for _, m := range manifests {
		if m.DeletedDataFiles() != 0 {
			return true, nil
		}
	}
	return len(manifests) >= manyManifests, nil
}

func (t *Table) rewriteManifests(ctx context.Context) (bool, error) {
	s, err := t.reload(ctx)
	if err != nil {
		return false, err
	}
	if stale, err := staleManifests(ctx, s.iceberg); err != nil || !stale {
		return false, err
	}
	tx := t.guarded(anything{}).wrap(s.iceberg).NewTransaction()
	// By month, as the data is: other engines skip the manifests of other months.
	byMonth := func(f iceberg.DataFile) any { return fmt.Sprint(f.Partition()[monthField]) }
	result, err := tx.RewriteManifests(ctx, table.WithRewriteManifestClusterBy(byMonth))
	if err != nil || result.IsNoOp() {
		return false, err
	}
	after, err := tx.Commit(ctx)
	if err != nil {
		_, errReload := t.settle(ctx)
		return false, errors.Join(fmt.Errorf("commit: %w", err), errReload)
	}
	_, err = t.adopt(ctx, after, nil)
	return true, err
}

// Expire drops the snapshots that were replaced before the given time, with the
// manifests that only they used, and returns how many. The newest always stays.
// Data blobs stay until Collect. Commit drops old snapshots by itself when there
// are many; Expire is what makes sure that none stays for long.
func (t *Table) Expire(ctx context.Context, before time.Time) (int, error) {
	unlock, err := t.lock(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	s, err := t.reload(ctx)
	if err == nil {
		var n int
		if n, err = t.expireNow(ctx, s, max(0, time.Since(before)), 1); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("expire snapshots of %s: %w", t.org, err)
}
