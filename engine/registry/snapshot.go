package registry

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
)

// Snapshot is an immutable picture of what the hot path needs: the state of the
// organisations and the valid keys. Any number of goroutines may use it, also
// after the registry is closed. Its methods do no IO and take no lock.
type Snapshot struct {
	orgs   []Org // by id - 1; an entry with id 0 is an organisation that is no more
	byName map[string]event.OrgID
	keys   map[keyHash]*liveKey
}

// Org returns the organisation with this id.
func (s *Snapshot) Org(id event.OrgID) (Org, bool) {
	if o := s.org(id); o != nil {
		return *o, true
	}
	return Org{}, false
}

// OrgByName returns the organisation with this name.
func (s *Snapshot) OrgByName(name string) (Org, bool) { return s.Org(s.byName[name]) }

// Orgs yields the organisations in the order of their ids.
func (s *Snapshot) Orgs() iter.Seq[Org] {
	return func(yield func(Org) bool) {
		for i := range s.orgs {
			if s.orgs[i].ID != 0 && !yield(s.orgs[i]) {
				return
			}
		}
	}
}

func (s *Snapshot) org(id event.OrgID) *Org {
	// Id 0 wraps around and is out of range.
	if i := uint64(id) - 1; i < uint64(len(s.orgs)) && s.orgs[i].ID == id {
		return &s.orgs[i]
	}
	return nil
}

// Decide says whether an interaction of this kind by this recipient of an email
// of org may be recorded. It is a pure function of the snapshot and does not
// allocate. An unknown organisation, kind or recipient id is refused.
func (s *Snapshot) Decide(org event.OrgID, recipient event.RecipientID, kind event.Kind) Verdict {
	var against Reasons
	if kind == event.KindInvalid || kind > event.Unsubscribed {
		against |= KindUnknown
	}
	if recipient < 1 {
		against |= RecipientUnknown
	}
	if o := s.org(org); o == nil {
		against |= OrganisationUnknown
	} else {
		against |= o.State.against()
	}
	return Verdict{Allow: against == 0, Reasons: against}
}

// clone returns a copy to be altered before it is published.
func (s *Snapshot) clone() *Snapshot {
	return &Snapshot{orgs: slices.Clone(s.orgs), byName: maps.Clone(s.byName), keys: maps.Clone(s.keys)}
}

func (s *Snapshot) putOrg(o Org) {
	for len(s.orgs) < int(o.ID) {
		s.orgs = append(s.orgs, Org{})
	}
	s.orgs[o.ID-1] = o
	s.byName[o.Name] = o.ID
}

func loadSnapshot(ctx context.Context, db bun.IDB) (*Snapshot, error) {
	s := &Snapshot{byName: map[string]event.OrgID{}, keys: map[keyHash]*liveKey{}}
	var orgs []orgRow
	if err := db.NewSelect().Model(&orgs).Order("id").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read organisations: %w", err)
	}
	for _, o := range orgs {
		s.putOrg(o.Org)
	}
	var keys []keyRow
	if err := db.NewSelect().Model(&keys).Where("revoked_at = 0").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	for i := range keys {
		if err := s.putKey(&keys[i]); err != nil {
			return nil, err
		}
	}
	return s, nil
}
