package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// Purge is the deletion of everything of a terminated organisation. It outlives
// the organisation, whose id and name are never given to another one.
type Purge struct {
	bun.BaseModel `bun:"table:purges,alias:pu" json:"-"`
	Org           event.OrgID   `bun:"org_id,pk"`
	Name          string        `bun:"name"`
	TerminatedAt  event.Micros  `bun:"terminated_at"`
	PurgeAt       event.Micros  `bun:"purge_at"`
	StartedAt     event.Micros  `bun:"started_at"`
	FinishedAt    event.Micros  `bun:"finished_at"` // 0: under way
	Certificate   []byte        `bun:"certificate"` // JSON, signed; empty until it is finished
	Steps         []RemovalStep `bun:"-"`
}

// BeginPurge records that the deletion of a terminated organisation begins, at
// earliest at the time from, which its owner was told. From then on it cannot
// resubscribe. Beginning again returns the purge under way. Problems:
// org_not_found, purge_not_due.
func (r *Registry) BeginPurge(ctx context.Context, org event.OrgID, from event.Micros) (Purge, error) {
	err := r.write(ctx, "begin purge", func(tx bun.Tx) error {
		if there, err := tx.NewSelect().Model((*Purge)(nil)).Where("org_id = ?", org).Exists(ctx); err != nil || there {
			return err
		}
		var row orgRow
		if err := tx.NewSelect().Model(&row).Where("id = ?", org).Scan(ctx); isNoRows(err) {
			return orgNotFound()
		} else if err != nil {
			return fmt.Errorf("read organisation: %w", err)
		}
		now := r.now()
		if row.State != OrgTerminated || from > row.PurgeAt || now < from {
			return problem.New(409, "purge_not_due", "The organisation's data is not due for deletion.")
		}
		p := Purge{Org: org, Name: row.Name, TerminatedAt: row.TerminatedAt, PurgeAt: row.PurgeAt, StartedAt: now, Certificate: []byte{}}
		_, err := tx.NewInsert().Model(&p).Exec(ctx)
		return err
	})
	if err != nil {
		return Purge{}, err
	}
	return r.Purge(ctx, org)
}

// Purge returns the purge of an organisation. Problem: purge_not_found.
func (r *Registry) Purge(ctx context.Context, org event.OrgID) (Purge, error) {
	all, err := r.purges(ctx, func(q *bun.SelectQuery) { q.Where("org_id = ?", org) })
	if err == nil && len(all) == 0 {
		err = problem.New(404, "purge_not_found", "There was no purge of such an organisation.")
	}
	if err != nil {
		return Purge{}, err
	}
	return all[0], nil
}

// Purges lists all purges, in the order of the organisations' ids.
func (r *Registry) Purges(ctx context.Context) ([]Purge, error) {
	return r.purges(ctx, func(q *bun.SelectQuery) { q.Order("org_id") })
}

// UnfinishedPurges lists those under way.
func (r *Registry) UnfinishedPurges(ctx context.Context) ([]Purge, error) {
	return r.purges(ctx, func(q *bun.SelectQuery) { q.Where("finished_at = 0").Order("org_id") })
}

func (r *Registry) purges(ctx context.Context, where func(*bun.SelectQuery)) ([]Purge, error) {
	var rows []Purge
	q := r.reader.NewSelect().Model(&rows)
	where(q)
	if err := q.Scan(ctx); err != nil {
		return nil, storeError("read purges", err)
	}
	for i := range rows {
		var err error
		if rows[i].Steps, err = steps(ctx, r.reader, rows[i].Org, 0); err != nil {
			return nil, storeError("read purges", err)
		}
	}
	return rows, nil
}

