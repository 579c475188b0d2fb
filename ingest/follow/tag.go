package follow

import (
	"bytes"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// attribute is one attribute as it stands in a tag; places are offsets from the
// tag's first byte.
type attribute struct {
	key                  string // in lower case
	start, end           int    // of the whole attribute, without space around it
	valueStart, valueEnd int    // without quotes; both 0 when there is no value
}

// attributes finds the attributes of the complete start tag raw, doubles
// included. It reads as the tokenizer does, which does not tell places.
func attributes(raw string) []attribute {
	var all []attribute
	i := 1
	for i < len(raw) && !isSpace(raw[i]) && raw[i] != '/' && raw[i] != '>' {
		i++
	}
	for {
		i = skipSpace(raw, i)
		if i >= len(raw) || raw[i] == '>' {
			return all
		}
		if raw[i] == '/' {
			i++
			continue
		}
		a := attribute{start: i}
		for i < len(raw) && (raw[i] != '=' || i == a.start) && !isSpace(raw[i]) && raw[i] != '/' && raw[i] != '>' {
			i++
		}
		a.key, a.end = lowerASCII(raw[a.start:i]), i
		if next := skipSpace(raw, i); next < len(raw) && raw[next] == '=' {
			i = a.readValue(raw, skipSpace(raw, next+1))
		}
		all = append(all, a)
	}
}

// readValue reads the value that begins at i and returns where it ends.
func (a *attribute) readValue(raw string, i int) int {
	a.valueStart, a.valueEnd, a.end = i, i, i
	if i >= len(raw) || raw[i] == '>' {
		return i
	}
	if quote := raw[i]; quote == '"' || quote == '\'' {
		length := strings.IndexByte(raw[i+1:], quote)
		if length < 0 {
			length = len(raw) - (i + 1)
		}
		a.valueStart, a.valueEnd = i+1, i+1+length
		a.end = min(a.valueEnd+1, len(raw))
		return a.end
	}
	for i < len(raw) && !isSpace(raw[i]) && raw[i] != '>' {
		i++
	}
	a.valueEnd, a.end = i, i
	return i
}

func isSpace(c byte) bool { return strings.IndexByte(htmlSpace, c) >= 0 }

func skipSpace(s string, i int) int {
	for i < len(s) && isSpace(s[i]) {
		i++
	}
	return i
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// pair is an attribute as mail clients understand it.
type pair struct{ key, value string }

// pairs returns the attributes of the tokenizer's current tag, the first of
// doubles only.
func pairs(z *html.Tokenizer) []pair {
	var all []pair
	for more := true; more; {
		var key, value []byte
		if key, value, more = z.TagAttr(); len(key) > 0 {
			all = append(all, pair{string(key), string(value)})
		}
	}
	return all
}

// agree reports whether places, doubles taken out, are those of understood.
func agree(places []attribute, understood []pair) bool {
	seen := make(map[string]bool, len(understood))
	for _, a := range places {
		if seen[a.key] {
			continue
		}
		if len(seen) == len(understood) || understood[len(seen)].key != a.key {
			return false
		}
		seen[a.key] = true
	}
	return len(seen) == len(understood)
}

// isMarker reports whether an attribute says that its link must not be followed.
func isMarker(key, value string) bool {
	return key == "data-no-track" || (key == "clicktracking" && strings.EqualFold(strings.Trim(value, htmlSpace), "off"))
}

// cutOf returns the place of attribute a together with the space before it,
// which stays where it parts other things.
func cutOf(raw string, a attribute) (start, end int) {
	start, end = a.start, a.end
	if end < len(raw) && (isSpace(raw[end]) || raw[end] == '>') {
		for start > 0 && isSpace(raw[start-1]) {
			start--
		}
	}
	return start, end
}

// withoutMarkers checks that the tag raw with cuts taken out means what raw
// means without its markers, and nothing else.
func withoutMarkers(raw string, cuts []edit, understood []pair) bool {
	var b bytes.Buffer
	from := 0
	for _, c := range cuts {
		b.WriteString(raw[from:c.start])
		from = c.end
	}
	b.WriteString(raw[from:])
	length := b.Len()
	z := html.NewTokenizer(&b)
	if tt := z.Next(); (tt != html.StartTagToken && tt != html.SelfClosingTagToken) || len(z.Raw()) != length {
		return false
	}
	z.TagName()
	want := slices.DeleteFunc(slices.Clone(understood), func(p pair) bool { return isMarker(p.key, p.value) })
	return slices.Equal(pairs(z), want)
}
