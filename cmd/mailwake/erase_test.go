package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailwake/ingest"
	"mailwake/retention"
)

// TestErase follows a person through a server: seen, exported, erased, verified.
func TestErase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, left := range []string{"tmp/org-1/duckdb_temp_storage_DEFAULT-0.tmp", "tmp/upload-1"} { // by a process that was killed
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, left)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, left), []byte("annabel@private.example"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := serve(t, dir, nil)
	p.createOrg("acme")
	var who ingest.Person
	p.api(http.MethodPut, "/v1/orgs/acme/people/contact/c-17", ingest.PersonFields{Name: "Annabel Quux", Addresses: []string{"annabel@private.example"}}, &who)
	var sent struct {
		Messages []struct {
			HTML string `json:"html"`
		} `json:"messages"`
	}
	p.api(http.MethodPost, "/v1/orgs/acme/emails", map[string]any{
		"from": "s@acme.example", "to": []map[string]string{{"address": "annabel@private.example"}, {"address": "bob@other.example"}},
		"subject": "Hello", "html": "<p>Hello</p>", "follow": "required",
	}, &sent)
	pixels := make([]string, len(sent.Messages))
	for i, m := range sent.Messages {
		from := strings.Index(m.HTML, p.at.Public+"/o/")
		pixels[i] = m.HTML[from : from+strings.IndexByte(m.HTML[from:], '"')]
		p.must(http.MethodGet, pixels[i], "Annabels-Agent/1.0")
	}
	p.api(http.MethodPost, "/v1/orgs/acme/flush", nil, new(map[string]any))
	rolled := func() { // makes rollups
		t.Helper()
		if _, said, err := p.cli("kpi", "email_summary", "--org", "acme"); err != nil {
			t.Fatal(err, said)
		}
	}
	rolled()
	held, said, err := p.cli("export", "--org", "acme", "--person", "contact/c-17")
	if err != nil {
		t.Fatal(err, said)
	}
	var export retention.PersonExport
	if err := json.Unmarshal([]byte(held), &export); err != nil {
		t.Fatal(err)
	}
	if export.Person == nil || export.Person.Name != "Annabel Quux" || len(export.Emails) != 1 || len(export.Interactions) != 2 ||
		export.Interactions[1].Kind != "open" && export.Interactions[0].Kind != "open" || len(export.Explained) < 10 || strings.Contains(held, "bob@") {
		t.Errorf("%s", held)
	}
	var audit ingest.Audit
	p.api(http.MethodGet, "/v1/orgs/acme/audit", nil, &audit)
	if len(audit.Reads) != 1 || audit.Reads[0].What != "export" || audit.Reads[0].PersonID != who.PersonID {
		t.Errorf("%+v", audit.Reads)
	}
	const theirs = "SELECT count(*) AS n FROM recipients WHERE address = 'annabel@private.example'"
	if n := p.count(theirs); n != 1 { // and a worker holds it
		t.Errorf("%d recipients", n)
	}
	receipt, said, err := p.cli("erase", "--org", "acme", "--person", "contact/c-17", "--format", "json")
	if err != nil || strings.Contains(receipt, "nnabel") {
		t.Fatal(err, said, receipt)
	}
	file := filepath.Join(t.TempDir(), "receipt.json")
	if err := os.WriteFile(file, []byte(receipt), 0o600); err != nil {
		t.Fatal(err)
	}
	rolled()
	p.must(http.MethodGet, pixels[0], "Annabels-Agent/1.0") // the image is answered, and nothing recorded
	p.must(http.MethodGet, pixels[1], "Bobs-Agent/1.0")
	var left ingest.Preferences // of the number, which is all that is left of the address
	p.api(http.MethodGet, "/v1/orgs/acme/preferences?kind=recipient&recipient_id=1", nil, &left)
	if len(left.Addresses) != 1 || left.Addresses[0].Address != "" || len(left.Addresses[0].Collected) != 0 || !slices.Contains(left.Addresses[0].Reasons, "recipient_erased") {
		t.Errorf("%+v", left)
	}
	verified, said, err := p.cli("erase", "--verify", file, "--text", "annabel@private.example")
	if err != nil || !strings.Contains(verified, "nothing is left") || strings.Contains(verified, " 0 rollups") {
		t.Error(err, said, verified)
	}
	if verified, _, err := p.cli("erase", "--verify", "1", "--org", "acme", "--text", "bob@other.example"); err == nil || !strings.Contains(verified, "left in file: registry.db") {
		t.Error("a text that is there is not found:", verified)
	}
	if n := p.count(theirs); n != 0 {
		t.Error("SQL still shows the address")
	}
	if n := p.count("SELECT count(*) AS n FROM interactions"); n != 1+2 {
		t.Errorf("%d interactions are left, want what bob did", n)
	}
	if page, _, err := p.cli("erase", "--org", "acme", "--list"); err != nil || !strings.Contains(page, "# Receipt of erasure 1") {
		t.Error(err, page)
	}
	for _, args := range [][]string{{"export", "--org", "acme", "--person", "contact/c-17"}, {"erase", "--org", "acme", "--person", "contact/c-17"}, {"erase", "--org", "acme"}} {
		if _, said, err := p.cli(args...); err == nil || !strings.Contains(said, "(person_not_found)") && !strings.Contains(said, "(whose_invalid)") {
			t.Error(args, err, said)
		}
	}
	if strings.Contains(strings.ToLower(p.log.String()), "annabel") {
		t.Error("the server's log names the person")
	}
}
