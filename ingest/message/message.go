// Package message reads mails (RFC 5322, MIME) as bytes with places: where each
// header field, each part and each body stands. A copy of a mail is its bytes with
// some places replaced, so that whatever nobody asked to change stays as it came,
// down to the line ends.
//
//	bytes ──Parse──▶ Message ──HTML──▶ Part ──Text──▶ Text (UTF-8) ──At──▶ Body
//	                    │                                                   │ replacements
//	                    └────────────── AppendCopy ◀── Copy ◀───────────────┘
//
// Charset and transfer encoding of a text stay where they can carry the result:
// quoted-printable is encoded anew only in the lines that change, a charset is
// given up for UTF-8 only when its text cannot be cut at the places wanted.
//
// Invariant: a Copy without changes is the message, byte for byte.
package message

import (
	"bytes"
	"mime"
	"slices"
	"strings"

	"mailwake/engine/problem"
)

// Limits of a message. Real ones stay far below; what is beyond is made to hurt.
const (
	MaxBytes  = 25 << 20  // what large mail providers take
	maxHeader = 256 << 10 // of the message or of one part, with line ends
	maxFields = 1_000     // of one header
	maxDepth  = 32        // of parts in parts
	maxParts  = 500
	maxLine   = 998 // RFC 5322, without the line end
)

// Message is a parsed mail. It is immutable and safe for concurrent use.
type Message struct {
	raw  []byte
	eol  string // the line end of the first line
	root *Part
	left int // parts that may still come, while parsing
}

// Parse reads raw, which must not change afterwards. What breaks the standards is
// read as mail clients do, or left alone; only the empty line that ends a header
// is added when it is missing. Problems: message_too_large (413),
// message_invalid, message_too_complex (422).
func Parse(raw []byte) (*Message, error) {
	if len(raw) > MaxBytes {
		return nil, problem.New(413, "message_too_large", "The message has %d bytes, the limit is %d.", len(raw), MaxBytes)
	}
	m := &Message{raw: raw, eol: "\r\n", left: maxParts}
	if i := bytes.IndexByte(raw, '\n'); i == 0 || i > 0 && raw[i-1] != '\r' {
		m.eol = "\n"
	}
	_, head, body, err := readHeader(raw, 0, len(raw))
	if err != nil {
		return nil, err
	}
	if head == body { // it ends within its header
		m.raw = slices.Clip(raw)
		if !bytes.HasSuffix(raw, []byte("\n")) {
			m.raw = append(m.raw, m.eol...)
		}
		m.raw = append(m.raw, m.eol...)
	}
	root, err := m.part(0, len(m.raw), 0, "text/plain")
	if err != nil {
		return nil, err
	}
	if len(root.fields) == 0 || root.fields[0].name == "" && !bytes.HasPrefix(raw, []byte("From ")) {
		return nil, problem.New(422, "message_invalid", "The message does not begin with header fields; send it as RFC 5322 has it.")
	}
	m.root = root
	return m, nil
}

// field is one header field.
type field struct {
	name       string // in lower case; "" for a line that is no field
	start, end int    // with its line ends
	value      int    // where what follows the colon begins
}

// readHeader reads the fields of raw[start:end] and returns where the body begins.
func readHeader(raw []byte, start, end int) (fields []field, head, body int, err error) {
	at := start
	for at < end {
		next := end
		if i := bytes.IndexByte(raw[at:end], '\n'); i >= 0 {
			next = at + i + 1
		}
		if next-start > maxHeader {
			return nil, 0, 0, problem.New(422, "message_too_complex", "A header of the message is longer than %d bytes.", maxHeader)
		}
		line := raw[at:next]
		switch {
		case lineEnd(line) == len(line):
			return fields, at, next, nil
		case (line[0] == ' ' || line[0] == '\t') && len(fields) > 0:
			fields[len(fields)-1].end = next
		case len(fields) == maxFields:
			return nil, 0, 0, problem.New(422, "message_too_complex", "A header of the message has more than %d fields.", maxFields)
		default:
			f := field{start: at, end: next, value: at}
			if i := bytes.IndexByte(line, ':'); i > 0 {
				if name := strings.TrimRight(string(line[:i]), " \t"); !strings.ContainsAny(name, " \t") {
					f.name, f.value = strings.ToLower(name), at+i+1
				}
			}
			fields = append(fields, f)
		}
		at = next
	}
	return fields, end, end, nil
}

// text returns a field's value on one line.
func (m *Message) text(f field) string {
	s := string(m.raw[f.value:f.end])
	return strings.TrimSpace(strings.NewReplacer("\r\n", "", "\n", "").Replace(s))
}

// Fields returns the values of all fields of the message's header with this name,
// unfolded and otherwise as they stand.
func (m *Message) Fields(name string) (values []string) {
	for _, f := range m.root.fields {
		if f.name == strings.ToLower(name) {
			values = append(values, m.text(f))
		}
	}
	return values
}

// Field returns the first of Fields with encoded words decoded, "" if there is
// none. Characters that would break a line are spaces.
func (m *Message) Field(name string) string {
	values := m.Fields(name)
	if len(values) == 0 {
		return ""
	}
	decoder := mime.WordDecoder{CharsetReader: charsetReader}
	text, err := decoder.DecodeHeader(values[0])
	if err != nil {
		text = values[0]
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\ufffd")))
}

// Size returns the length of the message in bytes.
func (m *Message) Size() int { return len(m.raw) }
