package message

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"mime"
	"net/mail"
	"strings"
	"time"
	"unicode/utf8"

	"mailwake/engine/problem"
)

// Draft is a mail to be composed. Its texts must have no control characters but
// those of Text and HTML.
type Draft struct {
	From            string // one address, with or without a name
	Subject         string
	Date            time.Time
	ListUnsubscribe []string // targets, or whole values with targets in angle brackets
	Text, HTML      string   // either may be empty
}

// Compose writes a mail without recipients: each Copy adds its own. Problems:
// sender_invalid, list_unsubscribe_invalid, subject_invalid (422).
func Compose(d Draft) (*Message, error) {
	from, err := mail.ParseAddress(d.From)
	if err != nil || !oneLine(d.From) {
		return nil, problem.New(422, "sender_invalid", "The field from is not one address, such as Ann <ann@example.com>.")
	}
	if !oneLine(d.Subject) {
		return nil, problem.New(422, "subject_invalid", "The subject has control characters.")
	}
	var b bytes.Buffer
	b.WriteString(Header("From", Address(from.Name, from.Address)))
	b.WriteString(Header("Subject", encodeText(d.Subject)))
	b.WriteString(Header("Date", d.Date.Format("Mon, 2 Jan 2006 15:04:05 -0700")))
	targets := make([]string, len(d.ListUnsubscribe))
	for i, v := range d.ListUnsubscribe {
		if targets[i] = strings.TrimSpace(v); !strings.Contains(v, "<") {
			targets[i] = "<" + targets[i] + ">"
		}
		if len(v) > maxLine/2 || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) {
			return nil, problem.New(422, "list_unsubscribe_invalid", "Value %d (counted from 0) of list_unsubscribe is too long or has characters that a header cannot carry.", i)
		}
	}
	if len(targets) > 0 {
		b.WriteString(Header("List-Unsubscribe", strings.Join(targets, ", ")))
	}
	b.WriteString("MIME-Version: 1.0\r\n")
	writeBodies(&b, d.Text, d.HTML)
	return Parse(b.Bytes())
}

// writeBodies ends the header and writes the body: one text, or both as
// alternatives.
func writeBodies(b *bytes.Buffer, text, html string) {
	switch {
	case html == "":
		writeText(b, "text/plain", text)
	case text == "":
		writeText(b, "text/html", html)
	default:
		boundary := "mailwake-" + rand.Text()
		b.WriteString("Content-Type: multipart/alternative;\r\n boundary=\"" + boundary + "\"\r\n")
		b.WriteString("\r\n--" + boundary + "\r\n")
		writeText(b, "text/plain", text)
		b.WriteString("\r\n--" + boundary + "\r\n")
		writeText(b, "text/html", html)
		b.WriteString("\r\n--" + boundary + "--\r\n")
	}
}

func writeText(b *bytes.Buffer, kind, text string) {
	b.WriteString("Content-Type: " + kind + "; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
	b.Write(appendQuoted(nil, []byte(text), "\r\n", false))
}

// Header returns a field, folded at spaces, with its line end. The value must be
// encoded already.
func Header(name, value string) string {
	var b strings.Builder
	b.WriteString(name + ":")
	column := b.Len()
	for _, word := range strings.Fields(value) {
		if column+1+len(word) > 76 && column > len(name)+1 {
			b.WriteString("\r\n")
			column = 0
		}
		b.WriteString(" " + word)
		column += 1 + len(word)
	}
	b.WriteString("\r\n")
	return b.String()
}

// Address returns a mailbox as a header has it. Neither text may have control
// characters.
func Address(name, addr string) string {
	if name == "" {
		return "<" + addr + ">"
	}
	if asciiOnly(name) && longestWord(name) < 70 {
		return (&mail.Address{Name: name, Address: addr}).String()
	}
	return encodeText(name) + " <" + addr + ">"
}

// encodeText returns unstructured text as a header carries it: as it is if that
// is ASCII and can be folded, else in encoded words of RFC 2047.
func encodeText(s string) string {
	if asciiOnly(s) && longestWord(s) < 70 && !strings.Contains(s, "=?") && !strings.Contains(s, "  ") && strings.TrimSpace(s) == s {
		return s
	}
	const perWord = 39 // bytes; 52 in base64, 12 around them and a field's name fit a line of 78
	var words []string
	for len(s) > 0 {
		end := min(perWord, len(s))
		for end < len(s) && end > 1 && !utf8.RuneStart(s[end]) {
			end--
		}
		words = append(words, "=?utf-8?B?"+base64.StdEncoding.EncodeToString([]byte(s[:end]))+"?=")
		s = s[end:]
	}
	return strings.Join(words, " ")
}

func asciiOnly(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

func oneLine(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029'
	})
}

func longestWord(s string) int {
	longest := 0
	for _, w := range strings.Fields(s) {
		longest = max(longest, len(w))
	}
	return longest
}

// Addresses returns the recipients that the message's header names, also the
// blind ones, each once. False says that a field is not a list of addresses.
func (m *Message) Addresses() (all []mail.Address, ok bool) {
	seen := map[string]bool{}
	parser := mail.AddressParser{WordDecoder: &mime.WordDecoder{CharsetReader: charsetReader}}
	for _, name := range []string{"To", "Cc", "Bcc"} {
		for _, value := range m.Fields(name) {
			list, err := parser.ParseList(value)
			if err != nil && value != "" && !emptyGroup(value) {
				return nil, false
			}
			for _, a := range list {
				if key := strings.ToLower(a.Address); !seen[key] {
					seen[key] = true
					all = append(all, *a)
				}
			}
		}
	}
	return all, true
}

// emptyGroup reports "undisclosed-recipients:;", which names nobody.
func emptyGroup(value string) bool {
	_, rest, ok := strings.Cut(value, ":")
	return ok && strings.TrimSpace(rest) == ";"
}
