package message

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
)

// Text is the content of a text part.
type Text struct {
	UTF8 string
	// Opaque says that the charset is not known, or not what the bytes are: each
	// byte above 127 stands in UTF8 as the character of the same number. The byte
	// before a cut may be half a character then. What is put there should begin with
	// a byte that is the second half in no charset, as tags do: most ASCII letters
	// and '[' are in Shift_JIS, GBK and Big5; '<', '"' and '=' are in none.
	Opaque bool

	message *Message
	part    *Part
	content []byte            // without transfer encoding, in its charset
	charset encoding.Encoding // nil: UTF-8 or opaque
	lossy   bool              // the charset cannot give content back
	lines   []quotedLine      // of quoted-printable
}

// Text reads a text part; false if its transfer encoding is none that mails have,
// or broken.
func (m *Message) Text(p *Part) (*Text, bool) {
	t := &Text{message: m, part: p}
	body := m.raw[p.body:p.end]
	switch p.encoding {
	case "", "7bit", "8bit", "binary":
		t.content = body
	case "quoted-printable":
		t.content, t.lines = decodeQuoted(body)
	case "base64":
		var err error
		if t.content, err = io.ReadAll(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(withoutSpace(body)))); err != nil {
			return nil, false
		}
	default:
		return nil, false
	}
	t.decode(strings.ToLower(strings.TrimSpace(p.params["charset"])))
	return t, true
}

// withoutSpace drops what base64 may be folded with.
func withoutSpace(b []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r == ' ' || r == '\t' || r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, b)
}

// decode finds UTF8. Bytes that are not of the charset declared are common; as
// long as its ASCII is ASCII, they can stay what they are.
func (t *Text) decode(charset string) {
	switch charset {
	case "", "us-ascii", "ascii", "utf-8", "utf8":
		if utf8.Valid(t.content) {
			t.UTF8 = string(t.content)
			return
		}
		t.opaque()
		return
	}
	known, err := htmlindex.Get(charset)
	if err != nil || known == encoding.Replacement {
		t.opaque()
		return
	}
	text, err := known.NewDecoder().Bytes(t.content)
	back, errBack := known.NewEncoder().Bytes(text)
	switch {
	case err == nil && errBack == nil && bytes.Equal(back, t.content):
		t.UTF8, t.charset = string(text), known
	case asciiBased(known):
		t.opaque()
	default:
		t.UTF8, t.lossy = strings.ToValidUTF8(string(text), "\ufffd"), true
	}
}

func (t *Text) opaque() {
	var b strings.Builder
	for _, c := range t.content {
		b.WriteRune(rune(c))
	}
	t.UTF8, t.Opaque = b.String(), true
}

// asciiBased reports whether bytes below 128 are ASCII wherever they stand at
// the beginning of a character.
func asciiBased(e encoding.Encoding) bool {
	name, err := htmlindex.Name(e)
	return err == nil && name != "iso-2022-jp" && !strings.HasPrefix(name, "utf-16")
}

// charsetReader decodes encoded words.
func charsetReader(charset string, r io.Reader) (io.Reader, error) {
	known, err := htmlindex.Get(charset)
	if err != nil {
		return nil, fmt.Errorf("charset %q: %w", charset, err)
	}
	return known.NewDecoder().Reader(r), nil
}

// Body is a Text with the places found where copies differ.
type Body struct {
	text     *Text
	content  []byte // in the charset of the copies
	places   []place
	toUTF8   bool // the copies' charset is UTF-8 and the original's is not
	replaced encoding.Encoding
}

// At prepares replacements of the given stretches of t.UTF8: starts and ends in
// turn, ascending, without overlap.
func (t *Text) At(bounds []int) *Body {
	b := &Body{text: t, content: t.content}
	if t.lossy || !b.find(bounds) {
		b.content, b.toUTF8, b.replaced, b.places = []byte(t.UTF8), true, nil, nil
		for i := 0; i+1 < len(bounds); i += 2 {
			b.places = append(b.places, place{bounds[i], bounds[i+1]})
		}
	}
	return b
}

// find translates the bounds into places of the content. It encodes the pieces
// between the bounds one by one: together they must be the content, or the
// charset has states and cannot be cut there.
func (b *Body) find(bounds []int) bool {
	t := b.text
	at, from := 0, 0
	var all []int
	for _, bound := range append(bounds[:len(bounds):len(bounds)], len(t.UTF8)) {
		piece := t.UTF8[from:bound]
		encoded := []byte(piece)
		if t.Opaque {
			encoded = encoded[:0]
			for _, r := range piece {
				encoded = append(encoded, byte(r))
			}
		} else if t.charset != nil {
			var err error
			if encoded, err = t.charset.NewEncoder().Bytes(encoded); err != nil {
				return false
			}
		}
		if !bytes.HasPrefix(t.content[at:], encoded) {
			return false
		}
		at, from = at+len(encoded), bound
		all = append(all, at)
	}
	if at != len(t.content) {
		return false
	}
	for i := 0; i+1 < len(bounds); i += 2 {
		b.places = append(b.places, place{all[i], all[i+1]})
	}
	b.replaced = t.charset
	return true
}

// encode appends the body of a copy. It also returns the transfer encoding, ""
// for that of the original: lines that grow too long need another one.
func (b *Body) encode(dst []byte, with [][]byte) (out []byte, encoding string) {
	t := b.text
	if b.replaced != nil {
		encoded := make([][]byte, len(with))
		for i, w := range with {
			encoded[i] = w
			if e, err := b.replaced.NewEncoder().Bytes(w); err == nil { // it is ASCII
				encoded[i] = e
			}
		}
		with = encoded
	}
	if t.lines != nil && !b.toUTF8 {
		raw := t.message.raw[t.part.body:t.part.end]
		return appendQuotedEdits(dst, raw, b.content, t.lines, b.places, with, t.message.eol), ""
	}
	text := make([]byte, 0, len(b.content)+64*len(with))
	from := 0
	for i, p := range b.places {
		text = append(append(text, b.content[from:p.start]...), with[i]...)
		from = p.end
	}
	text = append(text, b.content[from:]...)
	switch {
	case t.part.encoding == "base64":
		return appendBase64(dst, text, t.message.eol), ""
	case t.part.encoding == "quoted-printable":
		return appendQuoted(dst, text, t.message.eol, false), ""
	case b.toUTF8 || longestLine(text) > maxLine:
		return appendQuoted(dst, text, t.message.eol, false), "quoted-printable"
	}
	return append(dst, text...), ""
}

// appendBase64 encodes text in lines of 76 characters, without a line end after
// the last.
func appendBase64(dst, text []byte, eol string) []byte {
	const perLine = 57
	for i := 0; i < len(text); i += perLine {
		if i > 0 {
			dst = append(dst, eol...)
		}
		dst = base64.StdEncoding.AppendEncode(dst, text[i:min(i+perLine, len(text))])
	}
	return dst
}

func longestLine(text []byte) int {
	longest := 0
	for len(text) > 0 {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		longest, text = max(longest, len(bytes.TrimRight(line, "\r"))), rest
	}
	return longest
}
