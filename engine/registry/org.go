package registry

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// OrgState says what an organisation may do. Anything but OrgEnabled refuses.
type OrgState string

// States of an organisation.
const (
	OrgEnabled    OrgState = "enabled"    // follows and collects
	OrgDisabled   OrgState = "disabled"   // switched off, data kept
	OrgTerminated OrgState = "terminated" // subscription over
)

func (s OrgState) against() Reasons {
	switch s {
	case OrgEnabled:
		return 0
	case OrgTerminated:
		return OrganisationTerminated
	}
	return OrganisationDisabled
}

// Org is one organisation. Its id is dense from 1 and never given to another one.
type Org struct {
	ID        event.OrgID  `bun:"id,pk"`
	Name      string       `bun:"name"`  // [a-z0-9][a-z0-9-]{0,62}, unique; part of storage paths
	Title     string       `bun:"title"` // for people; may be empty
	State     OrgState     `bun:"state"`
	CreatedAt event.Micros `bun:"created_at"`
	// TerminatedAt is when the subscription ended and PurgeAt when the data is due
	// for deletion; both are 0 unless terminated.
	TerminatedAt event.Micros `bun:"terminated_at"`
	PurgeAt      event.Micros `bun:"purge_at"`
	Policy       Policy       `bun:"embed:policy_"`
}

// CheckEnabled returns nil for an enabled organisation, and otherwise the problem
// that every door to following and to collected data answers: feature_disabled.
func (o *Org) CheckEnabled() error {
	switch o.State {
	case OrgEnabled:
		return nil
	case OrgTerminated:
		return problem.New(409, "feature_disabled",
			"The organisation's subscription has ended; its data is kept until %s, and resubscribing before then restores it.",
			o.PurgeAt.Time().Format(time.DateOnly))
	}
	return problem.New(409, "feature_disabled",
		"Following is switched off for this organisation; its data is kept and can be read again once an administrator enables it.")
}

type orgRow struct {
	bun.BaseModel `bun:"table:organisations,alias:o"`
	Org
	LastEmail     event.EmailID     `bun:"last_email_id"`
	LastRecipient event.RecipientID `bun:"last_recipient_id"`
	LastPerson    PersonID          `bun:"last_person_id"`
	LastProof     int64             `bun:"last_proof_id"`
	LastChange    int64             `bun:"last_email_change"` // of an email

	ConsentVersion uint64 `bun:"consent_version"`
	LedgerCount    int64  `bun:"ledger_count"`
	LedgerHash     []byte `bun:"ledger_hash"`
}

// NewOrg describes an organisation to create; Title is optional. By says who
// creates it; its zero value is the system.
type NewOrg struct {
	Name, Title string
	By          Actor
}

// CreateOrg adds an enabled organisation with the default policy. Problems:
// org_name_invalid, org_title_invalid, actor_invalid, org_exists.
func (r *Registry) CreateOrg(ctx context.Context, in NewOrg) (Org, error) {
	if err := checkOrgName(in.Name); err != nil {
		return Org{}, err
	}
	if fault := textFault(in.Title, MaxTitleBytes, true); fault != "" {
		return Org{}, problem.New(422, "org_title_invalid", "The organisation's title %s.", fault)
	}
	in.By = orElse(in.By, BySystem())
	if err := in.By.check(); err != nil {
		return Org{}, err
	}
	row := orgRow{Org: Org{Name: in.Name, Title: in.Title, State: OrgEnabled, Policy: DefaultPolicy()}, LedgerHash: []byte{}}
	err := r.change(ctx, "create organisation", func(tx bun.Tx, next *draft) error {
		if err := nameUnused(ctx, tx, in.Name); err != nil {
			return err
		}
		id, err := nextID(ctx, tx, "organisation")
		if err != nil {
			return err
		}
		row.ID, row.CreatedAt = event.OrgID(id), r.now()
		if _, err := tx.NewInsert().Model(&row).Exec(ctx); isDuplicate(err) {
			return problem.New(409, "org_exists", "An organisation named %q exists already.", in.Name)
		} else if err != nil {
			return err
		}
		next.putOrg(row.Org)
		return noteOrg(ctx, tx, row.ID, OrgEvent{At: row.CreatedAt, Actor: in.By, Action: OrgProvision, To: string(row.State)})
	})
	if err != nil {
		return Org{}, err
	}
	return row.Org, nil
}

// Orgs returns all organisations in the order of their ids, from the snapshot.
func (r *Registry) Orgs() []Org {
	var out []Org
	for o := range r.Snapshot().Orgs() {
		out = append(out, o)
	}
	return out
}

// OrgByName returns the organisation with this name, from the snapshot.
// Problem: org_not_found.
func (r *Registry) OrgByName(name string) (Org, error) {
	if o, ok := r.Snapshot().OrgByName(name); ok {
		return o, nil
	}
	return Org{}, orgNotFound()
}

func orgNotFound() *problem.Error {
	return problem.New(404, "org_not_found", "There is no such organisation.")
}
