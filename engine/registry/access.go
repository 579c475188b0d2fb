package registry

import (
	"context"
	"errors"
	"sync"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
)

// Read is one look at data about persons: which key looked, when, and at whom. It
// holds ids only. What names the kind of look: "person", "people", "preferences",
// "kpi NAME", "sql", …
type Read struct {
	ID        int64             `bun:"id,pk,autoincrement"` // given by the registry, ascending in time
	Org       event.OrgID       `bun:"org_id"`
	At        event.Micros      `bun:"at"`           // given by the registry
	KeyID     int64             `bun:"key_id"`       // 0 in NoteRead: the context's principal
	What      string            `bun:"what"`         // at most MaxWhatBytes
	Person    PersonID          `bun:"person_id"`    // 0: nobody in particular
	Recipient event.RecipientID `bun:"recipient_id"` // 0: nobody in particular
	Email     event.EmailID     `bun:"email_id"`     // 0: none in particular
}

// MaxWhatBytes bounds Read.What: a kind and the name of a KPI.
const MaxWhatBytes = 100

type readRow struct {
	bun.BaseModel `bun:"table:reads,alias:rd"`
	Read
}

type principalKey struct{}

// WithPrincipal returns a context that says who a request is from.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// PrincipalOf returns who ctx's request is from; the zero Principal, which may do
// nothing, when nobody said.
func PrincipalOf(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}

// readLog gathers the notes of callers that wait for the writer at the same time.
type readLog struct {
	mu struct {
		sync.Mutex
		open *readGroup // nil: the next caller leads a new group
	}
}

// readGroup is written in one transaction.
type readGroup struct {
	notes []*readNote
	done  chan struct{} // closed when err is final
	err   error
}

type readNote struct {
	row readRow
	err error // this note's own; the group's otherwise
}

// NoteRead writes into the access log that a key looked at data about persons. It
// must be called before the data is answered: when it returns nil, the note is
// durable; otherwise the data must not be shown. Callers that wait for the writer
// together share one transaction, so a note costs one wait for the change that is
// under way, at most the registry's busy timeout. Problems: registry_busy,
// registry_unavailable, org_not_found.
func (r *Registry) NoteRead(ctx context.Context, read Read) error {
	if read.KeyID == 0 {
		read.KeyID = PrincipalOf(ctx).KeyID
	}
	if read.KeyID == 0 || textFault(read.What, MaxWhatBytes, false) != "" {
		return errors.New("note read: who reads what is not said")
	}
	if s := r.Snapshot(); s.org(read.Org) != nil && contains(s.consent[read.Org-1].erased, read.Recipient) {
		read.Recipient = 0 // an erasure has emptied what named them, and is verified
	}
	read.At = r.now()
	note := &readNote{row: readRow{Read: read}}
	group, leads := r.reads.join(note)
	if leads {
		// The group outlives its leader's request.
		r.writeReads(context.WithoutCancel(ctx), group)
	}
	select {
	case <-group.done:
		return errors.Join(group.err, note.err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// join adds note to the group that waits for the writer, or opens one to be led.
func (l *readLog) join(note *readNote) (group *readGroup, leads bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.open == nil {
		l.mu.open, leads = &readGroup{done: make(chan struct{})}, true
	}
	l.mu.open.notes = append(l.mu.open.notes, note)
	return l.mu.open, leads
}

// seal closes group to further notes and returns those it has.
func (l *readLog) seal(group *readGroup) []*readNote {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.open == group {
		l.mu.open = nil
	}
	return group.notes
}

func (r *Registry) writeReads(ctx context.Context, group *readGroup) {
	defer close(group.done)
	group.err = r.write(ctx, "note reads", func(tx bun.Tx) error {
		snapshot := r.Snapshot()
		var rows []readRow
		for _, note := range r.reads.seal(group) {
			// A note on an organisation that is no more must not fail the others.
			if _, ok := snapshot.Org(note.row.Org); !ok {
				note.err = orgNotFound()
				continue
			}
			rows = append(rows, note.row)
		}
		return insertAll(ctx, tx, rows)
	})
	r.reads.seal(group) // when its turn did not come
}

// Reads lists the organisation's access log, newest first: at most limit entries
// (0 is 100, never more than 1,000) whose id is below before; before 0 starts at
// the newest.
func (r *Registry) Reads(ctx context.Context, org event.OrgID, limit int, before int64) ([]Read, error) {
	if limit <= 0 {
		limit = defaultListing
	}
	var rows []readRow
	query := r.reader.NewSelect().Model(&rows).Where("org_id = ?", org).Order("id DESC").Limit(int64(min(limit, maxListing)))
	if before > 0 {
		query.Where("id < ?", before)
	}
	if err := query.Scan(ctx); err != nil {
		return nil, storeError("list reads", err)
	}
	out := make([]Read, len(rows))
	for i := range rows {
		out[i] = rows[i].Read
	}
	return out, nil
}
