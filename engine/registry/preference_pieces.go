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
// some 40 ms, after which whoever waits to follow an email has a turn.
const pieceChanges = 1_000

// givingPatience is how many times longer a preference waits for others than a change
// waits for the writer: a refusal should outlast the largest set of changes.
const givingPatience = 6

// pieceRow is a part of a large set of changes that is still to be applied.
type pieceRow struct {
	bun.BaseModel `bun:"table:consent_pieces,alias:cpi"`
	Org           event.OrgID  `bun:"org_id,pk"`
	Piece         int64        `bun:"piece,pk"`
	Proof         int64        `bun:"proof_id"`
	At            event.Micros `bun:"at"`
	Changes       []byte       `bun:"changes"`
}

// takeGiving waits until nobody else changes preferences. Who has this turn may
// take that of the writer several times; others have it in between, but find no
// preference changed other than by the pieces, in their order. What an earlier set
// left behind comes first.
func (r *Registry) takeGiving(ctx context.Context) error {
	if err := take(ctx, r.giving, givingPatience*r.patient); err != nil {
		return err
	}
	if !r.unfinished {
		return nil
	}
	if err := r.applyPieces(context.WithoutCancel(ctx)); err != nil {
		r.endGiving()
		return err
	}
	return nil
}

func (r *Registry) endGiving() { <-r.giving }

// takeInPieces is the first half of SetPreferences for many changes: all of them are
// found to be good and made durable. applyPieces is the second; a crash in between is
// made up for when the registry is opened. Both need the turn of takeGiving, which
// keeps what the changes are about from being erased meanwhile.
func (r *Registry) takeInPieces(ctx context.Context, org event.OrgID, changes []newPreference, proof Proof) error {
	var first error
	people, err := r.faults(ctx, org, changes, nil, func(wrong *ChangeError) {
		if first == nil {
			first = wrong
		}
	})
	if err != nil || first != nil {
		return cmp.Or(err, first)
	}
	if err := r.settleSubjects(ctx, org, changes, people); err != nil {
		return err
	}
	return r.change(ctx, "take preferences", func(tx bun.Tx, next *draft) error {
		if _, ok := next.Org(org); !ok {
			return orgNotFound()
		}
		shown, err := newProof(ctx, tx, org, proof)
		if err != nil {
			return err
		}
		r.unfinished = true // if the transaction fails there is nothing to be found, once
		return insertPieces(ctx, tx, pieceRow{Org: org, Proof: shown.ID, At: r.now()}, changes, proof.Evidence)
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

// insertPieces stores the changes in rows that are like row otherwise.
func insertPieces(ctx context.Context, tx bun.Tx, row pieceRow, changes []newPreference, evidence string) (err error) {
	for part := range slices.Chunk(changes, pieceChanges) {
		plain := make([]PreferenceChange, len(part))
		for i, c := range part {
			plain[i] = c.PreferenceChange
			plain[i].Evidence = orElse(c.Evidence, evidence)
		}
		if row.Changes, err = json.Marshal(plain); err != nil {
			return err
		}
		row.Piece++
		if _, err := tx.NewInsert().Model(&row).Exec(ctx); err != nil {
			return fmt.Errorf("insert changes: %w", err)
		}
	}
	return nil
}

// applyPieces applies what there is to apply. After an error the rest is left for
// the next one who takes the turn.
func (r *Registry) applyPieces(ctx context.Context) error {
	for more := true; more; {
		err := r.change(ctx, "apply preferences", func(tx bun.Tx, next *draft) (err error) {
			more, err = applyPiece(ctx, tx, next)
			return err
		})
		if err != nil {
			return err
		}
	}
	r.unfinished = false
	return nil
}

// applyPiece applies the first piece, if there is one.
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
	if err := applyPreferences(ctx, tx, next, piece.Org, changes, &shown, piece.At); err != nil {
		return false, err
	}
	_, err = tx.NewDelete().Model(&piece).WherePK().Exec(ctx)
	return true, err
}
