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
			if b.Rows++; b.Rows > MaxRows {
				return tooLarge()
			}
			continue
		}
		if b.Rows >= MaxRows { // the texts of no row more have a number
			return tooLarge()
		}
		for i, text := range p.texts {
			p.in.said[i] = b.words[i].number(text)
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
	texts       [numTexts]string
	field, code string
}

func newLineParser() *lineParser {
	p := new(lineParser)
	p.visit = p.member
	return p
}

// parse reads one line into p.in; code is "" when it has no fault of its own.
func (p *lineParser) parse(line []byte) (field, code string) {
	p.reset()
	if p.plain(unsafe.String(unsafe.SliceData(line), len(line))) {
		return "", ""
	}
	p.reset()
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

func (p *lineParser) reset() {
	p.in, p.texts, p.field, p.code = row{}, [numTexts]string{}, "", ""
}

// member takes one member of the object, unless one before it was at fault.
func (p *lineParser) member(key []byte, v *fastjson.Value) {
	if p.code != "" || v.Type() == fastjson.TypeNull {
		return
	}
	name := unsafe.String(unsafe.SliceData(key), len(key))
	p.code = p.set(name, v)
	if p.code != "" && p.code != codeField { // a name that nobody asked for may hold anything
		p.field = fieldName(name)
	}
}

// set takes one member of the object.
func (p *lineParser) set(name string, v *fastjson.Value) (code string) {
	number, text := p.place(name)
	switch {
	case text != nil:
		return stringOf(v, text)
	case number == nil:
		return codeField
	case name == "occurred_at":
		return moment(v, number)
	}
	return integer(v, number)
}

// place returns where the value of a member goes, nil and nil if it has no place.
func (p *lineParser) place(name string) (number *int64, text *string) {
	in := &p.in
	switch name {
	case "occurred_at":
		in.hasTime = true
		return &in.occurredAt, nil
	case "email_id":
		in.hasEmail = true
		return &in.email, nil
	case "recipient_id":
		in.hasPerson = true
		return &in.recipient, nil
	case "component":
		return &in.component, nil
	case "id":
		return nil, &in.id
	}
	field, ok := named(textFields[:], name)
	if !ok {
		return nil, nil
	}
	in.hasKind = in.hasKind || field == textKind
	return nil, &p.texts[field]
}

// fields are the names a row may have; an answer repeats no other text.
var fields = append([]string{"id", "occurred_at", "email_id", "recipient_id", "component"}, textFields[:]...)

// fieldName returns a copy of name that outlives the row.
func fieldName(name string) string {
	if i, ok := named(fields, name); ok {
		return fields[i]
	}
	return ""
}

// moment reads RFC 3339, or a number of microseconds since 1970.
func moment(v *fastjson.Value, to *int64) (code string) {
	if v.Type() == fastjson.TypeNumber {
		return integer(v, to)
	}
	var text string
	if code := stringOf(v, &text); code != "" {
		return code
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return codeValue
	}
	*to = int64(event.At(at))
	return ""
}

func stringOf(v *fastjson.Value, to *string) (code string) {
	b, err := v.StringBytes()
	if err != nil {
		return codeType
	}
	*to = unsafe.String(unsafe.SliceData(b), len(b))
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
