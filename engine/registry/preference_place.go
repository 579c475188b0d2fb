package registry

import (
	"context"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
)

// Place is where a set of changes that takes long to read, check or apply belongs
// among all other changes: at the time it was asked for. What is set later stays,
// although it may be stored before the set is.
type Place struct {
	r   *Registry
	row pieceRow // what all pieces of the set have in common
}

// TakePlace gives changes of org their place before they are there: the number of
// their proof. Leave has to follow. Problem: org_not_found.
func (r *Registry) TakePlace(ctx context.Context, org event.OrgID) (*Place, error) {
	p := &Place{r, pieceRow{Org: org, At: r.now()}}
	r.places.Add(1)
	err := r.write(ctx, "take place", func(tx bun.Tx) (err error) {
		if p.row.Proof, err = nextProof(ctx, tx, org); err != nil {
			return err
		}
		p.row.Since, _, err = ledgerHead(ctx, tx, org)
		return err
	})
	if err != nil {
		p.Leave()
		return nil, err
	}
	return p, nil
}

// Leave gives the place back, whatever became of the changes.
func (p *Place) Leave() { p.r.places.Add(-1) }

// Places reports whether there are sets of changes that have a place and may not all
// be applied. As long as there are, a preference is worth setting that holds already:
// an older one may be about to replace it.
func (r *Registry) Places() bool { return r.places.Load() > 0 || r.unfinished.Load() }

// SetPreferences is Registry.SetPreferences at this place.
func (p *Place) SetPreferences(ctx context.Context, changes []PreferenceChange, proof Proof) error {
	in, err := checked(changes, proof)
	if err != nil || len(in) == 0 {
		return err
	}
	return p.set(ctx, in, proof)
}

func (p *Place) set(ctx context.Context, in []newPreference, proof Proof) error {
	if err := p.r.takeGiving(ctx); err != nil {
		return err
	}
	defer p.r.endGiving()
	if err := p.r.takeInPieces(ctx, p.row, in, proof); err != nil {
		return err
	}
	return p.r.applyPieces(context.WithoutCancel(ctx))
}
