package registry

import (
	"math/bits"
	"strings"
)

// Verdict answers whether something may be recorded. The zero value refuses.
type Verdict struct {
	Allow   bool
	Reasons Reasons // what stands against it; none when allowed
}

// Reasons is a set of reasons against recording.
type Reasons uint16

// Reasons against recording. The bits are not stored; the names are stable.
const (
	OrganisationUnknown Reasons = 1 << iota
	OrganisationDisabled
	OrganisationTerminated
	RecipientUnknown
	KindUnknown
	RecipientDenied       // the recipient, or a person or account with the address, refuses
	RecipientUnknownOptIn // nobody has allowed it, and the organisation asks for consent first
	RecipientErased       // the recipient was erased, for good and for every kind
)

// Names returns the stable names of the reasons in the set, nil for none.
func (r Reasons) Names() []string {
	names := [...]string{
		"organisation_unknown", "organisation_disabled", "organisation_terminated", "recipient_unknown", "kind_unknown",
		"recipient_denied", "recipient_unknown_opt_in", "recipient_erased",
	}
	var out []string
	for ; r != 0; r &= r - 1 {
		if i := bits.TrailingZeros16(uint16(r)); i < len(names) {
			out = append(out, names[i])
		}
	}
	return out
}

// String returns the names separated by commas.
func (r Reasons) String() string { return strings.Join(r.Names(), ",") }
