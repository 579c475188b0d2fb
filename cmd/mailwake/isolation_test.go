package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mailwake/engine/registry"
	"mailwake/ingest"
)

var allRoles = []registry.Role{
	registry.RoleAdmin, registry.RoleSender, registry.RoleIngest, registry.RoleAnalyst, registry.RoleAggregateAnalyst,
}

// world is a server with two organisations, of which acme has something to hide,
// and a key of every role for each and for both.
type world struct {
	*process
	keys    map[string]map[registry.Role]string // by organisation, "" for all
	revoked string
	secrets []string
	params  map[string][]string // what exists in acme, by the name of the parameter
}

func newWorld(t *testing.T) *world {
	w := &world{
		process: serve(t, t.TempDir(), nil), keys: map[string]map[registry.Role]string{},
		secrets: []string{"hidden.person@customer.example", "Hidden Person", "Hidden Subject", "hidden-contact", "hidden-file"},
	}
	for _, org := range []string{"acme", "other"} {
		w.createOrg(org)
	}
	for _, org := range []string{"acme", "other", ""} {
		w.keys[org] = map[registry.Role]string{}
		for _, role := range allRoles {
			w.keys[org][role] = w.newKey(org, role).Secret
		}
	}
	gone := w.newKey("acme", registry.RoleAdmin)
	w.revoke(gone.ID)
	w.revoked = gone.Secret
	w.api(http.MethodPut, "/v1/orgs/acme/people/contact/hidden-contact",
		ingest.PersonFields{Name: "Hidden Person", Addresses: []string{"hidden.person@customer.example"}}, new(any))
	w.api(http.MethodPost, "/v1/orgs/acme/emails", followRequest{
		From: "sales@acme.example", Subject: "Hidden Subject", HTML: "<p>hi</p>", Follow: "required",
		To: []followRecipient{{Address: "hidden.person@customer.example", Name: "Hidden Person"}},
	}, new(any))
	attachment, err := w.client().send(t.Context(), http.MethodPost, "/v1/orgs/acme/attachments",
		map[string][]string{"name": {"hidden-file.txt"}}, "text/plain", strings.NewReader("hidden-file"))
	if err != nil {
		t.Fatal(err)
	}
	attachment.Close()
	spare := w.newKey("acme", registry.RoleSender)
	w.params = map[string][]string{
		"org": {"acme"}, "email": {"1"}, "kind": {"contact"}, "external_id": {"hidden-contact"}, "key": {fmt.Sprint(spare.ID)},
		"to": {}, "name": {"email_summary"}, "attachment": {"1"}, "erasure": {"1"}, "recipient_id": {"1"}, "format": {"json"},
		"address": {"hidden.person@customer.example", "jo@customer.example"}, "from": {"sales@acme.example"}, "html": {"<p>hi <a href=\"https://e.example/\">e</a></p>"},
	}
	return w
}

func (p *process) newKey(org string, role registry.Role) ingest.CreatedKey {
	p.t.Helper()
	var key ingest.CreatedKey
	p.api(http.MethodPost, "/v1/keys", ingest.NewKey{Role: string(role), Org: org, AllOrgs: org == ""}, &key)
	return key
}

func (p *process) revoke(id int64) {
	p.t.Helper()
	r, err := p.client().call(p.t.Context(), http.MethodDelete, fmt.Sprint("/v1/keys/", id), nil, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Close()
}

// call sends what fits the operation, at the organisation org, and returns the
// answer whole.
func (w *world) call(t *testing.T, r route, org, key string) (status int, code, body string) {
	t.Helper()
	for _, p := range r.Parameters {
		if p.In == "path" && len(w.params[p.Name]) == 0 {
			t.Fatalf("%s has a parameter {%s}: teach newWorld a value of it that exists in acme", r.OperationID, p.Name)
		}
	}
	params := map[string][]string{}
	for name, values := range w.params {
		params[name] = values
	}
	params["org"] = []string{org}
	s := &sampler{Rand: rand.New(rand.NewPCG(1, 1)), params: params, plain: true}
	req, err := s.request(r, w.at.Private)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := noRedirect.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var p problemBody
	if resp.StatusCode >= 400 {
		_ = json.Unmarshal(text, &p)
	}
	return resp.StatusCode, p.Code, string(text)
}

// TestIsolation calls every operation of the document with every key that must not
// do: the answer is the refusal that it must be, never data. Then with every key
// that may: it is not refused. An operation that is added is called too.
func TestIsolation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	refused := func(r route, who, org, key string, status int, codes ...string) {
		t.Helper()
		got, code, body := w.call(t, r, org, key)
		if got != status || !slices.Contains(codes, code) {
			t.Errorf("%s of %s by %s: %d %s, want %d %s", r.OperationID, org, who, got, code, status, codes)
		}
		for _, secret := range w.secrets {
			if strings.Contains(body, secret) {
				t.Errorf("%s of %s by %s shows %q", r.OperationID, org, who, secret)
			}
		}
	}
	for _, r := range routes() {
		inOrg := strings.Contains(r.Path, "{org}")
		refused(r, "nobody", "acme", "", 401, "unauthenticated")
		refused(r, "a malformed key", "acme", "mw_x", 401, "unauthenticated")
		refused(r, "an unknown key", "acme", "mw_"+strings.Repeat("A", len(w.revoked)-3), 401, "unauthenticated")
		refused(r, "a revoked key", "acme", w.revoked, 401, "unauthenticated")
		roles, _ := r.Extensions["x-roles"].([]registry.Role)
		for _, role := range allRoles {
			may := slices.ContainsFunc(roles, func(to registry.Role) bool { return registry.Principal{Role: role, AllOrgs: true}.May(to, 0) })
			refused(r, "other's "+string(role), "acme", w.keys["other"][role], 403, "forbidden")
			if inOrg {
				refused(r, "acme's "+string(role), "nowhere", w.keys["acme"][role], 403, "forbidden")
			} else {
				refused(r, "acme's "+string(role), "", w.keys["acme"][role], 403, "forbidden")
			}
			switch {
			case !may:
				refused(r, "acme's "+string(role), "acme", w.keys["acme"][role], 403, "forbidden")
				refused(r, "everyone's "+string(role), "acme", w.keys[""][role], 403, "forbidden")
			case inOrg:
				refused(r, "everyone's "+string(role), "nowhere", w.keys[""][role], 404, "org_not_found")
				// What acme has is not found in other, by whatever id.
				if _, _, body := w.call(t, r, "other", w.keys["other"][role]); slices.ContainsFunc(w.secrets, func(s string) bool { return strings.Contains(body, s) }) &&
					r.Method == http.MethodGet {
					t.Errorf("%s of other shows acme's data: %.300s", r.OperationID, body)
				}
			}
		}
	}
	for _, r := range routes() {
		roles, _ := r.Extensions["x-roles"].([]registry.Role)
		for _, role := range append(slices.Clone(roles), registry.RoleAdmin) {
			org := "acme"
			if !strings.Contains(r.Path, "{org}") {
				org = ""
			}
			if status, code, _ := w.call(t, r, org, w.keys[org][role]); status == 401 || code == "forbidden" || status >= 500 || code == "org_not_found" {
				t.Errorf("%s by a key that may: %d %s", r.OperationID, status, code)
			}
		}
	}
}

