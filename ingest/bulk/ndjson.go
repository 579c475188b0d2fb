package bulk

import (
	"bufio"
	"errors"
	"io"
	"math"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/valyala/fastjson"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// ndjson reads one JSON object per line; empty lines are skipped and not counted.
func (b *builder) ndjson(body io.Reader) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 16<<10), maxLine)
	p := newLineParser()
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) == 0 {
			continue
		}
		field, code := "", codeUTF8
		if utf8.Valid(line) {
			field, code = p.parse(line)
		}
		if code != "" {
			b.wrong(field, code)
			b.Wrong++
			if b.Rows++; b.Rows > MaxRows {
				return tooLarge()
			}
			continue
		}
		if err := b.add(&p.in); err != nil {
			return err
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return problem.New(422, "bulk_invalid", "Line %d is longer than %d bytes.", b.Rows+1, maxLine)
	}
	return lines.Err()
}

// lineParser reads lines, one after another, without allocating.
type lineParser struct {
	json        fastjson.Parser
	visit       func(key []byte, v *fastjson.Value) // (*lineParser).member
	in          row
	field, code string
}

func newLineParser() *lineParser {
	p := new(lineParser)
	p.visit = p.member
	return p
}

// parse reads one line into p.in; code is "" when it has no fault of its own.
func (p *lineParser) parse(line []byte) (field, code string) {
	p.in, p.field, p.code = row{}, "", ""
	// The parser copies the line before it looks at it.
	v, err := p.json.ParseBytes(line)
	if err != nil {
		return "", codeNotJSON
	}
	object, err := v.Object()
	if err != nil {
		return "", codeNotJSON
	}
	object.Visit(p.visit)
	return p.field, p.code
}

// member takes one member of the object, unless one before it was at fault.
func (p *lineParser) member(key []byte, v *fastjson.Value) {
	if p.code != "" || v.Type() == fastjson.TypeNull {
		return
	}
	name := unsafe.String(unsafe.SliceData(key), len(key))
	p.code = p.in.set(name, v)
	if p.code != "" && p.code != codeField { // a name that nobody asked for may hold anything
		p.field = fieldName(name)
	}
}

// set takes one member of the object.
func (in *row) set(name string, v *fastjson.Value) (code string) {
	switch name {
	case "occurred_at":
		in.hasTime = true
		return in.time(v)
	case "email_id":
		in.hasEmail = true
		return integer(v, &in.email)
	case "recipient_id":
		in.hasPerson = true
		return integer(v, &in.recipient)
	case "component":
		return integer(v, &in.component)
	}
	to := in.text(name)
	if to == nil {
		return codeField
	}
	in.hasKind = in.hasKind || name == "kind"
	text, err := v.StringBytes()
	if err != nil {
		return codeType
	}
	*to = unsafe.String(unsafe.SliceData(text), len(text))
	return ""
}

// text returns where the text field of that name goes, nil if there is none.
func (in *row) text(name string) *string {
	switch name {
	case "id":
		return &in.id
	case "kind":
		return &in.kind
	case "user_agent":
		return &in.userAgent
	case "ip":
		return &in.ip
	case "actor":
		return &in.actor
	case "device":
		return &in.device
	case "client":
		return &in.client
	case "os":
		return &in.os
	case "reason":
		return &in.reason
	}
	return nil
}

// fields are the names a row may have; an answer repeats no other text.
var fields = []string{"id", "occurred_at", "kind", "email_id", "recipient_id", "component", "user_agent", "ip", "actor", "device", "client", "os", "reason"}

// fieldName returns a copy of name that outlives the row.
func fieldName(name string) string {
	if i, ok := named(fields, name); ok {
		return fields[i]
	}
	return ""
}

// time reads RFC 3339, or a number of microseconds since 1970.
func (in *row) time(v *fastjson.Value) (code string) {
	if v.Type() == fastjson.TypeNumber {
		return integer(v, &in.occurredAt)
	}
	text, err := v.StringBytes()
	if err != nil {
		return codeType
	}
	at, err := time.Parse(time.RFC3339Nano, unsafe.String(unsafe.SliceData(text), len(text)))
	if err != nil {
		return codeValue
	}
	in.occurredAt = int64(event.At(at))
	return ""
}

func integer(v *fastjson.Value, to *int64) (code string) {
	n, err := v.Int64()
	if err != nil {
		if f, err := v.Float64(); err == nil && (f != math.Trunc(f) || math.Abs(f) > 1<<53) {
			return codeRange
		}
		return codeType
	}
	*to = n
	return ""
}
