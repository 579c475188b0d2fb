package registry

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
)

// pieceChanges is how many changes are applied in one turn of the writer: it takes
// some 40 ms, after which whoever waits to write, a refusal or an email, has a turn.
const pieceChanges = 1_000

// givingPatience is how many times longer a large set of changes waits for another
// than a change waits for the writer: it should outlast the largest.
const givingPatience = 6

// pieceRow is a part of a large set of changes that is still to be applied.
type pieceRow struct {
	bun.BaseModel `bun:"table:consent_pieces,alias:cpi"`
	Org           event.OrgID  `bun:"org_id,pk"`
	Piece         int64        `bun:"piece,pk"`
	Proof         int64        `bun:"proof_id"`
	Since         int64        `bun:"since"`
	At            event.Micros `bun:"at"`
	Changes       []byte       `bun:"changes"`
}

// takeGiving waits until nobody else has preferences applied in pieces. Who has this
// turn may take that of the writer several times; others have it in between. What an
// earlier set left behind comes first.
func (r *Registry) takeGiving(ctx context.Context) error {
	if err := take(ctx, r.giving, givingPatience*r.patient); err != nil {
		return err
	}
	if !r.unfinished.Load() {
		return nil
	}
	if err := r.applyPieces(context.WithoutCancel(ctx)); err != nil {
		r.endGiving()
		return err
	}
	return nil
}

func (r *Registry) endGiving() { <-r.giving }

// applyLeft applies what a failure of the store has left, if nobody else is about to.
func (r *Registry) applyLeft(ctx context.Context) {
	select {
	case r.giving <- struct{}{}:
		defer r.endGiving()
		if r.unfinished.Load() {
			// Whoever asked for it was told of the failure; the rest stays for the next.
			_ = r.applyPieces(context.WithoutCancel(ctx))
		}
	default:
	}
}

// takeInPieces finds all changes to be good and makes them durable, which is the
// first half. applyPieces is the second; a crash in between is made up for when the
// registry is opened. Both need the turn of takeGiving, which keeps the records that
// the changes are about from being deleted meanwhile.
func (r *Registry) takeInPieces(ctx context.Context, asked pieceRow, changes []newPreference, proof Proof) error {
	var first error
	people, err := r.faults(ctx, asked.Org, changes, nil, func(wrong *ChangeError) {
		if first == nil {
			first = wrong
		}
	})
	if err != nil || first != nil {
		return cmp.Or(err, first)
	}
	if err := r.settleSubjects(ctx, asked.Org, changes, people); err != nil {
		return err
	}
	pieces, err := cut(asked, changes, proof.Evidence)
	if err != nil {
		return err
	}
	return r.change(ctx, "take preferences", func(tx bun.Tx, next *draft) error {
		if _, ok := next.Org(asked.Org); !ok {
			return orgNotFound()
		}
		if _, err := newProof(ctx, tx, asked.Org, asked.Proof, proof); err != nil {
			return err
		}
		r.unfinished.Store(true) // if the transaction fails there is nothing to be found, once
		for i := range pieces {
			if _, err := tx.NewInsert().Model(&pieces[i]).Exec(ctx); err != nil {
				return fmt.Errorf("insert changes: %w", err)
			}
		}
		return nil
	})
}

// settleSubjects names by number whom changes are about, where there is one, and puts
// them in the order of the tables, those of one subject in theirs: pieces in any
// other order would each write to pages everywhere. Addresses that are new stay.
func (r *Registry) settleSubjects(ctx context.Context, org event.OrgID, changes []newPreference, people map[PersonKey]PersonID) error {
	var keys []string
	for _, c := range changes {
		if c.key != "" {
			keys = append(keys, c.key)
		}
	}
	known, err := knownRecipients(ctx, r.reader, org, keys)
	if err != nil {
		return storeError("look up recipients", err)
	}
	for i := range changes {
		c := &changes[i]
		if who, ok := known[c.key]; ok {
			c.Subject, c.Address, c.key = OfRecipient(who.ID), "", ""
		} else if c.Person != (PersonKey{}) {
			c.Subject, c.Person = OfPerson(people[c.Person]), PersonKey{}
		}
	}
	slices.SortStableFunc(changes, func(a, b newPreference) int {
		return cmp.Or(cmp.Compare(a.Subject.Kind, b.Subject.Kind), cmp.Compare(a.Subject.ID, b.Subject.ID))
	})
	return nil
}

// cut makes rows of the changes that are like asked otherwise.
func cut(asked pieceRow, changes []newPreference, evidence string) (pieces []pieceRow, err error) {
	for part := range slices.Chunk(changes, pieceChanges) {
		plain := make([]PreferenceChange, len(part))
		for i, c := range part {
			plain[i] = c.PreferenceChange
			plain[i].Evidence = orElse(c.Evidence, evidence)
		}
		if asked.Changes, err = json.Marshal(plain); err != nil {
			return nil, err
		}
		asked.Piece++
		pieces = append(pieces, asked)
	}
	return pieces, nil
}

// applyPieces applies what there is to apply. After an error the rest is left for
// the next one who takes the turn.
func (r *Registry) applyPieces(ctx context.Context) error {
	for more := true; more; {
		var err error
		if more, err = r.applyNext(ctx); err != nil {
			return err
		}
	}
	r.unfinished.Store(false)
	return nil
}

// applyNext applies the first piece, if there is one, in one turn of the writer.
func (r *Registry) applyNext(ctx context.Context) (found bool, err error) {
	err = r.change(ctx, "apply preferences", func(tx bun.Tx, next *draft) (err error) {
		found, err = applyPiece(ctx, tx, next)
		return err
	})
	return found, err
}

func applyPiece(ctx context.Context, tx bun.Tx, next *draft) (found bool, err error) {
	var piece pieceRow
	err = tx.NewSelect().Model(&piece).Order("org_id", "piece").Limit(1).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("read changes: %w", err)
	}
	var plain []PreferenceChange
	if err := json.Unmarshal(piece.Changes, &plain); err != nil {
		return false, fmt.Errorf("read changes: %w", err)
	}
	changes := make([]newPreference, len(plain))
	for i, c := range plain {
		changes[i] = newPreference{PreferenceChange: c}
		if err := changes[i].check(); err != nil {
			return false, fmt.Errorf("read changes: %w", err)
		}
	}
	shown := proofRow{Org: int64(piece.Org), ID: piece.Proof}
	if err := tx.NewSelect().Model(&shown).WherePK().Scan(ctx); err != nil {
		return false, fmt.Errorf("read proof: %w", err)
	}
	if err := resolve(ctx, tx, piece.Org, changes, piece.At); err != nil {
		return false, err
	}
	later, err := laterChanges(ctx, tx, &piece, changes)
	if err != nil {
		return false, err
	}
	if err := storePreferences(ctx, tx, next, piece.Org, append(changes, later...), given{&shown, piece.At}); err != nil {
		return false, err
	}
	_, err = tx.NewDelete().Model(&piece).WherePK().Exec(ctx)
	return true, err
}
