package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // the page and its style
	"encoding/base64"
	"fmt"
	"html/template"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// PreferenceStore is what the preference page asks and tells the registry.
type PreferenceStore interface {
	Snapshot() *registry.Snapshot
	Preferences(ctx context.Context, org event.OrgID, of registry.Subject) (registry.PreferenceState, error)
	Places() bool
	SetPreferences(ctx context.Context, org event.OrgID, changes []registry.PreferenceChange, proof registry.Proof) error
}

// Limits of preference pages. A token opens one recipient's page only, so these
// are for a token that went into wrong hands.
const (
	pagesAtOnce    = 16              // pages being answered; pixels and links wait for none of them
	pageWait       = 2 * time.Second // for a place among them
	changesPerSpan = 30              // changes of one recipient within changeSpan: each is kept for good
	changeSpan     = 10 * time.Minute
)

// Sources of a preference in the ledger.
const (
	sourcePage     = "preference_page"
	sourceOneClick = "one_click" // RFC 8058
)

var (
	//go:embed preference.html
	pageHTML string
	//go:embed preference.css
	pageStyle string

	pageTemplate = template.Must(template.New("preference").Parse(pageHTML))
	// pagePolicy lets the page show its style and post its form to itself, nothing else.
	pagePolicy = func() string {
		sum := sha256.Sum256([]byte(pageStyle))
		return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	}()
)

// preferencePages answers the preference pages of the public plane:
//
//	GET  /p/{token}   the page, with what holds at present; changes nothing
//	POST /p/{token}   the form, or List-Unsubscribe=One-Click, which refuses all
//
// The token is the capability: there is no login and no cookie, so another site
// has nothing of the reader's to post with. A post that the browser itself calls
// cross-site is refused all the same.
type preferencePages struct {
	registry PreferenceStore
	clock    func() time.Time
	slots    chan struct{}

	mu struct {
		sync.Mutex
		since   time.Time // when changes was last emptied
		changes map[pageKey]int
	}
}

type pageKey struct {
	org       event.OrgID
	recipient event.RecipientID
}

func newPreferencePages(r PreferenceStore, clock func() time.Time) *preferencePages {
	return &preferencePages{registry: r, clock: clock, slots: make(chan struct{}, pagesAtOnce)}
}

// enter waits for a place and returns how to leave it, or nil when there is none.
func (p *preferencePages) enter() (leave func()) {
	timer := time.NewTimer(pageWait)
	defer timer.Stop()
	select {
	case p.slots <- struct{}{}:
		return func() { <-p.slots }
	case <-timer.C:
		return nil
	}
}

// mayChange counts a change of the recipient's and reports whether it may be made.
func (p *preferencePages) mayChange(key pageKey) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock()
	if p.mu.changes == nil || now.Sub(p.mu.since).Abs() >= changeSpan {
		p.mu.since, p.mu.changes = now, map[pageKey]int{}
	}
	p.mu.changes[key]++
	return p.mu.changes[key] <= changesPerSpan
}

// page is one recipient's page in one language.
type page struct {
	Text      pageText
	Style     template.CSS
	Form      string
	Notice    string
	Address   string
	Questions []pageQuestion
}

type pageQuestion struct {
	question
	Name            string
	Allowed, Denied bool
	Now             string
}

// show reads what holds for the recipient. The problem is that of an
// organisation or recipient that is not there any more.
func (p *preferencePages) show(ctx context.Context, key pageKey, acceptLanguage string) (*page, error) {
	snapshot := p.registry.Snapshot()
	org, ok := snapshot.Org(key.org)
	if !ok {
		return nil, problem.New(404, "org_not_found", "There is no such organisation.")
	}
	state, err := p.registry.Preferences(ctx, key.org, registry.OfRecipient(key.recipient))
	if err != nil {
		return nil, fmt.Errorf("read preferences: %w", err)
	}
	pg := &page{Text: textFor(acceptLanguage, titleOf(org)), Style: template.CSS(pageStyle), Form: preferenceForm} //nolint:gosec // our own file
	if len(state.Addresses) > 0 {
		pg.Address = masked(state.Addresses[0].Address)
	}
	consent, enabled := snapshot.Consent(key.org), org.State == registry.OrgEnabled
	for _, q := range pg.Text.Questions {
		own := state.Own.For(q.Purpose)
		one := pageQuestion{question: q, Name: q.Purpose.String(), Allowed: own == registry.Allowed, Denied: own == registry.Denied, Now: pg.Text.Recorded}
		if !enabled || consent.Refuses(key.recipient, q.Purpose) {
			one.Now = pg.Text.Unrecorded
			if one.Allowed {
				one.Now = pg.Text.Overruled
			}
		}
		pg.Questions = append(pg.Questions, one)
	}
	return pg, nil
}

