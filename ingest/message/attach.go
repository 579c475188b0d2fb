package message

import (
	"bytes"
	"crypto/rand"
	"mime"
	"slices"
	"strings"
)

// File encodes an attachment for copies of m. The name must have no characters
// that break a line.
func (m *Message) File(name, contentType string, content []byte) File {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || strings.HasPrefix(kind, "multipart/") || strings.HasPrefix(kind, "message/") {
		kind, params = "application/octet-stream", nil // the others may not be base64
	}
	text := "Content-Type: " + mime.FormatMediaType(kind, params) + m.eol +
		"Content-Transfer-Encoding: base64" + m.eol +
		"Content-Disposition: " + disposition(name, m.eol) + m.eol + m.eol
	return File{appendBase64([]byte(text), content, m.eol)}
}

// Size returns how many bytes f adds to a copy.
func (f File) Size() int { return len(f.text) }

// Overhead is what a copy may take beyond the message, its replacements and its
// files, for each file and once more: delimiters and header fields.
const Overhead = 512

// disposition writes Content-Disposition, with RFC 2231 continuations where the
// name asks for them, since a line has an end.
func disposition(name, eol string) string {
	if plain(name) && len(name) < 60 {
		return `attachment; filename="` + name + `"`
	}
	var b strings.Builder
	b.WriteString("attachment")
	rest, charset := []byte(name), "utf-8''"
	const perLine = 40
	for n := 0; len(rest) > 0; n++ {
		b.WriteString(";" + eol + " filename*" + itoa(n) + "*=" + charset)
		for width := 0; len(rest) > 0 && width < perLine; rest = rest[1:] {
			width += writePercent(&b, rest[0])
		}
		charset = ""
	}
	return b.String()
}

// plain reports whether a name can stand between quotes as it is.
func plain(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' })
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

// writePercent writes one byte of an extended value of RFC 2231.
func writePercent(b *strings.Builder, c byte) int {
	if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '_' {
		b.WriteByte(c)
		return 1
	}
	const digits = "0123456789ABCDEF"
	b.WriteByte('%')
	b.WriteByte(digits[c>>4])
	b.WriteByte(digits[c&15])
	return 3
}

// attach adds files: to the last place of a multipart/mixed, or in a new one
// around all that there is.
func (m *Message) attach(edits []edit, files []File, add *[]byte) []edit {
	if len(files) == 0 {
		return edits
	}
	p := m.root
	if p.Type == "multipart/mixed" && p.params["boundary"] != "" {
		closed := p.closing < p.end
		return append(edits, edit{start: p.closing, end: p.closing, with: m.partsOf(files, p.params["boundary"], !closed)})
	}
	boundary := "mailwake-" + rand.Text()
	inner := []byte(m.eol + "--" + boundary + m.eol)
	versioned := false
	changed := map[int][]byte{}
	for _, e := range edits {
		changed[e.start] = e.with
	}
	for _, f := range p.fields {
		versioned = versioned || f.name == "mime-version"
		if !strings.HasPrefix(f.name, "content-") {
			continue
		}
		if text, ok := changed[f.start]; ok {
			inner = append(inner, text...)
		} else {
			inner = append(inner, m.raw[f.start:f.end]...)
		}
		edits = slices.DeleteFunc(edits, func(e edit) bool { return e.start == f.start })
		edits = append(edits, edit{start: f.start, end: f.end})
	}
	var own []byte
	for _, line := range bytes.SplitAfter(*add, []byte("\n")) {
		if bytes.HasPrefix(line, []byte("Content-")) {
			inner = append(inner, line...)
		} else {
			own = append(own, line...)
		}
	}
	if !versioned {
		own = append(own, "MIME-Version: 1.0"+m.eol...)
	}
	*add = append(own, "Content-Type: multipart/mixed;"+m.eol+" boundary=\""+boundary+`"`+m.eol...)
	inner = append(inner, m.eol...)
	return append(edits,
		edit{start: p.body, end: p.body, rank: rankOpen, with: inner},
		edit{start: p.end, end: p.end, rank: rankClose, with: append(m.loneCR(p.end), m.partsOf(files, boundary, true)...)})
}

// loneCR returns what keeps a carriage return before end what it is, part of a
// text, where a line feed will follow it.
func (m *Message) loneCR(end int) []byte {
	if m.eol == "\n" && end > 0 && m.raw[end-1] == '\r' {
		return []byte("\r")
	}
	return nil
}

// partsOf writes files as parts, from the line end before the first delimiter.
func (m *Message) partsOf(files []File, boundary string, closing bool) []byte {
	var out []byte
	for _, f := range files {
		out = append(append(out, m.eol+"--"+boundary+m.eol...), f.text...)
	}
	if closing {
		out = append(out, m.eol+"--"+boundary+"--"+m.eol...)
	}
	return out
}
