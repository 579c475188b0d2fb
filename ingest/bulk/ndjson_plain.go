package bulk

import (
	"strings"
	"time"

	"mailwake/engine/event"
)

// plain reads a line as nearly all are written: members of the right types, whole
// numbers, texts without escapes. It takes a third of the time of a parser that
// knows all of JSON, and leaves everything else, faults included, to that: false.
func (p *lineParser) plain(s string) bool {
	s, ok := strings.CutPrefix(s, "{")
	for ok {
		var name string
		if name, s, ok = plainText(s); !ok {
			return false
		}
		if s, ok = strings.CutPrefix(unspaced(s), ":"); !ok {
			return false
		}
		if s, ok = p.plainMember(name, unspaced(s)); !ok {
			return false
		}
		if s = unspaced(s); s == "}" {
			return true
		}
		s, ok = strings.CutPrefix(s, ",")
		s = unspaced(s)
	}
	return false
}

// plainMember takes the value that s starts with.
func (p *lineParser) plainMember(name, s string) (rest string, ok bool) {
	number, text := p.place(name)
	switch {
	case text != nil:
		*text, rest, ok = plainText(s)
	case number == nil:
	case name == "occurred_at" && strings.HasPrefix(s, `"`):
		var said string
		if said, rest, ok = plainText(s); ok {
			at, err := time.Parse(time.RFC3339Nano, said)
			*number, ok = int64(event.At(at)), err == nil
		}
	default:
		*number, rest, ok = plainNumber(s)
	}
	return rest, ok
}

func plainText(s string) (text, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		return "", "", false
	}
	text, rest, ok = strings.Cut(s[1:], `"`)
	return text, rest, ok && strings.IndexByte(text, '\\') < 0
}

// plainNumber reads digits without a sign, so few that they fit.
func plainNumber(s string) (n int64, rest string, ok bool) {
	i := 0
	for i < len(s) && s[i]-'0' <= 9 {
		n = n*10 + int64(s[i]-'0')
		i++
	}
	if i == 0 || i > 18 || i > 1 && s[0] == '0' || i == len(s) {
		return 0, "", false
	}
	return n, s[i:], s[i] == ',' || s[i] == '}' || s[i] == ' '
}

func unspaced(s string) string {
	if s != "" && s[0] == ' ' {
		return s[1:]
	}
	return s
}
