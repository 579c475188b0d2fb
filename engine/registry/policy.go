package registry

import (
	"fmt"
	"time"
	_ "time/tzdata" // zones are known on machines without a zone database too

	"mailwake/engine/problem"
)

// UnknownPolicy says what holds for a recipient who has answered neither way.
type UnknownPolicy string

// What an unknown preference means.
const (
	OptOut UnknownPolicy = "opt_out" // follow until refused, as the reference product does
	OptIn  UnknownPolicy = "opt_in"  // follow only once allowed, as CNIL and Garante ask
)

// RefusalPolicy says what one refusing recipient does to an email.
type RefusalPolicy string

// What a refusal does to the email.
const (
	RefusalBlocks       RefusalPolicy = "block"         // nobody of it is followed
	RefusalFollowOthers RefusalPolicy = "follow_others" // the others are; that one gets the plain mail
)

// WithdrawalPolicy says what a refusal does to what was collected before.
type WithdrawalPolicy string

// What a withdrawal does to collected rows.
const (
	WithdrawalHides  WithdrawalPolicy = "hide"  // hidden at once, purged after Policy.HideDays
	WithdrawalPurges WithdrawalPolicy = "purge" // purged at the next compaction
)

// Policy is an organisation's choice of how consent and age are dealt with.
type Policy struct {
	Unknown      UnknownPolicy    `bun:"unknown" json:"unknown"`
	OnRefusal    RefusalPolicy    `bun:"on_refusal" json:"on_refusal"`
	OnWithdrawal WithdrawalPolicy `bun:"on_withdrawal" json:"on_withdrawal"`
	HideDays     int              `bun:"hide_days" json:"hide_days"`         // days from hiding rows to purging them
	MaxAgeDays   int              `bun:"max_age_days" json:"max_age_days"`   // age in days at which rows are purged; 0: no limit
	Zone         string           `bun:"zone" json:"zone"`                   // IANA name of the time zone of reports
	SmartReplies bool             `bun:"smart_replies" json:"smart_replies"` // match replies without a token by their content
}

// DefaultPolicy is the policy of a new organisation.
func DefaultPolicy() Policy {
	return Policy{Unknown: OptOut, OnRefusal: RefusalBlocks, OnWithdrawal: WithdrawalHides, HideDays: 30, Zone: "UTC"}
}

// maxPolicyDays is a century: far beyond any retention, and no date overflows.
const maxPolicyDays = 36_500

// check fills texts left empty with their defaults and refuses what is no policy.
func (p *Policy) check() error {
	def := DefaultPolicy()
	p.Unknown = orElse(p.Unknown, def.Unknown)
	p.OnRefusal = orElse(p.OnRefusal, def.OnRefusal)
	p.OnWithdrawal = orElse(p.OnWithdrawal, def.OnWithdrawal)
	p.Zone = orElse(p.Zone, def.Zone)
	fault := ""
	switch {
	case p.Unknown != OptOut && p.Unknown != OptIn:
		fault = "unknown must be opt_out or opt_in"
	case p.OnRefusal != RefusalBlocks && p.OnRefusal != RefusalFollowOthers:
		fault = "on_refusal must be block or follow_others"
	case p.OnWithdrawal != WithdrawalHides && p.OnWithdrawal != WithdrawalPurges:
		fault = "on_withdrawal must be hide or purge"
	case p.HideDays < 0 || p.HideDays > maxPolicyDays:
		fault = fmt.Sprintf("hide_days must be from 0 to %d", maxPolicyDays)
	case p.MaxAgeDays < 0 || p.MaxAgeDays > maxPolicyDays:
		fault = fmt.Sprintf("max_age_days must be from 0 to %d", maxPolicyDays)
	case !isZone(p.Zone):
		fault = "zone must be the IANA name of a time zone, such as Europe/Berlin"
	}
	if fault == "" {
		return nil
	}
	return problem.New(422, "policy_invalid", "The policy's field %s.", fault)
}

// isZone refuses "Local", which means another zone on another machine.
func isZone(name string) bool {
	_, err := time.LoadLocation(name)
	return err == nil && name != "Local"
}

func orElse[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
