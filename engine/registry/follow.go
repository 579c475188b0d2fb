package registry

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

// Processes that share a registry count its snapshots in one row: one that finds
// another number than that of its own snapshot makes it anew from the tables. Its
// own changes stand on the newest one always, since they hold the write lock.

// followEvery is how long a change of another process may stay unknown, beside the
// time that it takes to read all: 0.3 s for a million people of whom a fifth refuse.
const followEvery = 250 * time.Millisecond

// Follow takes in what other processes change until ctx ends. failed is told of
// errors, after which it goes on.
func (r *Registry) Follow(ctx context.Context, failed func(error)) error {
	pause := time.NewTimer(followEvery)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
		began := time.Now()
		if err := r.Refresh(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
		// Where others change something all the time, reading it takes a fifth at most.
		pause.Reset(max(followEvery, 4*time.Since(began)))
	}
}

// Refresh publishes what other processes have changed.
func (r *Registry) Refresh(ctx context.Context) error {
	if err := r.takeTurn(ctx); err != nil {
		return err
	}
	defer r.endTurn()
	return r.takeIn(ctx)
}

// takeIn is Refresh for the holder of the turn.
func (r *Registry) takeIn(ctx context.Context) error {
	var version int64
	// Read before the tables: what is changed in between is taken in again.
	err := r.reader.NewRaw("SELECT coalesce(max(last), 0) FROM sequences WHERE name = 'snapshot'").Scan(ctx, &version)
	if err != nil {
		return storeError("read version", err)
	}
	if version == r.version && r.current.Load() != nil {
		return nil
	}
	s, err := loadSnapshot(ctx, r.reader)
	if err != nil {
		return storeError("load snapshot", err)
	}
	r.current.Store(s)
	r.version = version
	return nil
}

// nextVersion tells all processes that there is a new snapshot once tx is durable.
func nextVersion(ctx context.Context, tx bun.Tx) (version int64, err error) {
	err = tx.NewRaw("INSERT INTO sequences (name, last) VALUES ('snapshot', 1) ON CONFLICT (name) DO UPDATE SET last = (last + 1) % 4294967295 RETURNING last").Scan(ctx, &version)
	if err != nil {
		return 0, fmt.Errorf("count snapshot: %w", err)
	}
	return version, nil
}

// changed reports whether anything of the draft differs from what it was made from.
func (d *draft) changed() bool {
	return d.owns.orgs || d.owns.names || d.owns.keys || d.owns.consent
}
