package message

import (
	"bytes"
	"mime"
	"strings"

	"mailwake/engine/problem"
)

// Part is the message itself or one part of it.
type Part struct {
	Type string // media type in lower case, such as text/html

	params     map[string]string
	fields     []field
	start      int // of the header
	head       int // end of the header, where the empty line begins
	body, end  int
	closing    int // of a multipart: where what ends its last part begins
	isAttached bool
	encoding   string // transfer encoding in lower case; "" is none
	parts      []*Part
}

// part parses raw[start:end], header and body.
func (m *Message) part(start, end, depth int, usual string) (*Part, error) {
	if m.left--; m.left < 0 {
		return nil, problem.New(422, "message_too_complex", "The message has more than %d parts.", maxParts)
	}
	if depth > maxDepth {
		return nil, problem.New(422, "message_too_complex", "The message has parts in parts, more than %d deep.", maxDepth)
	}
	fields, head, body, err := readHeader(m.raw, start, end)
	if err != nil {
		return nil, err
	}
	p := &Part{Type: usual, fields: fields, start: start, head: head, body: body, end: end}
	for _, f := range fields {
		switch f.name {
		case "content-type":
			p.Type, p.params = mediaType(m.text(f), usual)
		case "content-transfer-encoding":
			p.encoding = strings.ToLower(m.text(f))
		case "content-disposition":
			kind, _, _ := strings.Cut(m.text(f), ";")
			p.isAttached = strings.EqualFold(strings.TrimSpace(kind), "attachment")
		}
	}
	if boundary := p.params["boundary"]; strings.HasPrefix(p.Type, "multipart/") && boundary != "" {
		return p, m.children(p, boundary, depth)
	}
	return p, nil
}

// mediaType reads a Content-Type. Where the standard library gives up on a
// parameter, the two that matter are looked for by hand: a boundary without the
// quotes that its characters ask for is common.
func mediaType(text, usual string) (string, map[string]string) {
	kind, params, err := mime.ParseMediaType(text)
	if err == nil {
		return kind, params
	}
	kind, rest, _ := strings.Cut(text, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	if !strings.Contains(kind, "/") {
		return usual, nil
	}
	params = map[string]string{}
	for _, item := range strings.Split(rest, ";") {
		name, value, ok := strings.Cut(item, "=")
		if name = strings.ToLower(strings.TrimSpace(name)); ok && (name == "boundary" || name == "charset") && params[name] == "" {
			params[name] = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return kind, params
}

// children parses the parts of a multipart.
func (m *Message) children(p *Part, boundary string, depth int) error {
	usual := "text/plain"
	if p.Type == "multipart/digest" {
		usual = "message/rfc822"
	}
	delimiter := []byte("--" + boundary)
	from, at := -1, p.body
	p.closing = p.end
	add := func(end int) error {
		if from < 0 {
			return nil
		}
		child, err := m.part(from, max(from, end), depth+1, usual)
		p.parts = append(p.parts, child)
		return err
	}
	for {
		i := bytes.Index(m.raw[at:p.end], delimiter)
		if i < 0 {
			return add(p.end)
		}
		begin := at + i
		next := p.end
		if j := bytes.IndexByte(m.raw[begin:p.end], '\n'); j >= 0 {
			next = begin + j + 1
		}
		rest := string(bytes.TrimRight(m.raw[begin+len(delimiter):next], " \t\r\n"))
		if rest != "" && rest != "--" || begin > p.body && m.raw[begin-1] != '\n' {
			at = next // a delimiter begins its line: no other one is in this
			continue
		}
		end := m.lineBefore(p.body, begin)
		if err := add(end); err != nil {
			return err
		}
		if rest == "--" {
			p.closing = end
			return nil
		}
		from, at = next, next
	}
}

// lineBefore returns where the line end before at begins, which belongs to the
// delimiter, but not less than start.
func (m *Message) lineBefore(start, at int) int {
	if at > start && m.raw[at-1] == '\n' {
		at--
		if at > start && m.raw[at-1] == '\r' {
			at--
		}
	}
	return at
}

// HTML returns the parts that mail clients show as HTML, in their order: not
// attached files, not mails within the mail. Nothing inside a signed or encrypted
// part may change; sealed reports that there is one.
func (m *Message) HTML() (parts []*Part, sealed bool) {
	var walk func(p *Part)
	walk = func(p *Part) {
		switch p.Type {
		case "multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime":
			sealed = true
			return
		case "text/html":
			if !p.isAttached && p.head < p.body { // or it ends within its header
				parts = append(parts, p)
			}
		}
		for _, child := range p.parts {
			walk(child)
		}
	}
	walk(m.root)
	return parts, sealed
}
