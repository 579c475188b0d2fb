// Package registry owns identities and what may be done with them: organisations,
// their people, what these allow and refuse, emails with their recipients, links
// and attachments, and API keys. It is the only place where addresses, names and
// subjects are kept.
//
// It has four types to know: Registry, the store on disk; Snapshot, what the hot
// path may ask without IO; Verdict, the answer to "may this interaction be
// recorded"; and Consent, the same for readers of many rows.
//
//	CreateOrg, ChangeOrg, SetPreferences,       RegisterEmail
//	PutPeople, CreateKey, …                          │
//	             │                                   │
//	      one transaction ── commit ──┐       one transaction
//	             │                    │              │
//	          SQLite            new Snapshot       SQLite ──► EmailsSince, RecipientsSince,
//	                                  │                       LinksSince, EmailRecipientsSince
//	             Decide, Consent, Authenticate (atomic pointer, no lock, no IO)
//
// A preference belongs to a subject, a person or an address, and changes by
// SetPreferences only, which adds to the organisation's ledger:
//
//	account ─ refusals ─┐
//	contact, lead ──────┼─ strictest ─► answer of each address ─► Roaring bitmaps
//	address itself ─────┘               (stored with it)          in the Snapshot
//
// Ids are dense per organisation from 1 and come from counters that move in the
// transaction that uses them, so a rolled-back transaction leaves no gap and no
// id is given out twice. A mutation has its snapshot published before it
// returns. Errors and logs never carry an address, a name, a subject, a URL or
// a key: they name the field and its index.
package registry

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// Options says where the registry is and how it behaves.
type Options struct {
	// DSN names the database: sqlite:///absolute/path/registry.db. The folder must exist.
	DSN string
	// Clock gives the time of changes; nil is time.Now.
	Clock func() time.Time
	// BusyTimeout is how long a change waits for its turn, and again for a lock
	// held by another process; 0 is 5 s. After that it fails with code registry_busy.
	BusyTimeout time.Duration
}

// defaultBusyTimeout outlasts a checkpoint or a backup step on slow disks and is
// still shorter than the patience of HTTP clients.
const defaultBusyTimeout = 5 * time.Second

// Registry is the store of identities. All methods are safe for concurrent use.
type Registry struct {
	path    string  // of the database
	writer  *bun.DB // one connection: SQLite has one writer at a time
	reader  *bun.DB // query-only connections
	clock   func() time.Time
	patient time.Duration
	turn    chan struct{} // held from before a change begins until its snapshot is published
	giving  chan struct{} // held while preferences are applied in pieces; see takeGiving
	reads   readLog
	current atomic.Pointer[Snapshot]
	version int64 // of current, as all processes count; changed with the turn only

	places     atomic.Int64 // that were taken and not left
	unfinished atomic.Bool  // there are pieces to apply; changed with the turn of giving only
}

// Open opens the registry, creates it when the file is missing, and brings its
// schema up to date. A file written by a newer version gives code
// registry_too_new, one that is no registry or is damaged registry_corrupt.
func Open(ctx context.Context, opt Options) (_ *Registry, err error) {
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	if opt.BusyTimeout == 0 {
		opt.BusyTimeout = defaultBusyTimeout
	}
	path, err := sqlitePath(opt.DSN)
	if err != nil {
		return nil, err
	}
	r := &Registry{path: path, clock: opt.Clock, patient: opt.BusyTimeout, turn: make(chan struct{}, 1), giving: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open registry %s: %w", path, errors.Join(err, r.Close()))
		}
	}()
	if err := createPrivate(path); err != nil {
		return nil, err
	}
	if r.writer, err = openSQLite(path, opt.BusyTimeout, true); err != nil {
		return nil, err
	}
	if err := prepare(ctx, r.writer, opt.BusyTimeout); err != nil {
		return nil, storeError("prepare schema", err)
	}
	if r.reader, err = openSQLite(path, opt.BusyTimeout, false); err != nil {
		return nil, err
	}
	if err := r.takeIn(ctx); err != nil {
		return nil, err
	}
	left, err := r.reader.NewSelect().Model((*pieceRow)(nil)).Exists(ctx)
	if err != nil {
		return nil, storeError("look for preferences to apply", err)
	}
	if left {
		err = r.applyPieces(ctx)
	}
	return r, err
}

// Close waits for running statements and closes the database. No other method
// may be called afterwards, except on snapshots already taken.
func (r *Registry) Close() error {
	var errs []error
	// The writer goes last: the last connection folds the write-ahead log into the file.
	for _, db := range []*bun.DB{r.reader, r.writer} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// Snapshot returns the state as of the last change that returned. It does no IO.
func (r *Registry) Snapshot() *Snapshot { return r.current.Load() }

// Decide asks the current snapshot; see Snapshot.Decide.
func (r *Registry) Decide(org event.OrgID, recipient event.RecipientID, kind event.Kind) Verdict {
	return r.current.Load().Decide(org, recipient, kind)
}

func (r *Registry) now() event.Micros { return event.At(r.clock()) }

// write runs fn in one transaction that holds the write lock from its start.
func (r *Registry) write(ctx context.Context, act string, fn func(bun.Tx) error) error {
	if err := r.takeTurn(ctx); err != nil {
		return err
	}
	defer r.endTurn()
	return storeError(act, r.inTx(ctx, fn))
}

// change is write for what the snapshot holds: fn also alters a draft of it, which
// is published when the transaction is durable and dropped otherwise.
func (r *Registry) change(ctx context.Context, act string, fn func(bun.Tx, *draft) error) error {
	if err := r.takeTurn(ctx); err != nil {
		return err
	}
	defer r.endTurn()
	var next draft
	version := r.version
	err := r.inTx(ctx, func(tx bun.Tx) (err error) {
		// Nobody else can change anything until this transaction ends.
		if err = r.takeIn(ctx); err != nil {
			return err
		}
		next = draft{Snapshot: *r.current.Load()}
		if err = fn(tx, &next); err == nil && next.changed() {
			version, err = nextVersion(ctx, tx)
		}
		return err
	})
	if err != nil {
		return storeError(act, err)
	}
	if next.changed() {
		r.current.Store(&next.Snapshot)
		r.version = version
	}
	return nil
}

func (r *Registry) inTx(ctx context.Context, fn func(bun.Tx) error) (err error) {
	tx, err := r.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			// A transaction that ended by itself has nothing left to roll back.
			_ = tx.Rollback()
		}
	}()
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func (r *Registry) takeTurn(ctx context.Context) error { return take(ctx, r.turn, r.patient) }

func take(ctx context.Context, turn chan struct{}, patience time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case turn <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return busy()
	}
}

func (r *Registry) endTurn() { <-r.turn }

// nextID moves one of the registry-wide counters.
func nextID(ctx context.Context, tx bun.Tx, sequence string) (id int64, err error) {
	err = tx.NewRaw("UPDATE sequences SET last = last + 1 WHERE name = ? RETURNING last", sequence).Scan(ctx, &id)
	if err != nil {
		return 0, fmt.Errorf("next %s id: %w", sequence, err)
	}
	return id, nil
}

func busy() *problem.Error {
	return problem.New(503, "registry_busy", "The registry is locked by another writer; try again.")
}
