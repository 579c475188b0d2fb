// Package bulk reads interactions that others have collected, many at a time.
//
//	NDJSON ─┐
//	Arrow ──┴▶ rows ▶ check ▶ judge ▶ consent ▶ Batch (rows of the log, or what is wrong with which row)
//
// What a row says in texts is judged once per request: rows hold numbers of texts,
// and what follows from them is remembered (judge.go).
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
	"time"

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
	Events     *event.Rows
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
	b := builder{Batch: Batch{Events: event.NewRows(org)}, reader: r, org: org, now: event.At(r.now()), known: map[said]*judgement{}}
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

// row is one interaction as the caller says it.
type row struct {
	id                                    string // valid until the next row
	occurredAt, email, recipient          int64
	component                             int64
	hasTime, hasKind, hasEmail, hasPerson bool
	said                                  said
}

// builder collects a Batch.
type builder struct {
	Batch
	reader        *Reader
	org           event.OrgID
	now           event.Micros
	lastEmail     event.EmailID
	lastRecipient event.RecipientID
	words         [numTexts]vocabulary
	known         map[said]*judgement
}

// wrong notes a fault of the present row.
func (b *builder) wrong(field, code string) {
	if len(b.Errors) < maxErrors {
		b.Errors = append(b.Errors, RowError{Row: b.Rows, Field: field, Code: code})
	}
	b.Wrong++
}

// add takes one row, or notes what is wrong with it.
func (b *builder) add(in *row) error {
	if b.Rows >= MaxRows {
		return tooLarge()
	}
	field, code := b.take(in)
	if code != "" {
		b.wrong(field, code)
	}
	b.Rows++
	return nil
}

// take adds the event of a row, if it is right and its recipient allows it; code is
// "" when it is right.
func (b *builder) take(in *row) (field, code string) {
	if field, code := in.missing(); code != "" {
		return field, code
	}
	j := b.known[in.said]
	if j == nil {
		j = b.judge(in.said)
		b.known[in.said] = j
	}
	switch {
	case j.event.Kind == event.KindInvalid:
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
	ev := &j.event // which is this row's until the next one
	ev.ID, ev.OccurredAt, ev.Email, ev.Recipient, ev.Component = 0, event.Micros(in.occurredAt), event.EmailID(in.email), event.RecipientID(in.recipient), int32(in.component)
	if in.id != "" {
		ev.ID = reportedID(in.id)
	}
	if ev.Check() != nil {
		return "occurred_at", codeRange
	}
	if j.code != "" || b.Wrong > 0 {
		return j.field, j.code
	}
	if !b.reader.Consent.Decide(b.org, ev.Recipient, ev.Kind).Allow {
		b.NotAllowed++
		return "", ""
	}
	if b.Events.Add(ev, &j.texts) != nil {
		return "occurred_at", codeRange
	}
	return "", ""
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

// reportedID derives an event's id from the caller's: negative, as ids of events
// that others report are.
func reportedID(id string) int64 {
	sum := sha256.Sum256([]byte("bulk\x00" + id))
	return int64(binary.BigEndian.Uint64(sum[:]) | 1<<63) //nolint:gosec // any 63 bits will do
}
