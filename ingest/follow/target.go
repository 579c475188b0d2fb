package follow

import (
	"strings"
	"unicode/utf8"

	"mailwake/ingest/token"
)

// htmlSpace is what HTML strips around a URL.
const htmlSpace = " \t\n\f\r"

// untrackable says why a link to target cannot be followed, "" when it can be.
// Whatever programs may read in different ways stays as the sender wrote it: a
// redirect would make mailwake answer for one of the readings.
func (s *scanner) untrackable(target string) string {
	switch {
	case target == "":
		return "empty"
	case target[0] == '#':
		return "fragment"
	case s.unsubscribe[target]:
		return "unsubscribe"
	case s.ascii && strings.ContainsFunc(target, func(r rune) bool { return r > '~' }):
		return "charset"
	case strings.ContainsFunc(target, isControl):
		return "control_character"
	}
	scheme, rest, ok := strings.Cut(target, ":")
	if !ok || !isScheme(scheme) {
		return "relative"
	}
	if !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return "not_web"
	}
	if strings.Contains(target, `\`) {
		return "backslash" // browsers take it for a slash
	}
	rest, ok = strings.CutPrefix(rest, "//")
	if !ok {
		return "malformed"
	}
	host := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host = rest[:i]
	}
	switch {
	case host == "" || host[0] == ':':
		return "no_host"
	case strings.Contains(host, "@"):
		return "userinfo"
	case strings.ContainsAny(host, " <>\"^`{|}") || !utf8.ValidString(target):
		return "malformed"
	case s.base.owns(target):
		return "own_link"
	case len(target) > token.MaxTarget:
		return "too_long"
	}
	return ""
}

// isControl reports what must not reach a header, a log or a terminal.
func isControl(r rune) bool {
	return r < ' ' || (r >= 0x7f && r < 0xa0) || r == '\u2028' || r == '\u2029'
}

func isScheme(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		letter := 'a' <= c && c <= 'z'
		if !letter && (i == 0 || !('0' <= s[i] && s[i] <= '9' || strings.IndexByte("+-.", s[i]) >= 0)) {
			return false
		}
	}
	return s != ""
}

// shorten cuts a link for a report.
func shorten(target string) string {
	const limit = 200
	if len(target) <= limit {
		return target
	}
	end := limit
	for !utf8.RuneStart(target[end]) {
		end--
	}
	return target[:end] + "…"
}

// unsubscribeTargets reads List-Unsubscribe values, each a target or a whole
// header value with targets in angle brackets.
func unsubscribeTargets(values []string) map[string]bool {
	targets := map[string]bool{}
	for _, v := range values {
		found := false
		for rest := v; ; {
			_, after, open := strings.Cut(rest, "<")
			inside, next, closed := strings.Cut(after, ">")
			if !open || !closed {
				break
			}
			targets[strings.Trim(inside, htmlSpace)] = true
			found, rest = true, next
		}
		if !found {
			targets[strings.Trim(v, htmlSpace)] = true
		}
	}
	delete(targets, "")
	return targets
}
