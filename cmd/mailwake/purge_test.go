package main

import (
	"bytes"
	"database/sql"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailwake/engine/problem"
	"mailwake/retention"
)

// TestPurge follows an organisation through servers to its end: planned, all there
// on the last day, gone on the day after, with a certificate, and nobody else's data.
func TestPurge(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := serve(t, dir, nil)
	for _, org := range []string{"acme", "gone-gmbh"} {
		p.createOrg(org)
		var sent followResponse
		p.api(http.MethodPost, "/v1/orgs/"+org+"/emails", followRequest{
			From: "sales@" + org + ".example", Subject: "For " + org, HTML: "<p>Hello</p>", Follow: "required", To: []followRecipient{{Address: "annabel@" + org + ".example"}},
		}, &sent)
		at := strings.Index(sent.Messages[0].HTML, p.at.Public+"/o/")
		p.must(http.MethodGet, sent.Messages[0].HTML[at:at+strings.IndexByte(sent.Messages[0].HTML[at:], '"')], "Agent-of-"+org+"/1.0")
		p.api(http.MethodPost, "/v1/orgs/"+org+"/flush", nil, new(map[string]any))
		if _, said, err := p.cli("kpi", "email_summary", "--org", org); err != nil { // makes rollups
			t.Fatal(err, said)
		}
	}
	plan := func() string {
		t.Helper()
		out, said, err := p.cli("retention", "plan", "--org", "gone-gmbh")
		if err != nil {
			t.Fatal(err, said)
		}
		return regexp.MustCompile(` +`).ReplaceAllString(out, " ")
	}
	if out := plan(); strings.Contains(out, "purge") {
		t.Error(out)
	}
	if out, said, err := p.cli("org", "terminate", "gone-gmbh"); err != nil {
		t.Fatal(err, out, said)
	}
	due := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, 90)
	planned := regexp.MustCompile(due.Format("2006-01-02 15:04") + ` purge terminated ([1-9]\d*) 2 [1-9]\d* delete the table`)
	if out := plan(); !planned.MatchString(out) {
		t.Errorf("planned for %v:\n%s", due, out)
	}

	p.stop()
	age(t, dir, 89)
	p = serve(t, dir, nil)
	var st retention.Status
	p.await("a round, which begins with purges, has come to the end of its tasks", func() bool {
		p.api(http.MethodGet, "/v1/orgs/gone-gmbh/retention", nil, &st)
		return st.Tasks[len(st.Tasks)-1].Last != nil
	})
	if found := everywhere(t, dir, "gone-gmbh"); st.Stored != 2 || len(found) < 4 {
		t.Errorf("on the last day: %+v, found in %q", st, found)
	}
	files := planned.FindStringSubmatch(strings.ReplaceAll(plan(), due.AddDate(0, 0, -89).Format("2006-01-02"), due.Format("2006-01-02")))
	if files == nil {
		t.Fatal(plan())
	}

	p.stop()
	age(t, dir, 1)
	p = serve(t, dir, nil)
	p.await("the purge is finished", func() bool {
		var list []retention.Removal
		p.api(http.MethodGet, "/v1/purges", nil, &list)
		return len(list) == 1 && list[0].State == "done"
	})
	page, said, err := p.cli("erase", "--purges")
	if err != nil || !strings.Contains(page, "gone-gmbh") || !strings.Contains(page, `"deleted":`+files[1]+",") {
		t.Fatalf("%v %s\nplanned were %s blobs:\n%s\n%s", err, said, files[1], page, p.log)
	}
	if err := p.client().get(t.Context(), http.MethodGet, "/v1/orgs/gone-gmbh", nil, nil, new(map[string]any)); problem.Of(err).Code != "org_not_found" {
		t.Error(err)
	}
	if n := p.count("SELECT count(*) AS n FROM interactions"); n != 2 {
		t.Errorf("%d interactions of another organisation are left, want 2", n)
	}
	p.stop()
	for _, text := range []string{"annabel@gone-gmbh", "sales@gone-gmbh", "for gone-gmbh", "agent-of-gone-gmbh", "warehouse/gone-gmbh"} {
		if found := everywhere(t, dir, text); len(found) > 0 {
			t.Errorf("%q is left in %q", text, found)
		}
	}
	if found := everywhere(t, dir, "annabel@acme.example"); len(found) == 0 {
		t.Error("another organisation's records are gone, or the search is worth nothing")
	}
	if strings.Contains(p.log.String(), "annabel") {
		t.Error("the server's log names a person")
	}
}

// age lets days go by for what is terminated, as if a server had run all the while.
func age(t *testing.T, dir string, days int) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	span := strconv.FormatInt((time.Duration(days) * day).Microseconds(), 10)
	for _, change := range []string{
		"UPDATE organisations SET terminated_at = terminated_at - " + span + ", purge_at = purge_at - " + span + " WHERE purge_at <> 0",
		"UPDATE clock_run SET since = since - " + span,
	} {
		if _, err := db.ExecContext(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
}

// everywhere returns the files of a folder that have a text in their bytes or names.
func everywhere(t *testing.T, dir, text string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if rel, _ := filepath.Rel(dir, path); strings.Contains(rel, text) || bytes.Contains(bytes.ToLower(data), []byte(text)) {
			found = append(found, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
