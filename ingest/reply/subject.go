package reply

import (
	"io"
	"mime"
	"strings"

	"golang.org/x/text/cases"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/unicode/norm"
)

// replyMarks are what mail clients write before the subject of a reply, in lower
// case; marks of forwarded mails are not among them.
var replyMarks = map[string]bool{
	"re": true, "res": true, "ref": true, "rép": true, "rif": true, "r": true, "aw": true, "antw": true, "antwort": true,
	"sv": true, "svar": true, "vs": true, "odp": true, "ynt": true, "vá": true, "atb": true, "απ": true, "ответ": true,
	"回复": true, "回覆": true, "答复": true, "返信": true, "회신": true,
}

var words = &mime.WordDecoder{CharsetReader: func(charset string, input io.Reader) (io.Reader, error) {
	e, err := htmlindex.Get(charset)
	if err != nil {
		return nil, err
	}
	return e.NewDecoder().Reader(input), nil
}}

// subject decodes a Subject field. What cannot be decoded stays as it is.
func subject(field string) string {
	field = cut(field)
	if decoded, err := words.DecodeHeader(field); err == nil {
		field = decoded
	}
	return strings.ToValidUTF8(field, "\uFFFD")
}

// answered returns the subject that a reply's subject answers, and whether it
// has a reply's mark at all. Two subjects are alike when this form is.
func answered(subject string) (string, bool) {
	marked := false
	for {
		subject = strings.TrimSpace(subject)
		if rest, ok := withoutTag(subject); ok { // [EXT], [list-name]
			subject = rest
			continue
		}
		i := strings.IndexAny(subject, ":：")
		if i < 0 || !isMark(subject[:i]) {
			return alike(subject), marked
		}
		marked = true
		subject = strings.TrimLeft(subject[i:], ":：")
	}
}

// original is the form of answered for the subject of an email as sent.
func original(subject string) string {
	form, _ := answered(subject)
	return form
}

// isMark accepts counters too: Re[2], Re(2), Re^2.
func isMark(s string) bool {
	s = strings.ToLower(strings.TrimSpace(s))
	if i := strings.IndexAny(s, "[(^"); i > 0 {
		s = strings.TrimSpace(s[:i])
	}
	return replyMarks[norm.NFC.String(s)]
}

func withoutTag(s string) (string, bool) {
	if !strings.HasPrefix(s, "[") {
		return s, false
	}
	_, rest, ok := strings.Cut(s, "]")
	return rest, ok && strings.TrimSpace(rest) != ""
}

// alike folds case, Unicode form and white space.
func alike(s string) string {
	return cases.Fold().String(norm.NFC.String(strings.Join(strings.Fields(s), " ")))
}
