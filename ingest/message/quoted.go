package message

import (
	"bytes"
	"sort"
)

// quotedLine is one line of quoted-printable text and where it begins, encoded
// and decoded.
type quotedLine struct {
	encoded, decoded int
	soft             bool // the text goes on in the next line
}

// decodeQuoted decodes quoted-printable text as mail clients do: an equals sign
// that begins nothing stands for itself. The lines end with one that is beyond
// the text.
func decodeQuoted(src []byte) (out []byte, lines []quotedLine) {
	out = make([]byte, 0, len(src))
	for at := 0; at < len(src); {
		next := len(src)
		if i := bytes.IndexByte(src[at:], '\n'); i >= 0 {
			next = at + i + 1
		}
		line := quotedLine{encoded: at, decoded: len(out)}
		text := bytes.TrimRight(src[at:next], "\r\n")
		end := src[at+len(text) : next]
		text = bytes.TrimRight(text, " \t")
		if n := len(text); n > 0 && text[n-1] == '=' {
			line.soft, text, end = true, text[:n-1], nil
		}
		for i := 0; i < len(text); i++ {
			if text[i] == '=' && i+2 < len(text) {
				if high, low := hexDigit(text[i+1]), hexDigit(text[i+2]); high >= 0 && low >= 0 {
					out = append(out, byte(high<<4|low))
					i += 2
					continue
				}
			}
			out = append(out, text[i])
		}
		out = append(out, end...)
		lines = append(lines, line)
		at = next
	}
	return out, append(lines, quotedLine{encoded: len(src), decoded: len(out)})
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

// maxQuoted is the longest line of quoted-printable text, RFC 2045.
const maxQuoted = 76

// appendQuoted encodes text. Its line ends stay; longer lines are folded with eol.
// With open, something follows on the last line.
func appendQuoted(dst, text []byte, eol string, open bool) []byte {
	const digits = "0123456789ABCDEF"
	column := 0
	for i := 0; i < len(text); i++ {
		rest := text[i:]
		if n := lineEnd(rest); n > 0 {
			dst = append(dst, rest[:n]...)
			i += n - 1
			column = 0
			continue
		}
		last := len(rest) == 1 && !open || lineEnd(rest[1:]) > 0
		width := 1
		if c := rest[0]; c == '=' || c > '~' || c < ' ' && c != '\t' || last && (c == ' ' || c == '\t') {
			width = 3
		}
		if column+width > maxQuoted-1 && !(last && column+width <= maxQuoted) {
			dst = append(append(dst, '='), eol...)
			column = 0
		}
		if column += width; width == 1 {
			dst = append(dst, rest[0])
		} else {
			dst = append(dst, '=', digits[rest[0]>>4], digits[rest[0]&15])
		}
	}
	return dst
}

// lineEnd returns the length of the line end that b begins with, 0 for none.
func lineEnd(b []byte) int {
	switch {
	case len(b) > 0 && b[0] == '\n':
		return 1
	case len(b) > 1 && b[0] == '\r' && b[1] == '\n':
		return 2
	}
	return 0
}

// place is a stretch of a text in bytes.
type place struct{ start, end int }

// appendQuotedEdits appends src, quoted-printable text of decoded, with places of
// the decoded text replaced. Lines without a change are copied.
func appendQuotedEdits(dst, src, decoded []byte, lines []quotedLine, places []place, with [][]byte, eol string) []byte {
	done := 0 // lines
	for i := 0; i < len(places); {
		first := lineOf(lines, places[i].start)
		past := first
		var text []byte
		from := lines[first].decoded
		for i < len(places) && (past == first || lineOf(lines, places[i].start) < past) {
			text = append(append(text, decoded[from:places[i].start]...), with[i]...)
			from = places[i].end
			for past < len(lines)-1 && (past <= first || lines[past].decoded < from) {
				past++
			}
			i++
		}
		text = append(text, decoded[from:lines[past].decoded]...)
		dst = append(dst, src[lines[done].encoded:lines[first].encoded]...)
		open := past > first && lines[past-1].soft
		if dst = appendQuoted(dst, text, eol, open); open {
			dst = append(append(dst, '='), eol...)
		}
		done = past
	}
	return append(dst, src[lines[done].encoded:]...)
}

// lineOf returns the last line that begins at or before a place of the decoded
// text, other than the one beyond the text if there is another.
func lineOf(lines []quotedLine, at int) int {
	n := sort.Search(len(lines), func(i int) bool { return lines[i].decoded > at }) - 1
	return max(0, min(n, len(lines)-2))
}