// PurgeRecords deletes every row of the organisation, its keys included, and
// returns how many of each table. Its purge must have begun. Doing it again finds
// nothing.
func (r *Registry) PurgeRecords(ctx context.Context, org event.OrgID) (map[string]int64, error) {
	counts := map[string]int64{}
	var needles []string
	err := r.change(ctx, "purge organisation", func(tx bun.Tx, next *draft) error {
		var p Purge
		if err := tx.NewSelect().Model(&p).Where("org_id = ?", org).Scan(ctx); err != nil {
			return fmt.Errorf("read purge: %w", err)
		}
		// One address tells whether deleted rows have left bytes.
		if err := tx.NewRaw("SELECT address_key FROM recipients WHERE org_id = ? AND address <> '' LIMIT 1", org).Scan(ctx, &needles); err != nil && !isNoRows(err) {
			return fmt.Errorf("read recipients: %w", err)
		}
		// Tables refer to each other; what counts is that nothing is left at the end.
		if _, err := tx.ExecContext(ctx, "PRAGMA defer_foreign_keys = on"); err != nil {
			return err
		}
		err := forOrgTables(ctx, tx, func(table string) error {
			res, err := tx.NewRaw("DELETE FROM ? WHERE org_id = ?", bun.Ident(table), org).Exec(ctx)
			if err != nil {
				return fmt.Errorf("delete from %s: %w", table, err)
			}
			counts[table], err = res.RowsAffected()
			return err
		})
		if err != nil {
			return err
		}
		res, err := tx.NewDelete().Model((*orgRow)(nil)).Where("id = ?", org).Exec(ctx)
		if err != nil {
			return fmt.Errorf("delete organisation: %w", err)
		}
		if counts["organisations"], err = res.RowsAffected(); err != nil {
			return err
		}
		if _, err := tx.NewRaw("DELETE FROM removal_steps WHERE org_id = ? AND erasure_id <> 0", org).Exec(ctx); err != nil {
			return err
		}
		if o, there := next.Org(org); there {
			next.dropOrg(o)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	// All rows are gone, so all pages are written anew: there is no text to look for.
	return counts, r.scrub(ctx, nil)
}

// PurgedRows counts the rows that are left of an organisation: none once it is gone.
func (r *Registry) PurgedRows(ctx context.Context, org event.OrgID) (rows int64, err error) {
	err = forOrgTables(ctx, r.reader, func(table string) error {
		n, err := r.reader.NewSelect().TableExpr("?", bun.Ident(table)).Where("org_id = ?", org).Count(ctx)
		rows += n
		return err
	})
	if err == nil {
		var n int64
		n, err = r.reader.NewSelect().Model((*orgRow)(nil)).Where("id = ?", org).Count(ctx)
		rows += n
	}
	return rows, storeError("count rows", err)
}

// FinishPurge ends a purge and keeps its certificate.
func (r *Registry) FinishPurge(ctx context.Context, org event.OrgID, certificate []byte) error {
	return r.write(ctx, "finish purge", func(tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*Purge)(nil)).Set("finished_at = ?", r.now()).Set("certificate = ?", certificate).
			Where("org_id = ? AND finished_at = 0", org).Exec(ctx)
		return err
	})
}

// notPurged refuses to change an organisation whose purge has begun.
func notPurged(ctx context.Context, tx bun.Tx, org event.OrgID) error {
	begun, err := tx.NewSelect().Model((*Purge)(nil)).Where("org_id = ?", org).Exists(ctx)
	if err != nil {
		return fmt.Errorf("look for purge: %w", err)
	}
	if begun {
		return problem.New(409, "org_transition_invalid", "The organisation's data is being deleted; create a new organisation.")
	}
	return nil
}

// nameUnused refuses the name of an organisation that is no more: whoever still has
// its links, keys or exports must not meet another one's data.
func nameUnused(ctx context.Context, tx bun.Tx, name string) error {
	used, err := tx.NewSelect().Model((*Purge)(nil)).Where("name = ?", name).Exists(ctx)
	if err != nil {
		return fmt.Errorf("look for purge: %w", err)
	}
	if used {
		return problem.New(409, "org_exists", "An organisation of this name existed and was deleted; names are not given out twice, choose another.")
	}
	return nil
}

// ClockRun says for how long the clock has gone on without a jump.
type ClockRun struct {
	Since event.Micros // first reading after the last jump
	Seen  event.Micros // last reading
}

const (
	// clockJump is the difference between two readings that no pause of a server
	// explains by itself. A pause that is longer looks the same as a jump.
	clockJump = 24 * time.Hour
	// clockEvery bounds how often readings are written.
	clockEvery = 10 * time.Minute
)

// Next returns the run after a reading at now.
func (c ClockRun) Next(now event.Micros) ClockRun {
	jump := event.Micros(clockJump / time.Microsecond)
	if c.Seen == 0 || now < c.Seen-jump || now > c.Seen+jump {
		return ClockRun{now, now}
	}
	return ClockRun{min(c.Since, now), now}
}

// Trusted reports whether the clock may be believed when it says that something is
// to be deleted for good: it has gone on for a day without a jump of a day.
func (c ClockRun) Trusted() bool {
	return c.Seen-c.Since >= event.Micros(clockJump/time.Microsecond)
}

// ReadClock notes a reading of the clock and returns its run, over restarts too.
func (r *Registry) ReadClock(ctx context.Context) (ClockRun, error) {
	var was ClockRun
	err := r.reader.QueryRowContext(ctx, "SELECT since, seen FROM clock_run WHERE id = 1").Scan(&was.Since, &was.Seen)
	if err != nil && !isNoRows(err) {
		return ClockRun{}, storeError("read clock", err)
	}
	next := was.Next(r.now())
	if next.Since == was.Since && next.Seen >= was.Seen && next.Seen-was.Seen < event.Micros(clockEvery/time.Microsecond) {
		return next, nil
	}
	err = r.write(ctx, "note clock", func(tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO clock_run (id, since, seen) VALUES (1, ?, ?) ON CONFLICT (id) DO UPDATE SET since = excluded.since, seen = excluded.seen",
			int64(next.Since), int64(next.Seen))
		return err
	})
	return next, err
}

// loadErased fills the draft's sets of erased recipients.
func loadErased(ctx context.Context, db *bun.DB, d *draft) error {
	var rows []struct {
		Org     event.OrgID `bun:"org_id"`
		IDs     string      `bun:"ids"`
		Emptied uint64      `bun:"emptied"`
	}
	err := db.NewRaw(`SELECT org_id, json_group_array(id) AS ids, `+countEmptied+` AS emptied FROM recipients INDEXED BY recipients_erased
		WHERE erased_at <> 0 GROUP BY org_id`).Scan(ctx, &rows)
	if err != nil {
		return fmt.Errorf("read erased recipients: %w", err)
	}
	for _, row := range rows {
		var ids []uint32
		if err := json.Unmarshal([]byte(row.IDs), &ids); err != nil {
			return fmt.Errorf("read erased recipients: %w", err)
		}
		sets := d.consentOf(row.Org)
		sets.erased = cloneBitmap(nil)
		sets.erased.AddMany(ids)
		sets.emptied = row.Emptied
	}
	return nil
}
