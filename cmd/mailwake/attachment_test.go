package main

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jhillyerd/enmime/v2"

	"mailwake/engine/blob/blobtest"
	"mailwake/engine/problem"
	"mailwake/ingest"
	"mailwake/ingest/follow"
)

func TestAttachmentsEndToEnd(t *testing.T) {
	t.Parallel()
	t.Run("folder", func(t *testing.T) {
		dir := t.TempDir()
		attachments(t, nil, "file://"+dir, func() []string {
			found, _ := filepath.Glob(filepath.Join(dir, "warehouse/acme/attachments/*"))
			return found
		})
	})
	t.Run("azure", func(t *testing.T) {
		az := blobtest.Azurite(t)
		env := []string{"AZURE_STORAGE_CONNECTION_STRING=" + az.ConnectionString}
		attachments(t, env, "azblob://"+az.Container()+"?account="+az.Account, nil)
	})
}

var fileLink = regexp.MustCompile(`href="([^"]*/a/[^"]*)"`)

func (p *process) upload(org, name, contentType string, followed string, content []byte) (a ingest.Attachment, err error) {
	q := url.Values{"name": {name}, "follow": {followed}}
	r, err := p.client().send(p.t.Context(), http.MethodPost, "/v1/orgs/"+org+"/attachments", q, contentType, bytes.NewReader(content))
	if err != nil {
		return a, err
	}
	defer r.Close()
	return a, json.NewDecoder(r).Decode(&a)
}

// attachments sends a file to two people, who look at it while the organisation is
// enabled, disabled, and enabled again; blobs lists what is stored, if it can.
func attachments(t *testing.T, env []string, storage string, blobs func() []string) {
	dir := t.TempDir()
	p := serve(t, dir, env, "--storage", storage)
	p.createOrg("acme")
	p.createOrg("beta")
	content := make([]byte, 3<<20)
	rand.NewChaCha8([32]byte{7}).Read(content)
	file, err := p.upload("acme", "Angebot März.pdf", "application/pdf", "true", content)
	if err != nil || file.ID != 1 || file.Size != int64(len(content)) {
		t.Fatalf("%+v, %v", file, err)
	}
	spare, err := p.upload("acme", "spare.txt", "text/plain", "false", []byte("spare"))
	if err != nil {
		t.Fatal(err)
	}
	if blobs != nil && len(blobs()) != 2 {
		t.Errorf("stored %q", blobs())
	}
	p.mustNot("attachment_not_found", http.MethodGet, "/v1/orgs/beta/attachments/1")
	p.mustNot("attachment_not_found", http.MethodDelete, "/v1/orgs/beta/attachments/1")
	p.do(http.MethodDelete, "/v1/orgs/acme/attachments/2", nil)
	p.mustNot("attachment_not_found", http.MethodGet, "/v1/orgs/acme/attachments/2")
	if blobs != nil && len(blobs()) != 1 {
		t.Errorf("after the removal of %d: stored %q", spare.ID, blobs())
	}

	req := followRequest{From: "sales@acme.example", Subject: "Quote", HTML: "<p>Hello</p>", Follow: "required", Attachments: []follow.FileRef{{ID: file.ID}},
		To: []followRecipient{{Address: "jo@customer.example"}, {Address: "kim@customer.example"}}}
	var sent followResponse
	p.api(http.MethodPost, "/v1/orgs/acme/emails", req, &sent)
	link := fileLink.FindStringSubmatch(sent.Messages[1].HTML)
	if link == nil {
		t.Fatalf("no link in %s", sent.Messages[1].HTML)
	}
	views := func(want int) {
		t.Helper()
		if n := p.count("select count(*) from interactions where kind = 'attachment_view' and component = 1 and recipient_id = 2"); n != want {
			t.Errorf("%d views, want %d", n, want)
		}
	}
	p.mustGet(link[1], "", 200, content)
	views(1)
	p.mustGet(link[1], "bytes=1000000-", 206, content[1000000:])
	p.mustGet(link[1], "bytes=-10", 206, content[len(content)-10:])
	p.mustGet(link[1], "bytes=99999999-", 416, nil)
	views(1)
	p.mustNot("attachment_sent", http.MethodDelete, "/v1/orgs/acme/attachments/1")

	p.do(http.MethodPost, "/v1/orgs/acme:disable", nil)
	p.mustGet(link[1], "", 200, content)
	if _, err := p.upload("acme", "x", "text/plain", "true", []byte("x")); problem.Of(err).Code != "feature_disabled" {
		t.Errorf("upload while disabled: %v", err)
	}
	p.do(http.MethodPost, "/v1/orgs/acme:enable", nil)
	views(1)
	p.mustGet(link[1], "", 200, content)
	views(2)
	var stored ingest.EmailDetail
	p.api(http.MethodGet, "/v1/orgs/acme/emails/1", nil, &stored)
	if len(stored.Attachments) != 1 || !stored.Attachments[0].Followed || !stored.Attachments[0].Sent || stored.Attachments[0].Name != "Angebot März.pdf" {
		t.Errorf("%+v", stored.Attachments)
	}
	mailByCommand(t, p, env)
	p.stop()
}

