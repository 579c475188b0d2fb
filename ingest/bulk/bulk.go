// Package bulk reads interactions that others have collected, many at a time.
//
//	NDJSON ─┐
//	Arrow ──┴▶ rows ▶ check ▶ consent ▶ classify ▶ Batch (events, or what is wrong with which row)
//
// A request is taken whole or not at all, so that a caller never has to find out
// which half of it arrived: one wrong row refuses all, and the answer names every
// wrong row up to a limit. Rows whose recipient does not allow them are no fault of
// the caller; they are counted and left out.
//
// A row may carry an id of the caller's. The event id is then derived from it, so
// that a row sent again is the same event and is shown once, however much later it
// comes; one without an id is a new event each time.
package bulk

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"mailwake/engine/classify"
	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// Limits of one request. All of it becomes one group of the log, which is what
// makes it durable together.
const (
	MaxRows   = 50_000
	MaxBytes  = 32 << 20 // after decompression
	maxErrors = 100      // rows that an answer names
	maxLine   = 64 << 10 // of NDJSON
	maxID     = 128      // bytes of a caller's id
	maxText   = 256      // bytes of client, os, reason
)

// Formats of a body.
const (
	NDJSON = "application/x-ndjson"
	Arrow  = "application/vnd.apache.arrow.stream"
)

// RowError is what is wrong with one row.
type RowError struct {
	Row   int    `json:"row" doc:"Index of the row, from 0."`
	Field string `json:"field,omitempty" doc:"Field at fault."`
	Code  string `json:"code" enum:"not_json,unknown_field,missing,wrong_type,out_of_range,unknown_value,too_long,invalid_utf8,unknown_email,unknown_recipient"`
}

// Codes of a RowError.
const (
	codeNotJSON   = "not_json"
	codeField     = "unknown_field"
	codeMissing   = "missing"
	codeType      = "wrong_type"
	codeRange     = "out_of_range"
	codeValue     = "unknown_value"
	codeLong      = "too_long"
	codeUTF8      = "invalid_utf8"
	codeEmail     = "unknown_email"
	codeRecipient = "unknown_recipient"
)

// Batch is what a request holds. Events is complete if Errors is empty.
type Batch struct {
	Rows       int
	Events     []event.Interaction
	NotAllowed int // rows left out because consent forbids them
	Errors     []RowError
	Wrong      int // all wrong rows, also those that Errors has no room for
}

// Reader turns bodies into batches. Its fields must not change while it is used; it
// is safe for concurrent use.
type Reader struct {
	Consent interface {
		Decide(org event.OrgID, recipient event.RecipientID, kind event.Kind) registry.Verdict
	}
	Classifier *classify.Classifier
	// LastIDs returns the newest email and recipient of an organisation: no row can
	// be about a later one.
	LastIDs func(ctx context.Context, org event.OrgID) (event.EmailID, event.RecipientID, error)
	Clock   func() time.Time // nil is time.Now
}

// Read reads a whole body of the format. Problems: unsupported_media_type,
// bulk_invalid (no stream of that format), bulk_too_large, and what LastIDs and
// body report. Faults of rows are in the Batch.
func (r *Reader) Read(ctx context.Context, org event.OrgID, format string, body io.Reader) (Batch, error) {
	b := builder{reader: r, org: org, now: event.At(r.now()), texts: map[string]string{}}
	var err error
	if b.lastEmail, b.lastRecipient, err = r.LastIDs(ctx, org); err != nil {
		return Batch{}, err
	}
	limited := &limit{r: body, left: MaxBytes}
	switch format {
	case NDJSON:
		err = b.ndjson(limited)
	case Arrow:
		err = b.arrow(limited)
	default:
		err = problem.New(415, "unsupported_media_type", "Send %s or %s.", NDJSON, Arrow)
	}
	if limited.exceeded {
		err = tooLarge()
	}
	if err != nil {
		return Batch{}, err
	}
	return b.Batch, nil
}

func (r *Reader) now() time.Time {
	if r.Clock != nil {
		return r.Clock()
	}
	return time.Now()
}

func tooLarge() error {
	return problem.New(413, "bulk_too_large", "A request holds at most %d rows and %d bytes after decompression; send several.", MaxRows, MaxBytes)
}

// limit ends a body that is longer than it may be, also one that a few compressed
// bytes swell to.
type limit struct {
	r        io.Reader
	left     int64
	exceeded bool
}

var errLimit = errors.New("body over its limit")

func (l *limit) Read(p []byte) (int, error) {
	if l.left < 0 {
		l.exceeded = true
		return 0, errLimit
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left+1)])
	l.left -= int64(n)
	if l.left < 0 {
		l.exceeded = true
		return 0, errLimit
	}
	return n, err
}

// row is one interaction as the caller says it. Texts are valid until the next row.
type row struct {
	id, kind, userAgent, ip               string
	actor, device, client, os, reason     string
	occurredAt, email, recipient          int64
	component                             int64
	hasTime, hasKind, hasEmail, hasPerson bool
}

// builder collects a Batch.
type builder struct {
	Batch
	reader        *Reader
	org           event.OrgID
	now           event.Micros
	lastEmail     event.EmailID
	lastRecipient event.RecipientID
	texts         map[string]string // one copy of each text
}

