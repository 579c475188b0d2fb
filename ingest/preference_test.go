package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/registry"
	"mailwake/ingest/token"
)

// office is a public plane over a real registry.
type office struct {
	*world
	reg    *registry.Registry
	client *http.Client
}

func openOffice(t *testing.T) *office {
	t.Helper()
	o := &office{reg: newRegistry(t)}
	o.world = open(t, func(opts *PublicOptions) { opts.Consent, opts.Preferences = o.reg, o.reg })
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return o.dial() }, DisableKeepAlives: true}
	o.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return o
}

func (o *office) page(org event.OrgID, recipient event.RecipientID) string {
	return o.ring.PreferenceURL("http://t.example", org, recipient)
}

// visit sends a request; pairs are headers.
func (o *office) visit(method, address string, body io.Reader, pairs ...string) (*http.Response, string) {
	o.t.Helper()
	req, err := http.NewRequest(method, address, body)
	if err != nil {
		o.t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		req.Header.Set(pairs[i], pairs[i+1])
	}
	resp, err := o.client.Do(req)
	if err != nil {
		o.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	return resp, string(text)
}

// submit posts the form with these pairs of fields.
func (o *office) submit(address string, fields ...string) (*http.Response, string) {
	o.t.Helper()
	values := url.Values{"form": {preferenceForm}, "locale": {"en"}}
	for i := 0; i < len(fields); i += 2 {
		values.Set(fields[i], fields[i+1])
	}
	return o.visit("POST", address, strings.NewReader(values.Encode()), "Content-Type", "application/x-www-form-urlencoded", "Origin", "null", "Sec-Fetch-Site", "same-origin")
}

func (o *office) own(org event.OrgID, recipient event.RecipientID) registry.Answers {
	o.t.Helper()
	state, err := o.reg.Preferences(o.t.Context(), org, registry.OfRecipient(recipient))
	if err != nil {
		o.t.Fatal(err)
	}
	return state.Own
}

func (o *office) ledger(org event.OrgID) (entries []registry.LedgerEntry) {
	o.t.Helper()
	for e, err := range o.reg.Ledger(o.t.Context(), org, 0) {
		if err != nil {
			o.t.Fatal(err)
		}
		entries = append(entries, e)
	}
	if n, err := o.reg.VerifyLedger(o.t.Context(), org); err != nil || n != int64(len(entries)) {
		o.t.Errorf("ledger of %d entries: %d, %v", len(entries), n, err)
	}
	return entries
}

const all = registry.AllPurposes

func TestPreferenceForm(t *testing.T) {
	some := registry.PurposesOf(registry.PurposeOpen, registry.PurposeReply)
	for _, tc := range []struct {
		name   string
		fields []string
		want   registry.Answers
		status int
	}{
		{"deny all", []string{"all", "denied"}, registry.Answers{Denied: all}, 303},
		{"allow all", []string{"all", "allowed"}, registry.Answers{Allowed: all}, 303},
		{"all wins over single ones", []string{"open", "allowed", "all", "denied"}, registry.Answers{Denied: all}, 303},
		{"some", []string{"open", "denied", "click", "allowed", "reply", "denied"}, registry.Answers{Denied: some, Allowed: registry.PurposesOf(registry.PurposeClick)}, 303},
		{"nothing", nil, registry.Answers{}, 422},
		{"no answers", []string{"open", "yes", "click", "unknown", "reply", "", "all", "1"}, registry.Answers{}, 422},
		{"unknown question", []string{"sent", "denied"}, registry.Answers{}, 422},
		{"older form", []string{"all", "denied", "form", "preference-page-0"}, registry.Answers{}, 409},
		{"no form", []string{"all", "denied", "form", ""}, registry.Answers{}, 409},
		{"language it has not", []string{"all", "denied", "locale", "pt"}, registry.Answers{}, 409},
	} {
		o := openOffice(t)
		resp, body := o.submit(o.page(1, 1), tc.fields...)
		if resp.StatusCode != tc.status || o.own(1, 1) != tc.want {
			t.Errorf("%s: %d, %+v; want %d, %+v", tc.name, resp.StatusCode, o.own(1, 1), tc.status, tc.want)
		}
		if tc.status != 303 {
			if !strings.Contains(body, `role="status"`) || len(o.ledger(1)) != 0 {
				t.Errorf("%s: no notice, or %d ledger entries", tc.name, len(o.ledger(1)))
			}
			continue
		}
		if got := resp.Header.Get("Location"); got != "?saved=1" {
			t.Errorf("%s: to %q", tc.name, got)
		}
		if resp, body := o.visit("GET", o.page(1, 1)+resp.Header.Get("Location"), nil); resp.StatusCode != 200 || !strings.Contains(body, pageTexts[0].Saved) {
			t.Errorf("%s: then %d", tc.name, resp.StatusCode)
		}
	}
}

// What is proven is what was shown, and what does not change anything adds nothing.
func TestPreferenceLedger(t *testing.T) {
	o := openOffice(t)
	o.submit(o.page(1, 2), "open", "denied", "click", "allowed", "locale", "de")
	entries := o.ledger(1)
	text, _ := textIn("de", "Ltd of acme")
	if len(entries) != 2 {
		t.Fatalf("%d entries", len(entries))
	}
	for i, want := range []struct {
		purposes registry.Purposes
		state    registry.Preference
	}{{registry.PurposesOf(registry.PurposeOpen), registry.Denied}, {registry.PurposesOf(registry.PurposeClick), registry.Allowed}} {
		e := entries[i]
		if e.Subject != registry.OfRecipient(2) || e.Purposes != want.purposes || e.State != want.state || e.Source != "preference_page" ||
			e.FormVersion != preferenceForm || e.Locale != "de" || e.Text != text.shown() || e.Actor != (registry.Actor{Kind: registry.ActorRecipient}) || e.Evidence != "" {
			t.Errorf("entry %d: %+v", i, e)
		}
	}
	o.submit(o.page(1, 2), "open", "denied", "click", "allowed", "locale", "de")
	if n := len(o.ledger(1)); n != 2 {
		t.Errorf("%d entries after the same again", n)
	}
	o.submit(o.page(1, 2), "open", "denied", "click", "denied")
	if entries := o.ledger(1); len(entries) != 3 || entries[2].Purposes != registry.PurposesOf(registry.PurposeClick) || entries[2].Previous.For(registry.PurposeClick) != registry.Allowed {
		t.Errorf("%+v", entries)
	}
}

// While a set of changes is on its way, what holds already is stored again: the set
// may be about to replace it.
func TestPreferenceBesideImport(t *testing.T) {
	o := openOffice(t)
	refuse := func() {
		o.visit("POST", o.page(1, 2), strings.NewReader("List-Unsubscribe=One-Click"), "Content-Type", "application/x-www-form-urlencoded")
	}
	refuse()
	place, err := o.reg.TakePlace(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	refuse()
	older := []registry.PreferenceChange{{Subject: registry.OfRecipient(2), Purposes: registry.AllPurposes, State: registry.Allowed}}
	if err := place.SetPreferences(t.Context(), older, registry.Proof{Source: "import", Actor: registry.BySystem()}); err != nil {
		t.Fatal(err)
	}
	place.Leave()
	if got := o.own(1, 2); got.Denied != registry.AllPurposes {
		t.Errorf("an older permission has replaced the refusal: %+v", got)
	}
	refuse()
	if n := len(o.ledger(1)); n != 4 {
		t.Errorf("%d entries", n)
	}
}

func TestPreferenceOneClick(t *testing.T) {
	var multi bytes.Buffer
	w := multipart.NewWriter(&multi)
	if err := w.WriteField("List-Unsubscribe", "One-Click"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	for name, tc := range map[string]struct{ contentType, body string }{
		"urlencoded": {"application/x-www-form-urlencoded", "List-Unsubscribe=One-Click"},
		"multipart":  {w.FormDataContentType(), multi.String()},
	} {
		o := openOffice(t)
		resp, body := o.visit("POST", o.page(1, 1), strings.NewReader(tc.body), "Content-Type", tc.contentType)
		if resp.StatusCode != 200 || !strings.Contains(body, pageTexts[0].Saved) || o.own(1, 1) != (registry.Answers{Denied: all}) {
			t.Errorf("%s: %d %s %+v", name, resp.StatusCode, body, o.own(1, 1))
		}
		if e := o.ledger(1); len(e) != 1 || e[0].Source != "one_click" || e[0].FormVersion != "rfc8058" || e[0].Text != "" {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// A refusal counts for the very next request, and so does taking it back.
func TestPreferenceCountsAtOnce(t *testing.T) {
	o := openOffice(t)
	claims := token.Claims{Org: 1, Email: 1, Recipient: 1}
	link := token.Claims{Org: 1, Email: 1, Recipient: 1, Component: 1, Target: "https://example.com/"}
	both := func() (n int) {
		o.ask("GET", "/o/"+o.token(token.KindOpen, claims)+".gif", agentHeader)
		o.ask("GET", "/c/"+o.token(token.KindClick, link), agentHeader)
		return len(o.engine.taken())
	}
	for i, step := range []struct {
		fields []string
		want   int
	}{{nil, 2}, {[]string{"all", "denied"}, 0}, {[]string{"open", "allowed"}, 1}, {[]string{"all", "allowed"}, 2}, {[]string{"click", "denied"}, 1}} {
		if step.fields != nil {
			o.submit(o.page(1, 1), step.fields...)
		}
		if n := both(); n != step.want {
			t.Errorf("step %d, %v: %d recorded, want %d", i, step.fields, n, step.want)
		}
	}
}

// A page of one organisation, or of one recipient, changes no other.
func TestPreferenceIsolation(t *testing.T) {
	o := openOffice(t)
	o.submit(o.page(2, 1), "all", "denied")
	for _, other := range []struct {
		org       event.OrgID
		recipient event.RecipientID
	}{{1, 1}, {1, 2}, {2, 2}} {
		if own := o.own(other.org, other.recipient); own != (registry.Answers{}) {
			t.Errorf("organisation %d, recipient %d: %+v", other.org, other.recipient, own)
		}
	}
	_, mine := o.visit("GET", o.page(1, 1), nil)
	_, theirs := o.visit("GET", o.page(2, 1), nil)
	if !strings.Contains(mine, "Ltd of acme") || strings.Contains(mine, "Ltd of other") || !strings.Contains(theirs, "Ltd of other") {
		t.Error("a page shows another organisation")
	}
	good := o.page(1, 1)
	flipped := []byte(good)
	flipped[len(flipped)-5] ^= 1
	base := "http://t.example/p/"
	for name, address := range map[string]string{
		"tampered": string(flipped), "cut": good[:len(good)-1], "longer": good + "A", "empty": base, "other text": base + "x",
		"a pixel's token":        base + o.token(token.KindOpen, token.Claims{Org: 1, Email: 1, Recipient: 1}),
		"a reply's token":        base + o.token(token.KindReply, token.Claims{Org: 1, Email: 1, Recipient: 1}),
		"no such organisation":   o.page(9, 1),
		"no such recipient":      o.page(1, 9),
		"another process's keys": base + strings.Repeat("A", 60),
	} {
		for _, method := range []string{"GET", "POST"} {
			resp, body := o.visit(method, address, strings.NewReader("form="+preferenceForm+"&locale=en&all=denied"), "Content-Type", "application/x-www-form-urlencoded")
			if resp.StatusCode != 404 || !strings.Contains(body, pageTexts[0].NotFound) || strings.Contains(body, "acme") {
				t.Errorf("%s, %s: %d %s", name, method, resp.StatusCode, body)
			}
		}
	}
	if n := len(o.ledger(1)); n != 0 {
		t.Errorf("%d entries", n)
	}
}

// Nothing but a post of the page's own changes anything.
func TestPreferenceMethods(t *testing.T) {
	o := openOffice(t)
	address := o.page(1, 1)
	body := "form=" + preferenceForm + "&locale=en&all=denied"
	for _, tc := range []struct {
		method, query, site string
		status              int
	}{
		{"GET", "?" + body, "", 200}, {"GET", "?List-Unsubscribe=One-Click", "", 200}, {"HEAD", "?" + body, "", 200}, {"PUT", "", "", 405}, {"DELETE", "", "", 405}, {"PATCH", "", "", 405},
		{"POST", "", "cross-site", 403}, {"POST", "", "same-site", 403}, {"POST", "?" + body + "x", "nonsense", 403},
	} {
		resp, _ := o.visit(tc.method, address+tc.query, strings.NewReader(body), "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", tc.site)
		if resp.StatusCode != tc.status {
			t.Errorf("%s %s: %d, want %d", tc.method, tc.site, resp.StatusCode, tc.status)
		}
	}
	// The query of a post is no form.
	if resp, _ := o.visit("POST", address+"?"+body, nil); resp.StatusCode != 409 {
		t.Errorf("a post with a query: %d", resp.StatusCode)
	}
	if resp, _ := o.visit("POST", "http://t.example/o/x.gif", nil); resp.StatusCode != 405 {
		t.Errorf("a post to a pixel: %d", resp.StatusCode)
	}
	large, err := o.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer large.Close()
	if _, err := io.WriteString(large, "POST "+strings.TrimPrefix(address, "http://t.example")+" HTTP/1.1\r\nHost: t\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat(body+"&", 40)); err != nil {
		t.Fatal(err)
	}
	if answer, _ := io.ReadAll(large); !strings.HasPrefix(string(answer), "HTTP/1.1 4") {
		t.Errorf("a large form: %.60q", answer)
	}
	if own := o.own(1, 1); own != (registry.Answers{}) || len(o.ledger(1)) != 0 {
		t.Errorf("changed to %+v", own)
	}
}

func TestPreferenceLimits(t *testing.T) {
	o := openOffice(t)
	now := noon
	o.public.pages.clock = func() time.Time { return now }
	toggle := func(i int) int {
		resp, _ := o.submit(o.page(1, 1), "all", []string{"denied", "allowed"}[i%2])
		return resp.StatusCode
	}
	for i := range changesPerSpan {
		if status := toggle(i); status != 303 {
			t.Fatalf("change %d: %d", i, status)
		}
	}
	if status := toggle(changesPerSpan); status != 429 || len(o.ledger(1)) != changesPerSpan {
		t.Errorf("one more: %d, %d entries", status, len(o.ledger(1)))
	}
	if resp, _ := o.submit(o.page(1, 2), "all", "denied"); resp.StatusCode != 303 {
		t.Errorf("another recipient: %d", resp.StatusCode)
	}
	now = now.Add(changeSpan)
	if status := toggle(changesPerSpan); status != 303 {
		t.Errorf("later: %d", status)
	}
}

// The page of a disabled organisation answers and takes choices.
func TestPreferenceWhileDisabled(t *testing.T) {
	o := openOffice(t)
	o.submit(o.page(1, 1), "all", "allowed")
	if _, body := o.visit("GET", o.page(1, 1), nil); strings.Count(body, pageTexts[0].Recorded) != 4 {
		t.Error("enabled and allowed: not shown as recorded")
	}
	for denied, action := range []registry.OrgAction{registry.OrgDisable, registry.OrgTerminate} {
		if _, err := o.reg.ChangeOrg(t.Context(), 1, action, registry.BySystem()); err != nil {
			t.Fatal(err)
		}
		if _, body := o.visit("GET", o.page(1, 1), nil); strings.Contains(body, pageTexts[0].Recorded) || strings.Count(body, " or Ltd of acme records nothing.") != 4-denied {
			t.Errorf("%s: shown as recorded\n%s", action, body)
		}
		if resp, _ := o.submit(o.page(1, 1), "open", "denied"); resp.StatusCode != 303 {
			t.Errorf("%s: %d", action, resp.StatusCode)
		}
	}
	if own := o.own(1, 1); own.For(registry.PurposeOpen) != registry.Denied || own.For(registry.PurposeClick) != registry.Allowed {
		t.Errorf("%+v", own)
	}
}

func TestPreferenceHeaders(t *testing.T) {
	o := openOffice(t)
	resp, body := o.visit("GET", o.page(1, 1), nil)
	style, _, _ := strings.Cut(body[strings.Index(body, "<style>")+len("<style>"):], "</style>")
	sum := sha256.Sum256([]byte(style))
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
		"Cache-Control":           "no-store, no-cache, must-revalidate, private, max-age=0", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
		"X-Frame-Options": "DENY", "X-Robots-Tag": "noindex, nofollow", "Content-Type": "text/html; charset=utf-8", "Set-Cookie": "", "Etag": "",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	bad, _ := o.visit("GET", o.page(9, 9), nil)
	for _, name := range []string{"Content-Security-Policy", "Referrer-Policy", "Cache-Control"} {
		if bad.Header.Get(name) != resp.Header.Get(name) {
			t.Errorf("a bad link has %s %q", name, bad.Header.Get(name))
		}
	}
	if i := slices.IndexFunc([]string{"<script", "src=", "href=", "http:", "https:", "url(", "@import", "style=", "onclick"}, func(s string) bool { return strings.Contains(body, s) }); i >= 0 {
		t.Errorf("the page reaches out:\n%s", body)
	}
}
