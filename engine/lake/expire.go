package lake

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	iceio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"
)

const (
	// retainedSnapshots stay at an expiry, for readers and committers elsewhere
	// that are still at one of them.
	retainedSnapshots = 5
	// expireAgainAfter is the number of commits after a failed expiry at which
	// the next one is due.
	expireAgainAfter = 10
)

// expire drops old snapshots when their number asks for it. It cannot fail the
// commit that it follows: an error is logged and counted. Must hold busy.
func (t *Table) expire(ctx context.Context, s *state) {
	n := len(s.iceberg.Metadata().Snapshots())
	if n < t.expireAt {
		return
	}
	if _, err := t.expireNow(ctx, s, 0, retainedSnapshots); err != nil {
		t.expireAt = n + expireAgainAfter
		t.lake.expireFailures.Add(1)
		t.lake.opts.Logger.WarnContext(ctx, "expire snapshots", "org", t.org, "snapshots", n, "err", err)
		return
	}
	t.expireAt = t.lake.opts.ExpireEvery
}

// expireNow commits the removal of snapshots older than age, but the newest few,
// then deletes the manifest lists and manifests that only they used. iceberg-go
// could do the latter, but reads every entry of every manifest for the sake of
// data files, which are none of expiry's business. What a crash in between leaves
// behind is Sweep's. It returns the number of snapshots dropped.
func (t *Table) expireNow(ctx context.Context, s *state, age time.Duration, retain int) (int, error) {
	before := t.guarded(anything{}).wrap(s.iceberg)
	tx := before.NewTransaction()
	err := tx.ExpireSnapshots(table.WithOlderThan(age), table.WithRetainLast(retain), table.WithPostCommit(false))
	if err != nil {
		return 0, fmt.Errorf("choose snapshots: %w", err)
	}
	after, err := tx.Commit(ctx)
	if err != nil {
		_, errReload := t.settle(ctx)
		return 0, errors.Join(fmt.Errorf("commit: %w", err), errReload)
	}
	if _, err := t.adopt(ctx, after, nil); err != nil {
		return 0, err
	}
	io, err := after.FS(ctx)
	if err != nil {
		return 0, err
	}
	keep := map[string]struct{}{}
	if err := metadataFiles(io, after.Metadata().Snapshots(), keep); err != nil {
		return 0, fmt.Errorf("list retained manifests: %w", err)
	}
	var expired []table.Snapshot
	for _, snap := range before.Metadata().Snapshots() {
		if after.Metadata().SnapshotByID(snap.SnapshotID) == nil {
			expired = append(expired, snap)
		}
	}
	return len(expired), dropMetadata(ctx, io, expired, keep)
}

// dropMetadata deletes the manifest lists and manifests of expired snapshots,
// but those in keep.
func dropMetadata(ctx context.Context, io iceio.IO, expired []table.Snapshot, keep map[string]struct{}) error {
	drop := map[string]struct{}{}
	if err := metadataFiles(io, expired, drop); err != nil {
		return fmt.Errorf("list expired manifests: %w", err)
	}
	var locations []string
	for location := range drop {
		if _, used := keep[location]; !used {
			locations = append(locations, location)
		}
	}
	_, err := io.(iceio.BulkRemovableIO).DeleteFiles(ctx, locations)
	return err
}

// metadataFiles adds to files the manifest lists of snapshots and the manifests
// in them. A manifest list that is gone has nothing left to name: another
// process has expired the snapshot.
func metadataFiles(io iceio.IO, snapshots []table.Snapshot, files map[string]struct{}) error {
	for _, snap := range snapshots {
		manifests, err := manifestsOf(io, &snap)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		files[snap.ManifestList] = struct{}{}
		for _, m := range manifests {
			files[m.FilePath()] = struct{}{}
		}
	}
	return nil
}
