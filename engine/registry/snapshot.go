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
	orgs    []Org          // by id - 1; an entry with id 0 is an organisation that is no more
	consent []*consentSets // as orgs
	byName  map[string]event.OrgID
	keys    map[keyHash]*liveKey
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
// allocate. An unknown organisation, kind or recipient id is refused. Kinds that
// have a purpose (see PurposeOf) need the recipient's consent; the others, which
// mail systems report, only an enabled organisation. Of an erased recipient nothing
// may be recorded.
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
		if p := PurposeOf(kind); p != NoPurpose && recipient >= 1 {
			against |= s.consent[org-1].against(recipient, p, o.Policy.Unknown != OptOut)
		}
		if contains(s.consent[org-1].erased, recipient) {
			against |= RecipientErased
		}
	}
	return Verdict{Allow: against == 0, Reasons: against}
}

// Consent returns the preferences of org's recipients as of this snapshot. For an
// unknown organisation it refuses everything.
func (s *Snapshot) Consent(org event.OrgID) Consent {
	o := s.org(org)
	if o == nil {
		return Consent{OptIn: true}
	}
	return Consent{OptIn: o.Policy.Unknown != OptOut, Version: s.consent[org-1].version, Emptied: s.consent[org-1].emptied, sets: s.consent[org-1]}
}

// draft is a snapshot in the making. What it shares with the one it was made from
// is copied before the first change to it.
type draft struct {
	Snapshot
	owns struct {
		orgs, names, keys, consent bool
		sets                       map[event.OrgID]bool
	}
}

func (d *draft) putOrg(o Org) {
	if !d.owns.orgs {
		d.orgs, d.owns.orgs = slices.Clone(d.orgs), true
	}
	for len(d.orgs) < int(o.ID) {
		d.orgs = append(d.orgs, Org{})
	}
	d.orgs[o.ID-1] = o
	d.ownConsent()
	if d.byName[o.Name] == o.ID {
		return
	}
	if !d.owns.names {
		d.byName, d.owns.names = maps.Clone(d.byName), true
	}
	d.byName[o.Name] = o.ID
}

// dropOrg forgets the organisation with all that is its own.
func (d *draft) dropOrg(o Org) {
	d.putOrg(o) // makes everything touched below the draft's own
	if !d.owns.names {
		d.byName, d.owns.names = maps.Clone(d.byName), true
	}
	delete(d.byName, o.Name)
	d.orgs[o.ID-1], d.consent[o.ID-1] = Org{}, &consentSets{}
	maps.DeleteFunc(d.ownKeys(), func(_ keyHash, k *liveKey) bool { return k.Org == o.ID })
}

func (d *draft) ownKeys() map[keyHash]*liveKey {
	if !d.owns.keys {
		d.keys, d.owns.keys = maps.Clone(d.keys), true
	}
	return d.keys
}

// ownConsent makes the list of sets the draft's own and as long as that of the
// organisations.
func (d *draft) ownConsent() {
	if !d.owns.consent {
		d.consent, d.owns.consent = slices.Clone(d.consent), true
	}
	for len(d.consent) < len(d.orgs) {
		d.consent = append(d.consent, &consentSets{})
	}
}

// consentOf returns the organisation's sets to be altered.
func (d *draft) consentOf(org event.OrgID) *consentSets {
	d.ownConsent()
	if d.owns.sets == nil {
		d.owns.sets = map[event.OrgID]bool{}
	}
	if !d.owns.sets[org] {
		d.consent[org-1], d.owns.sets[org] = d.consent[org-1].clone(), true
	}
	return d.consent[org-1]
}

func loadSnapshot(ctx context.Context, db *bun.DB) (*Snapshot, error) {
	d := draft{Snapshot: Snapshot{byName: map[string]event.OrgID{}, keys: map[keyHash]*liveKey{}}}
	var orgs []orgRow
	if err := db.NewSelect().Model(&orgs).Order("id").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read organisations: %w", err)
	}
	for _, o := range orgs {
		d.putOrg(o.Org)
		d.consentOf(o.ID).version = o.ConsentVersion
	}
	var keys []keyRow
	if err := db.NewSelect().Model(&keys).Where("revoked_at = 0").Scan(ctx); err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	for i := range keys {
		if err := d.putKey(&keys[i]); err != nil {
			return nil, err
		}
	}
	return &d.Snapshot, loadConsent(ctx, db, &d)
}
