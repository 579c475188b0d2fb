package message

import (
	"cmp"
	"maps"
	"mime"
	"slices"
)

// Copy says how one recipient's copy differs from the message.
type Copy struct {
	MessageID string   // with angle brackets; "" leaves what is there
	Header    []string // fields to add, whole lines without line ends
	Bodies    []Replaced
	Files     []File // to attach
}

// Replaced is a Body with what takes the places given to Text.At, one each. It
// must be ASCII.
type Replaced struct {
	Body *Body
	With [][]byte
}

// File is an attachment in the form in which a copy holds it. Make one with
// Message.File.
type File struct{ text []byte }

// edit replaces raw[start:end]. Of those that begin at one place, ranks tell the
// order.
type edit struct {
	start, end int
	rank       rank
	with       []byte
}

type rank int8

const (
	rankField rank = iota - 2 // lines at the end of a header
	rankOpen                  // delimiter before all that there is
	rankContent
	rankClose // delimiter after all that there is
)

// AppendCopy appends a copy to dst. Blind recipients are never in it.
func (m *Message) AppendCopy(dst []byte, c Copy) []byte {
	var edits []edit
	var add, id []byte
	if c.MessageID != "" {
		id = []byte("Message-ID: " + c.MessageID + m.eol)
	}
	for _, f := range m.root.fields {
		switch {
		case f.name == "bcc" || f.name == "resent-bcc":
			edits = append(edits, edit{start: f.start, end: f.end})
		case f.name == "message-id" && c.MessageID != "":
			edits = append(edits, edit{start: f.start, end: f.end, with: id})
			id = nil // of two only the first stays
		}
	}
	add = append(add, id...)
	for _, line := range c.Header {
		add = append(add, line+m.eol...)
	}
	for _, r := range c.Bodies {
		edits = m.replace(edits, r, &add)
	}
	edits = m.attach(edits, c.Files, &add)
	if len(add) > 0 {
		edits = append(edits, m.insertField(m.root, add))
	}
	slices.SortStableFunc(edits, func(a, b edit) int { return cmp.Or(a.start-b.start, int(a.rank)-int(b.rank)) })
	from := 0
	for _, e := range edits {
		dst = append(append(dst, m.raw[from:e.start]...), e.with...)
		from = e.end
	}
	return append(dst, m.raw[from:]...)
}

// insertField puts whole lines at the end of a part's header.
func (m *Message) insertField(p *Part, lines []byte) edit {
	return edit{start: p.head, end: p.head, rank: rankField, with: lines}
}

// replace changes the body of a text part, and in its header what then is not
// true any more. Lines to add to the message's own header go to add.
func (m *Message) replace(edits []edit, r Replaced, add *[]byte) []edit {
	p := r.Body.text.part
	body, transfer := r.Body.encode(nil, r.With)
	edits = append(edits, edit{start: p.body, end: p.end, with: body})
	lines := map[string]string{}
	if transfer != "" {
		lines["content-transfer-encoding"] = "Content-Transfer-Encoding: " + transfer + m.eol
	}
	if r.Body.toUTF8 {
		params := map[string]string{}
		maps.Copy(params, p.params)
		params["charset"] = "utf-8"
		lines["content-type"] = "Content-Type: " + mime.FormatMediaType(p.Type, params) + m.eol
	}
	for _, f := range p.fields {
		if line, ok := lines[f.name]; ok {
			edits = append(edits, edit{start: f.start, end: f.end, with: []byte(line)})
			lines[f.name] = ""
		}
	}
	var missing []byte
	for _, name := range []string{"content-type", "content-transfer-encoding"} {
		missing = append(missing, lines[name]...)
	}
	switch {
	case len(missing) == 0:
	case p == m.root:
		*add = append(*add, missing...)
	default:
		edits = append(edits, m.insertField(p, missing))
	}
	return edits
}
