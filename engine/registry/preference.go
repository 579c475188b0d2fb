package registry

import (
	"math/bits"
	"slices"

	"mailwake/engine/event"
)

// Purpose is what an interaction is collected for; consent is given per purpose.
type Purpose uint8

// The purposes. The numbers are stored.
const (
	NoPurpose Purpose = iota
	PurposeOpen
	PurposeClick
	PurposeAttachment
	PurposeReply
)

const numPurposes = 4

var purposeNames = []string{"", "open", "click", "attachment", "reply"}

// kindPurposes is indexed by event.Kind; kinds beyond its end have no purpose.
var kindPurposes = [...]Purpose{
	event.Open: PurposeOpen, event.Click: PurposeClick, event.AttachmentView: PurposeAttachment, event.Reply: PurposeReply,
}

// PurposeOf returns the purpose of collecting interactions of this kind; NoPurpose
// for those that mail systems report by themselves, such as bounces.
func PurposeOf(kind event.Kind) Purpose {
	if int(kind) < len(kindPurposes) {
		return kindPurposes[kind]
	}
	return NoPurpose
}

// ParsePurpose returns the purpose with this name.
func ParsePurpose(name string) (Purpose, bool) {
	i := slices.Index(purposeNames, name)
	return Purpose(max(i, 0)), i > 0
}

// purposes lists them all in order.
func purposes() []Purpose {
	return []Purpose{PurposeOpen, PurposeClick, PurposeAttachment, PurposeReply}
}

// String returns the name: open, click, attachment, reply; "" for NoPurpose.
func (p Purpose) String() string {
	if int(p) < len(purposeNames) {
		return purposeNames[p]
	}
	return ""
}

// Purposes is a set of purposes. The bits are stored.
type Purposes uint8

// AllPurposes is what "Follow Email" stands for in the reference product.
const AllPurposes Purposes = 1<<numPurposes - 1

// PurposesOf returns the set of these purposes.
func PurposesOf(list ...Purpose) (set Purposes) {
	for _, p := range list {
		set |= p.bit()
	}
	return set
}

func (p Purpose) bit() Purposes { return 1 << p >> 1 & AllPurposes }

// Has reports whether p is in the set; NoPurpose never is.
func (s Purposes) Has(p Purpose) bool { return s&p.bit() != 0 }

// Names returns the names of the purposes in the set, nil for none.
func (s Purposes) Names() (names []string) {
	for s &= AllPurposes; s != 0; s &= s - 1 {
		names = append(names, purposeNames[bits.TrailingZeros8(uint8(s))+1])
	}
	return names
}

// Preference is an answer to whether interactions may be collected. The zero
// value is no answer; see Policy.Unknown for what that means.
type Preference uint8

// The preferences.
const (
	Unknown Preference = iota
	Allowed
	Denied
)

var preferenceNames = []string{"unknown", "allowed", "denied"}

// ParsePreference returns the preference with this name.
func ParsePreference(name string) (Preference, bool) {
	i := slices.Index(preferenceNames, name)
	return Preference(max(i, 0)), i >= 0
}

// String returns the name: unknown, allowed, denied.
func (p Preference) String() string {
	if int(p) < len(preferenceNames) {
		return preferenceNames[p]
	}
	return preferenceNames[0]
}

// Answers holds a preference for each purpose: Denied, Allowed, or Unknown where
// it is in neither set. No purpose is in both.
type Answers struct {
	Allowed Purposes
	Denied  Purposes
}

// For returns the answer for one purpose.
func (a Answers) For(p Purpose) Preference {
	switch {
	case a.Denied.Has(p):
		return Denied
	case a.Allowed.Has(p):
		return Allowed
	}
	return Unknown
}

// with returns a with another preference for some purposes.
func (a Answers) with(set Purposes, to Preference) Answers {
	a.Allowed &^= set
	a.Denied &^= set
	switch to {
	case Allowed:
		a.Allowed |= set
	case Denied:
		a.Denied |= set
	}
	return a
}

// strictest joins answers that all hold: denied wins over allowed, allowed over unknown.
func (a Answers) strictest(b Answers) Answers {
	denied := a.Denied | b.Denied
	return Answers{Allowed: (a.Allowed | b.Allowed) &^ denied, Denied: denied}
}

// SubjectKind says what kind of record a preference belongs to.
type SubjectKind string

// Kinds of subjects.
const (
	SubjectPerson    SubjectKind = "person"
	SubjectRecipient SubjectKind = "recipient"
)

// Subject is whose preference it is: a person of the organisation, or a recipient,
// which is an address. It holds no personal data.
type Subject struct {
	Kind SubjectKind
	ID   int64 // a PersonID or an event.RecipientID
}

// OfPerson is the subject for a person's preference.
func OfPerson(id PersonID) Subject { return Subject{SubjectPerson, int64(id)} }

// OfRecipient is the subject for an address's own preference.
func OfRecipient(id event.RecipientID) Subject { return Subject{SubjectRecipient, int64(id)} }

// PreferenceChange sets one subject's preference for some purposes. Exactly one of
// Subject, Person and Address says whose.
type PreferenceChange struct {
	Subject Subject   `json:",omitzero"`
	Person  PersonKey `json:",omitzero"` // instead of Subject: a person of the organisation by its external id
	Address string    `json:",omitzero"` // instead of Subject: the recipient with this address, created when missing

	Purposes Purposes
	State    Preference
	Evidence string `json:",omitzero"` // of this change, instead of Proof.Evidence; may be empty
}

// Proof is what shows that preferences were given as recorded. All its texts are
// one call's: texts with what was shown to somebody may have line breaks. None
// should hold an address or a name, since the ledger outlives the person's records.
type Proof struct {
	Source      string // where it was given, e.g. preference_page, crm, import; required
	FormVersion string // of the form or file format; may be empty
	Text        string // exactly what was shown; may be empty
	Locale      string // of Text, e.g. de; may be empty
	Actor       Actor
	Evidence    string // e.g. the Message-ID of a double opt-in; may be empty
}

// AddressAnswers says what follows, for one address, from all preferences that
// reach it: its own, those of everybody who has it, and their accounts' refusals.
type AddressAnswers struct {
	Recipient event.RecipientID
	Address   string
	Answers   Answers
}

// PreferenceState tells a subject's preferences and what follows from them.
type PreferenceState struct {
	Subject   Subject
	Own       Answers          // as set for the subject itself
	Inherited Purposes         // what a contact's account denies
	Addresses []AddressAnswers // of a person in the order of its list; of a recipient, itself
}
