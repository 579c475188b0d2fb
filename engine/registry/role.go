package registry

import "mailwake/engine/event"

// Role says what a key is for. The zero value may do nothing.
type Role string

// Roles.
const (
	RoleAdmin            Role = "admin"             // everything within its organisations
	RoleSender           Role = "sender"            // follow emails
	RoleIngest           Role = "ingest"            // deliver interactions in bulk
	RoleAnalyst          Role = "analyst"           // read, persons included
	RoleAggregateAnalyst Role = "aggregate_analyst" // read figures, never persons
)

func (r Role) known() bool {
	switch r {
	case RoleAdmin, RoleSender, RoleIngest, RoleAnalyst, RoleAggregateAnalyst:
		return true
	}
	return false
}

// Principal is who a key stands for. The zero value may do nothing.
type Principal struct {
	KeyID   int64
	Name    string
	Role    Role
	Org     event.OrgID // 0 when AllOrgs
	AllOrgs bool
}

// May reports whether the principal may do what role may do in org. Org 0 is the
// whole server (creating organisations, listing keys): only keys for all
// organisations reach it. An admin has every role, an analyst also that of
// aggregate_analyst.
func (p Principal) May(role Role, org event.OrgID) bool {
	if !p.AllOrgs && (org == 0 || p.Org != org) {
		return false
	}
	switch {
	case !p.Role.known() || !role.known():
		return false
	case p.Role == role, p.Role == RoleAdmin:
		return true
	}
	return p.Role == RoleAnalyst && role == RoleAggregateAnalyst
}
