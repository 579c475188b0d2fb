package registry

import (
	"context"
	"database/sql"
	"errors"

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
}

type orgRow struct {
	bun.BaseModel `bun:"table:organisations,alias:o"`
	Org
	LastEmail     event.EmailID     `bun:"last_email_id"`
	LastRecipient event.RecipientID `bun:"last_recipient_id"`
}

// NewOrg describes an organisation to create; Title is optional.
type NewOrg struct{ Name, Title string }

// CreateOrg adds an enabled organisation. Problems: org_name_invalid,
// org_title_invalid, org_exists.
func (r *Registry) CreateOrg(ctx context.Context, in NewOrg) (Org, error) {
	if err := checkOrgName(in.Name); err != nil {
		return Org{}, err
	}
	if fault := textFault(in.Title, MaxTitleBytes, true); fault != "" {
		return Org{}, problem.New(422, "org_title_invalid", "The organisation's title %s.", fault)
	}
	row := orgRow{Org: Org{Name: in.Name, Title: in.Title, State: OrgEnabled}}
	err := r.change(ctx, "create organisation", func(tx bun.Tx, next *Snapshot) error {
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
		return nil
	})
	if err != nil {
		return Org{}, err
	}
	return row.Org, nil
}

// SetOrgEnabled switches following and collecting on or off for the organisation;
// what was collected stays. When it returns, every later Decide and RegisterEmail
// obeys. Problems: org_not_found, org_terminated.
func (r *Registry) SetOrgEnabled(ctx context.Context, id event.OrgID, enabled bool) error {
	state := OrgDisabled
	if enabled {
		state = OrgEnabled
	}
	return r.change(ctx, "set organisation state", func(tx bun.Tx, next *Snapshot) error {
		var row orgRow
		if err := tx.NewSelect().Model(&row).Where("id = ?", id).Scan(ctx); errors.Is(err, sql.ErrNoRows) {
			return orgNotFound()
		} else if err != nil {
			return err
		}
		if row.State == OrgTerminated {
			return orgTerminated()
		}
		row.State = state
		if _, err := tx.NewUpdate().Model(&row).Column("state").WherePK().Exec(ctx); err != nil {
			return err
		}
		next.putOrg(row.Org)
		return nil
	})
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

func orgTerminated() *problem.Error {
	return problem.New(409, "org_terminated", "The organisation's subscription has ended.")
}

func orgDisabled() *problem.Error {
	return problem.New(409, "org_disabled", "Following is switched off for this organisation.")
}
