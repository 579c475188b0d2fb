// Package event defines the Interaction, the one record that flows through
// mailwake, and its three forms: a Go struct, a compact row for the log, and
// Arrow columns for Parquet, Iceberg and DuckDB.
//
//	Interaction ──AppendRow──▶ row (log, tail) ──DecodeRow──▶ Builder ──▶ Arrow batch ──▶ Parquet
//
// An event carries identifiers only. Addresses, names and subjects live in the
// registry and never enter a record. Identifiers are dense per organisation,
// which keeps them small, ordered by age and good to compress.
package event

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrInvalid reports a record that cannot be decoded or encoded.
var ErrInvalid = errors.New("event: invalid record")

// OrgID identifies an organisation within one registry; 0 is no organisation.
type OrgID uint32

// EmailID identifies an email within its organisation, dense from 1.
type EmailID int64

// RecipientID identifies a recipient within its organisation, dense from 1.
type RecipientID int64

// Micros is a point in time in microseconds since the Unix epoch, UTC.
type Micros int64

// At converts t, dropping what is finer than a microsecond.
func At(t time.Time) Micros { return Micros(t.UnixMicro()) }

// Time converts back, in UTC.
func (m Micros) Time() time.Time { return time.UnixMicro(int64(m)).UTC() }

// Month returns the number of whole months since January 1970, the value of
// Iceberg's month transform; negative before.
func (m Micros) Month() int {
	t := m.Time()
	return (t.Year()-1970)*12 + int(t.Month()) - 1
}

// Kind says what happened.
type Kind uint8

// The kinds of interaction. The numbers are part of the log format.
const (
	KindInvalid Kind = iota
	Open
	Click
	AttachmentView
	Reply
	Sent
	Delivered
	Bounced
	Complained
	Unsubscribed
)

var kindNames = [...]string{"invalid", "open", "click", "attachment_view", "reply", "sent", "delivered", "bounced", "complained", "unsubscribed"}

// String returns the name used in storage, SQL and APIs.
func (k Kind) String() string { return name(kindNames[:], int(k)) }

// Actor says who caused an interaction. Human traffic is Human and Proxy (an
// image proxy usually fetches because a person opened); machine traffic is
// Prefetch, Scanner and Bot.
type Actor uint8

// The actors. The numbers are part of the log format.
const (
	ActorUnknown Actor = iota
	Human
	Proxy
	Prefetch
	Scanner
	Bot
)

var actorNames = [...]string{"unknown", "human", "proxy", "prefetch", "scanner", "bot"}

// String returns the name used in storage, SQL and APIs.
func (a Actor) String() string { return name(actorNames[:], int(a)) }

// Device is the form factor of the client.
type Device uint8

// The devices. The numbers are part of the log format.
const (
	DeviceUnknown Device = iota
	Desktop
	Mobile
	Tablet
)

var deviceNames = [...]string{"unknown", "desktop", "mobile", "tablet"}

// String returns the name used in storage, SQL and APIs.
func (d Device) String() string { return name(deviceNames[:], int(d)) }

// Source says through which door an interaction came in.
type Source uint8

// The sources. The numbers are part of the log format.
const (
	SourceUnknown Source = iota
	Pixel
	Redirect
	Attachment
	API
	LMTP
)

var sourceNames = [...]string{"unknown", "pixel", "redirect", "attachment", "api", "lmtp"}

// String returns the name used in storage, SQL and APIs.
func (s Source) String() string { return name(sourceNames[:], int(s)) }

// Kinds lists the names in the order of their numbers, so that stores with
// enumerations can declare them.
func Kinds() []string { return slices.Clone(kindNames[:]) }

// Actors lists the names in the order of their numbers.
func Actors() []string { return slices.Clone(actorNames[:]) }

// Devices lists the names in the order of their numbers.
func Devices() []string { return slices.Clone(deviceNames[:]) }

// Sources lists the names in the order of their numbers.
func Sources() []string { return slices.Clone(sourceNames[:]) }

func name(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return names[0]
}

// Interaction is one thing a recipient, or a machine on the way, did with an
// email, or one step of the email's own life (sent, delivered, bounced).
type Interaction struct {
	Org OrgID
	// ID identifies the event within its organisation. Zero means: derived from
	// the position in the log, see OwnID.
	ID         int64
	OccurredAt Micros // when it happened, as its reporter says
	ReceivedAt Micros // when mailwake learnt of it
	Kind       Kind
	Email      EmailID
	Recipient  RecipientID
	Component  int32 // ordinal of the link or attachment within the email, from 1; 0 is none
	Actor      Actor
	Reason     string // why Actor was chosen
	Device     Device
	Client     string // family of the mail client or browser
	OS         string
	Source     Source
	UserAgent  string // as received; empty once reclassification is over
	Network    string // at most a /24 or /48; empty unless the owner asks for it
}

// Times outside of these bounds are faults of a clock or a caller. Each month
// becomes a partition of a table, so the months there can be are bounded.
var (
	earliest = At(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
	latest   = At(time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC))
)

// Check returns an error in ErrInvalid's chain that names what is wrong with the
// event, or nil when it can be stored.
func (in *Interaction) Check() error {
	wrong := ""
	switch {
	case in.Kind == KindInvalid || int(in.Kind) >= len(kindNames):
		wrong = "kind"
	case int(in.Actor) >= len(actorNames):
		wrong = "actor"
	case int(in.Device) >= len(deviceNames):
		wrong = "device"
	case int(in.Source) >= len(sourceNames):
		wrong = "source"
	case in.Email <= 0:
		wrong = "email"
	case in.Recipient <= 0:
		wrong = "recipient"
	case in.Component < 0:
		wrong = "component"
	case in.OccurredAt < earliest || in.OccurredAt >= latest || in.ReceivedAt < earliest || in.ReceivedAt >= latest:
		wrong = "time, which must be from 2000 to 2199"
	default:
		return nil
	}
	return fmt.Errorf("%w: its %s", ErrInvalid, wrong)
}

// Position is a place in one node's log: group number and ordinal within the
// group. Positions order events by durability.
type Position uint64

// PositionOf joins a group number (below 2^39) and an ordinal (below 2^16).
func PositionOf(group uint64, ordinal int) Position {
	return Position(group<<16 | uint64(ordinal))
}

// Group returns the group number.
func (p Position) Group() uint64 { return uint64(p) >> 16 }

// OwnID returns the event id of an event that mailwake itself observed: node
// (8 bits), group (39 bits), ordinal (16 bits), so that a replay of the log
// gives the same id again. Own ids are positive; ids of events reported by
// others are negative.
func OwnID(node uint8, p Position) int64 {
	return int64(uint64(node)<<55 | uint64(p)&(1<<55-1))
}