// wrong notes a fault of the present row.
func (b *builder) wrong(field, code string) {
	if len(b.Errors) < maxErrors {
		b.Errors = append(b.Errors, RowError{Row: b.Rows, Field: field, Code: code})
	}
}

// add takes one row, or notes what is wrong with it.
func (b *builder) add(in *row) error {
	defer func() { b.Rows++ }()
	if b.Rows >= MaxRows {
		return tooLarge()
	}
	// The event is made where it stays; nothing is allocated or copied for it.
	n := len(b.Events)
	b.reserve(1)
	b.Events = b.Events[:n+1]
	ev := &b.Events[n]
	field, code := b.event(ev, in)
	allowed := code == "" && b.Wrong == 0 && b.reader.Consent.Decide(b.org, ev.Recipient, ev.Kind).Allow
	if !allowed {
		*ev = event.Interaction{}
		b.Events = b.Events[:n]
	}
	switch {
	case code != "":
		b.wrong(field, code)
		b.Wrong++
	case !allowed && b.Wrong == 0:
		b.NotAllowed++
	}
	return nil
}

// reserve makes room for n more events, at least twice as much as there was.
func (b *builder) reserve(n int) {
	if have := cap(b.Events); len(b.Events)+n > have {
		b.Events = slices.Grow(b.Events, max(n, min(have, MaxRows)))
	}
}

// event fills in ev from a row; code is "" when the row is right.
func (b *builder) event(ev *event.Interaction, in *row) (field, code string) {
	if field, code := in.missing(); code != "" {
		return field, code
	}
	kind, ok := named(kinds, in.kind)
	switch {
	case !ok || kind == 0:
		return "kind", codeValue
	case in.email < 1 || event.EmailID(in.email) > b.lastEmail:
		return "email_id", codeEmail
	case in.recipient < 1 || event.RecipientID(in.recipient) > b.lastRecipient:
		return "recipient_id", codeRecipient
	case in.component < 0 || in.component > 1<<31-1:
		return "component", codeRange
	case len(in.id) > maxID:
		return "id", codeLong
	}
	ev.Org, ev.OccurredAt, ev.ReceivedAt, ev.Kind = b.org, event.Micros(in.occurredAt), b.now, event.Kind(kind)
	ev.Email, ev.Recipient, ev.Component, ev.Source = event.EmailID(in.email), event.RecipientID(in.recipient), int32(in.component), event.API
	if in.id != "" {
		ev.ID = reportedID(in.id)
	}
	if ev.Check() != nil {
		return "occurred_at", codeRange
	}
	return b.judge(ev, in)
}

func (in *row) missing() (field, code string) {
	switch {
	case !in.hasTime:
		return "occurred_at", codeMissing
	case !in.hasKind:
		return "kind", codeMissing
	case !in.hasEmail:
		return "email_id", codeMissing
	case !in.hasPerson:
		return "recipient_id", codeMissing
	}
	return "", ""
}

// judge fills in who caused the event: as the caller says, or else by user agent
// and network, of which the latter is not kept.
func (b *builder) judge(ev *event.Interaction, in *row) (field, code string) {
	var addr netip.Addr
	if in.ip != "" {
		var err error
		if addr, err = netip.ParseAddr(in.ip); err != nil {
			return "ip", codeValue
		}
	}
	c := b.reader.Classifier.ClassifyString(ev.Kind, in.userAgent, addr.Unmap().WithZone(""))
	if in.userAgent == "" && in.ip == "" {
		c = classify.Result{} // nothing was said, which is no sign of a machine
	}
	ev.Actor, ev.Reason, ev.Device, ev.Client, ev.OS, ev.UserAgent = c.Actor, c.Reason, c.Device, c.Client, c.OS, c.UserAgent
	if in.actor != "" {
		actor, ok := named(actors, in.actor)
		if !ok {
			return "actor", codeValue
		}
		ev.Actor, ev.Reason = event.Actor(actor), ""
	}
	if in.device != "" {
		device, ok := named(devices, in.device)
		if !ok {
			return "device", codeValue
		}
		ev.Device = event.Device(device)
	}
	if code := b.text(&ev.Client, in.client); code != "" {
		return "client", code
	}
	if code := b.text(&ev.OS, in.os); code != "" {
		return "os", code
	}
	return "reason", b.text(&ev.Reason, in.reason)
}

// text copies what the caller said over what was found out; nothing says nothing.
func (b *builder) text(to *string, said string) (code string) {
	switch {
	case said == "":
		return ""
	case len(said) > maxText:
		return codeLong
	case !utf8.ValidString(said):
		return codeUTF8
	}
	*to = b.kept(said)
	return ""
}

// kept returns a copy of s that outlives the row; equal texts share one.
func (b *builder) kept(s string) string {
	if old, ok := b.texts[s]; ok {
		return old
	}
	s = strings.Clone(s)
	b.texts[s] = s
	return s
}

// Values of the fields, by their stored number.
var kinds, actors, devices = event.Kinds(), event.Actors(), event.Devices()

func named(names []string, name string) (int, bool) {
	for i, n := range names {
		if n == name {
			return i, true
		}
	}
	return 0, false
}

// reportedID derives an event's id from the caller's: negative, as ids of events
// that others report are.
func reportedID(id string) int64 {
	sum := sha256.Sum256([]byte("bulk\x00" + id))
	return int64(binary.BigEndian.Uint64(sum[:]) | 1<<63) //nolint:gosec // any 63 bits will do
}