func titleOf(o registry.Org) string {
	if o.Title != "" {
		return o.Title
	}
	return o.Name
}

// masked keeps of an address what its owner needs to know it again: the page's
// link may be in somebody else's hands.
func masked(address string) string {
	local, domain, ok := cutLast(address, "@")
	if !ok {
		return "…"
	}
	_, size := utf8.DecodeRuneInString(local)
	return local[:size] + "…@" + domain
}

// render writes the page. It cannot fail: all that the template names is there,
// as tests show.
func (pg *page) render() []byte {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, pg); err != nil {
		return []byte(err.Error())
	}
	return b.Bytes()
}

// notice writes a page that holds one sentence.
func notice(t pageText, sentence string) []byte {
	return fmt.Appendf(nil, "<!doctype html>\n<html lang=%q><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>%[2]s</title><p>%[2]s</p></html>\n",
		t.Locale, template.HTMLEscapeString(sentence))
}

// form is what was posted; at most one value per name.
type form func(name string) string

// oneClick reports whether the post is that of RFC 8058.
func (f form) oneClick() bool { return strings.EqualFold(f("List-Unsubscribe"), "One-Click") }

// choices returns what the form asks for: states of purposes. Whatever is no
// answer to a question is none.
func (f form) choices() (a registry.Answers) {
	if all, ok := answer(f("all")); ok {
		if all == registry.Allowed {
			return registry.Answers{Allowed: registry.AllPurposes}
		}
		return registry.Answers{Denied: registry.AllPurposes}
	}
	for _, q := range pageTexts[0].Questions {
		switch state, _ := answer(f(q.Purpose.String())); state {
		case registry.Allowed:
			a.Allowed |= registry.PurposesOf(q.Purpose)
		case registry.Denied:
			a.Denied |= registry.PurposesOf(q.Purpose)
		}
	}
	return a
}

func answer(value string) (registry.Preference, bool) {
	state, ok := registry.ParsePreference(value)
	return state, ok && state != registry.Unknown
}

// saved says what became of a posted form.
type saved uint8

const (
	savedAll saved = iota
	savedStale
	savedNothing
	savedTooOften
)

// save stores what the form asks for, where it differs from what will be stored: one
// entry of the ledger for what is refused and one for what is allowed, with the
// text that was shown.
func (p *preferencePages) save(ctx context.Context, key pageKey, f form) (saved, error) {
	org, ok := p.registry.Snapshot().Org(key.org)
	if !ok {
		return 0, problem.New(404, "org_not_found", "There is no such organisation.")
	}
	proof := registry.Proof{Source: sourceOneClick, FormVersion: "rfc8058", Actor: registry.Actor{Kind: registry.ActorRecipient}}
	want := registry.Answers{Denied: registry.AllPurposes}
	if !f.oneClick() {
		text, ok := textIn(f("locale"), titleOf(org))
		if !ok || f("form") != preferenceForm {
			return savedStale, nil
		}
		proof.Source, proof.FormVersion, proof.Text, proof.Locale = sourcePage, preferenceForm, text.shown(), text.Locale
		want = f.choices()
	}
	if want == (registry.Answers{}) {
		return savedNothing, nil
	}
	subject := registry.OfRecipient(key.recipient)
	always := p.registry.Places() // asked before the state: what is read below may be about to be replaced
	state, err := p.registry.Preferences(ctx, key.org, subject)
	if err != nil {
		return 0, fmt.Errorf("read preferences: %w", err)
	}
	if always {
		state.Own = registry.Answers{}
	}
	var changes []registry.PreferenceChange
	for _, c := range []registry.PreferenceChange{
		{Subject: subject, Purposes: want.Denied &^ state.Own.Denied, State: registry.Denied},
		{Subject: subject, Purposes: want.Allowed &^ state.Own.Allowed, State: registry.Allowed},
	} {
		if c.Purposes != 0 {
			changes = append(changes, c)
		}
	}
	if len(changes) == 0 {
		return savedAll, nil // it holds already
	}
	if !p.mayChange(key) {
		return savedTooOften, nil
	}
	if err := p.registry.SetPreferences(ctx, key.org, changes, proof); err != nil {
		return 0, fmt.Errorf("save preferences: %w", err)
	}
	return savedAll, nil
}