// TestReadsAreNoted calls every operation as an administrator: whatever shows a
// person's address or name has written into the access log that it did.
func TestReadsAreNoted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	newest := func() int64 {
		var audit ingest.Audit
		w.api(http.MethodGet, "/v1/orgs/acme/audit?limit=1", nil, &audit)
		if len(audit.Reads) == 0 {
			return 0
		}
		return audit.Reads[0].ID
	}
	showing := 0
	for _, r := range routes() {
		if r.Method == http.MethodPut || strings.Contains(r.Path, "}:") || r.OperationID == "follow-email" {
			continue // what these show, the caller has said
		}
		before := newest()
		status, _, body := w.call(t, r, "acme", w.keys["acme"][registry.RoleAdmin])
		shows := slices.ContainsFunc(w.secrets[:2], func(s string) bool { return strings.Contains(body, s) })
		if shows {
			showing++
			if newest() == before {
				t.Errorf("%s shows a person and does not note it: %d %.200s", r.OperationID, status, body)
			}
		}
	}
	if showing < 4 {
		t.Errorf("only %d operations show a person", showing)
	}
}

// TestKeys walks a key through its life by command line.
func TestKeys(t *testing.T) {
	t.Parallel()
	p := serve(t, t.TempDir(), nil)
	p.createOrg("acme")
	secret, said, err := p.cli("key", "create", "--org", "acme", "--role", "sender", "--name", "mailer")
	if err != nil || !strings.HasPrefix(secret, "mw_") || strings.Contains(said, secret) || !strings.Contains(said, "key 2, sender, for acme") {
		t.Fatalf("%v\n%s%s", err, secret, said)
	}
	if listed, _, err := p.cli("key", "list"); err != nil || !regexp.MustCompile(`(?m)^2\s+sender\s+acme\s+valid\s+\S+ \S+\s+-\s+mailer$`).MatchString(listed) {
		t.Errorf("%v\n%s", err, listed)
	}
	mailer := &client{base: p.at.Private, key: strings.TrimSpace(secret)}
	if err := mailer.get(t.Context(), http.MethodGet, "/v1/orgs/acme/emails", nil, nil, new(any)); err != nil {
		t.Error(err)
	}
	var keys []ingest.Key
	if p.api(http.MethodGet, "/v1/keys", nil, &keys); len(keys) != 2 || keys[1].LastUsed == nil || keys[1].RevokedAt != nil {
		t.Errorf("%+v", keys)
	}
	if _, said, err := p.cli("key", "revoke", "2"); err != nil {
		t.Error(err, said)
	}
	if status, code := told(mailer.get(t.Context(), http.MethodGet, "/v1/orgs/acme/emails", nil, nil, new(any))); status != 401 || code != "unauthenticated" {
		t.Errorf("a revoked key: %d %s", status, code)
	}
	for args, want := range map[string]string{
		"key revoke 1":                         "key_last_admin",
		"key revoke 77":                        "key_not_found",
		"key create --role admin --org nobody": "org_not_found",
		"key create --role root":               "must be one of",
	} {
		if _, said, err := p.cli(strings.Fields(args)...); err == nil || !strings.Contains(said, want) {
			t.Errorf("%s: %v %s, want %s", args, err, said, want)
		}
	}
	if strings.Contains(p.log.String(), strings.TrimSpace(secret)) {
		t.Error("the key is in the log")
	}
}