// mailByCommand follows a whole mail with files through the command line.
func mailByCommand(t *testing.T, p *process, env []string) {
	dir := t.TempDir()
	path := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	eml := path("mail.eml", "From: ann@acme.example\r\nTo: Jo <jo@customer.example>, Lee <lee@customer.example>\r\nSubject: Hello\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"+
		"<p><a href=\"https://shop.example/\">shop</a></p>\r\n")
	quote, terms := path("quote.txt", "the quote"), path("terms.txt", "the terms")
	args := []string{"follow", "--data", p.dir, "--org", "acme", "--eml", eml, "--attach", quote, "--attach-direct", terms}
	out, err := binary(t.Context(), env, append(args, "--out", filepath.Join(dir, "out"))...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "follow state on, 2 messages") {
		t.Fatalf("%v\n%s", err, out)
	}
	written, _ := filepath.Glob(filepath.Join(dir, "out", "*.eml"))
	for _, name := range written {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		m, err := enmime.ReadEnvelope(bytes.NewReader(text))
		if err != nil || len(m.Attachments) != 1 || string(m.Attachments[0].Content) != "the terms" || !strings.Contains(m.HTML, p.at.Public+"/c/") {
			t.Errorf("%s: %v\n%s", name, err, text)
			continue
		}
		link := fileLink.FindStringSubmatch(m.HTML)
		p.mustGet(link[1], "", 200, []byte("the quote"))
	}
	if len(written) != 2 {
		t.Errorf("written %q", written)
	}
	p.do(http.MethodPost, "/v1/orgs/acme/preferences", map[string]any{
		"changes": []any{map[string]any{"address": "lee@customer.example", "follow": "denied"}}, "proof": map[string]any{"source": "test"},
	})
	blocked := binary(t.Context(), env, args...)
	out, err = blocked.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "blocked by lee@customer.example: [recipient_denied]") || !strings.Contains(string(out), "follow_blocked") {
		t.Errorf("%v\n%s", err, out)
	}
	var seen ingest.EmailDetail // View Preferences
	p.api(http.MethodGet, "/v1/orgs/acme/emails/3", nil, &seen)
	if seen.FollowState != "blocked" || !seen.Wished || seen.Followed || seen.SentAt != nil || len(seen.Blockers) != 1 || seen.Blockers[0].Address != "lee@customer.example" {
		t.Errorf("%+v", seen)
	}
	var left []ingest.Attachment
	p.api(http.MethodGet, "/v1/orgs/acme/attachments", nil, &left)
	if len(left) != 3 {
		t.Errorf("%d attachments, want the 3 that were sent", len(left))
	}
	for _, wrong := range [][]string{{"follow"}, {"follow", "--eml", eml, "--from", "a@b.example"}, {"follow", quote}, {"follow", "--eml", eml, quote}} {
		cmd := binary(t.Context(), env, wrong...)
		if out, err := cmd.CombinedOutput(); err == nil || cmd.ProcessState.ExitCode() != exitUsage {
			t.Errorf("%q: %v\n%s", wrong, err, out)
		}
	}
}

// do calls the private plane and drops the answer.
func (p *process) do(method, path string, body any) {
	p.t.Helper()
	r, err := p.client().call(p.t.Context(), method, path, nil, body)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	r.Close()
}

// mustNot expects a problem.
func (p *process) mustNot(code, method, path string) {
	p.t.Helper()
	if err := p.client().get(p.t.Context(), method, path, nil, nil, nil); problem.Of(err).Code != code {
		p.t.Errorf("%s %s: %v, want %s", method, path, err, code)
	}
}

// mustGet downloads a file or a range of it.
func (p *process) mustGet(address, rng string, status int, want []byte) {
	p.t.Helper()
	var headers []string
	if rng != "" {
		headers = []string{"Range", rng}
	}
	resp, body := p.must(http.MethodGet, address, thunder, headers...)
	if resp.StatusCode != status || !bytes.Equal(body, want) {
		p.t.Errorf("%s: %d, %d bytes; want %d, %d bytes", rng, resp.StatusCode, len(body), status, len(want))
	}
}
