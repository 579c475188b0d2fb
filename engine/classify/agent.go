package classify

import (
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"strings"

	"mailwake/engine/event"
)

//go:embed agents.csv
var agentsCSV string

// bareAgent is what Apple Mail's privacy relay sends, and what lazy programs do.
const bareAgent = "Mozilla/5.0"

// agent is what a user agent says, before the network is looked at.
type agent struct {
	key         string // the user agent as looked up
	open, click Result
	other       Result // for kinds that no client fetches
	mail        mailAgent
}

// mailAgent singles out the agents that Apple's networks say more about.
type mailAgent uint8

const (
	mailOther mailAgent = iota
	mailBare            // exactly bareAgent
	mailApple           // Apple Mail or another web view of Apple's
)

// rule is a row of agents.csv: it names a machine.
type rule struct {
	match    string   // exact, prefix or words
	patterns []string // one; for words all must occur, in lower case
	actor    event.Actor
	opens    bool // an image proxy: fetches images, never follows links
	client   string
	device   event.Device
	os       string
}

func builtinRules() []rule {
	rules, err := parseRules(agentsCSV)
	if err != nil {
		panic("classify: embedded " + err.Error())
	}
	return rules
}

func parseRules(text string) ([]rule, error) {
	in := csv.NewReader(strings.NewReader(text))
	in.FieldsPerRecord = 7
	rows, err := in.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("parse agents: %w", err)
	}
	if len(rows) == 0 {
		return nil, errors.New("parse agents: no heading")
	}
	actors := map[string]event.Actor{"proxy": event.Proxy, "prefetch": event.Prefetch, "scanner": event.Scanner, "bot": event.Bot}
	devices := map[string]event.Device{"": event.DeviceUnknown, "desktop": event.Desktop, "mobile": event.Mobile, "tablet": event.Tablet}
	rules := make([]rule, 0, len(rows)-1)
	for i, row := range rows[1:] {
		r := rule{match: row[0], patterns: []string{row[1]}, opens: row[3] == "open", client: row[4], os: row[6]}
		var okActor, okDevice bool
		r.actor, okActor = actors[row[2]]
		r.device, okDevice = devices[row[5]]
		switch {
		case !okActor || !okDevice || (row[3] != "open" && row[3] != "all") || row[1] == "":
			return nil, fmt.Errorf("parse agents: row %d is malformed", i+2)
		case r.match == "words":
			r.patterns = strings.Split(strings.ToLower(row[1]), "|")
		case r.match != "exact" && r.match != "prefix":
			return nil, fmt.Errorf("parse agents: row %d: match %q is not known", i+2, r.match)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func (r *rule) matches(userAgent, lower string) bool {
	switch r.match {
	case "exact":
		return userAgent == r.patterns[0]
	case "prefix":
		return strings.HasPrefix(userAgent, r.patterns[0])
	}
	for _, p := range r.patterns {
		if !hasWord(lower, p) {
			return false
		}
	}
	return true
}

// hasWord reports whether word occurs in s with no letter or digit next to it.
func hasWord(s, word string) bool {
	for from := 0; ; {
		i := strings.Index(s[from:], word)
		if i < 0 {
			return false
		}
		start, end := from+i, from+i+len(word)
		if (start == 0 || !alphanumeric(s[start-1])) && (end == len(s) || !alphanumeric(s[end])) {
			return true
		}
		from = start + 1
	}
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= 0x80
}

// reader turns user agents into agents.
type reader struct {
	rules []rule
}

func newReader(rules []rule) *reader { return &reader{rules: rules} }

// read judges userAgent; it takes no part of its memory.
func (r *reader) read(userAgent string) *agent {
	a := &agent{key: strings.Clone(userAgent)}
	text := strings.ToValidUTF8(a.key, "\ufffd")
	a.judge(r, text)
	a.open.UserAgent, a.click.UserAgent = text, text
	a.other = a.open
	a.other.Actor, a.other.Reason = event.ActorUnknown, ""
	return a
}

// judge fills open and click.
func (a *agent) judge(r *reader, text string) {
	both := func(res Result) { a.open, a.click = res, res }
	switch {
	case strings.TrimSpace(text) == "":
		both(Result{Actor: event.Bot, Reason: ReasonEmptyUserAgent})
		return
	case text == bareAgent:
		a.mail = mailBare
		a.open = Result{Actor: event.Prefetch, Reason: ReasonAppleMPPUserAgent, Client: "Apple Mail (MPP)"}
		a.click = Result{Actor: event.Bot, Reason: ReasonBareUserAgent}
		return
	}
	lower := strings.ToLower(text)
	for i := range r.rules {
		if rule := &r.rules[i]; rule.matches(text, lower) {
			a.open, a.click = rule.results()
			return
		}
	}
	if strings.Contains(lower, "+http://") || strings.Contains(lower, "+https://") {
		both(Result{Actor: event.Bot, Reason: ReasonDeclaredRobot, Client: "Robot"})
		return
	}
	c := clientOf(text)
	if c.name == "" {
		both(Result{Actor: event.ActorUnknown, Reason: ReasonUnrecognised, Device: c.device, OS: c.os})
		return
	}
	both(Result{Actor: event.Human, Device: c.device, Client: c.name, OS: c.os})
	switch {
	case c.appleMail:
		a.mail = mailApple
	case c.probes:
		a.click.Actor, a.click.Reason = event.Scanner, ReasonOfficeLinkProbe
	}
}

// results returns what the rule says of opens and of clicks.
func (r *rule) results() (open, click Result) {
	open = Result{Actor: r.actor, Device: r.device, Client: r.client, OS: r.os}
	switch r.actor {
	case event.Proxy:
		open.Reason = ReasonImageProxy
	case event.Prefetch:
		open.Reason = ReasonGmailPrefetch
	default:
		open.Reason = ReasonListedUserAgent
	}
	click = open
	if r.opens {
		click.Actor, click.Reason = event.Bot, ReasonImageProxyFollowed
	}
	return open, click
}
