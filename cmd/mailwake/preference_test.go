package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailwake/ingest/token"
)

// A recipient refuses on the page that a followed mail's answer links to: the very
// next pixel and reply are not recorded, the next mail is blocked, also after a
// restart; and allows it again.
func TestPreferencePage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := serve(t, dir, nil)
	p.createOrg("acme")
	var sent struct {
		Messages []struct {
			HTML string
			Page string `json:"preference_url"`
		}
	}
	p.api(http.MethodPost, "/v1/orgs/acme/emails", followRequest{
		From: "sales@acme.example", Subject: "Hello", HTML: awkwardMail(), Follow: "required", To: []followRecipient{{Address: "bob@customer.example"}},
	}, &sent)
	base := p.at.Public
	pixel, page := trackedIn(sent.Messages[0].HTML, base).pixel, sent.Messages[0].Page
	ring, err := token.OpenRing(filepath.Join(dir, "token.keys"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	reply := func(id string) string {
		return p.deliver("Message-ID: <" + id + "@customer.example>\r\nFrom: bob@customer.example\r\nIn-Reply-To: " +
			ring.MessageID(token.Claims{Org: 1, Email: 1, Recipient: 1}, "t.example") + "\r\n\r\nYes.\r\n")
	}
	choose := func(all string) {
		t.Helper()
		resp, err := noRedirect.PostForm(strings.Replace(page, base, p.at.Public, 1), url.Values{"form": {"preference-page-2"}, "locale": {"fr"}, "all": {all}})
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusSeeOther {
			t.Fatalf("%d %s\n%s", resp.StatusCode, text, p.log)
		}
	}
	recorded := func() int {
		v, err := p.client().call(t.Context(), http.MethodPost, "/v1/orgs/acme/sql", url.Values{"format": {"json"}}, map[string]any{"sql": "select count(*) as n from interactions where kind in ('open', 'reply')"})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		var rows []struct{ N int }
		if err := json.NewDecoder(v).Decode(&rows); err != nil {
			t.Fatal(err)
		}
		return rows[0].N
	}
	if resp, body := p.must(http.MethodGet, page, outlook, "Accept-Language", "de"); resp.StatusCode != 200 || !strings.Contains(string(body), "Was acme erfassen darf") || !strings.Contains(string(body), "b…@customer.example") {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	p.must(http.MethodGet, pixel, outlook)
	if got := reply("1"); got != "recorded" || recorded() != 2 {
		t.Errorf("before: %s, %d recorded", got, recorded())
	}
	choose("denied")
	p.must(http.MethodGet, pixel, outlook)
	if got := reply("2"); got != "not_allowed" {
		t.Errorf("after the refusal a reply is %s", got)
	}
	p.kill()
	p = serve(t, dir, nil)
	p.must(http.MethodGet, strings.Replace(pixel, base, p.at.Public, 1), outlook)
	_, err = p.client().call(t.Context(), http.MethodPost, "/v1/orgs/acme/emails", nil, followRequest{
		From: "sales@acme.example", Subject: "Again", HTML: "<p>Hello</p>", Follow: "required", To: []followRecipient{{Address: "bob@customer.example"}},
	})
	if err == nil || !strings.Contains(err.Error(), "follow_blocked") {
		t.Errorf("the next mail: %v", err)
	}
	choose("allowed")
	if got := reply("2"); got != "recorded" {
		t.Errorf("after allowing it again a reply is %s", got)
	}
	if n := recorded(); n != 3 {
		t.Errorf("%d recorded, want 3: nothing of the time of the refusal", n)
	}
	p.stop()
}
