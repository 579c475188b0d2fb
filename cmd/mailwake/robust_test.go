package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"mailwake/engine/blob/blobtest"
)

// post sends a raw body and returns status and problem code.
func (p *process) post(path, key string, body []byte) (int, string) {
	p.t.Helper()
	req, err := http.NewRequest(http.MethodPost, p.at.Private+path, bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := noRedirect.Do(req)
	if err != nil {
		p.t.Fatalf("%s: %v", path, err)
	}
	defer resp.Body.Close()
	var doc struct{ Code string }
	_ = json.NewDecoder(resp.Body).Decode(&doc)
	return resp.StatusCode, doc.Code
}

// mailTo is the body of a request to follow an email.
func mailTo(html string, people int) []byte {
	req := followRequest{From: "a@acme.example", HTML: html, Follow: "required"}
	for i := range people {
		req.To = append(req.To, followRecipient{Address: fmt.Sprintf("p%d@customer.example", i)})
	}
	text, err := json.Marshal(req)
	if err != nil {
		panic(err)
	}
	return text
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	p := serve(t, t.TempDir(), nil)
	p.createOrg("acme")
	ok := mailTo("<p>hi</p>", 1)
	emails := "/v1/orgs/acme/emails"
	for _, c := range []struct {
		name, path, key string
		body            []byte
		status          int
		code            string
	}{
		{"HTML of 20 MB", emails, p.key, mailTo(strings.Repeat("<p>x</p>", 20<<20/8), 1), 413, "body_too_large"},
		{"HTML over its limit", emails, p.key, mailTo(strings.Repeat("<p>x</p>", 3<<20/8), 1), 413, "html_too_large"},
		{"10,000 links", emails, p.key, mailTo(strings.Repeat(`<a href="https://e.example/">x</a>`, 10_000), 1), 422, "too_many_links"},
		{"nested junk", emails, p.key, mailTo(strings.Repeat("<div><a <b><!--", 100_000), 1), 200, ""},
		{"invalid UTF-8", emails, p.key, bytes.Replace(ok, []byte("hi"), []byte{'h', 0xff}, 1), 422, "invalid_utf8"},
		{"too many recipients", emails, p.key, mailTo("<p>x</p>", 10_001), 422, "too_many_recipients"},
		{"copies too large", emails, p.key, mailTo(strings.Repeat("<p>x</p>", 1<<17), 100), 413, "output_too_large"},
		{"no recipient", emails, p.key, []byte(`{"from":"a@acme.example","to":[],"html":"x"}`), 422, "recipients_missing"},
		{"bad recipient", emails, p.key, []byte(`{"from":"a@acme.example","to":[{"address":"nobody"}],"html":"x"}`), 422, "recipient_invalid"},
		{"unknown field", emails, p.key, []byte(`{"from":"a@acme.example","to":[{"address":"a@b.example"}],"html":"x","bogus":1}`), 422, "invalid_request"},
		{"no JSON", emails, p.key, []byte(`{"from"`), 400, "bad_request"},
		{"no key", emails, "", ok, 401, "unauthenticated"},
		{"unknown key", emails, "mw_unknown", ok, 401, "unauthenticated"},
		{"unknown organisation", "/v1/orgs/other/emails", p.key, ok, 404, "org_not_found"},
		{"same organisation again", "/v1/orgs", p.key, []byte(`{"name":"acme"}`), 409, "org_exists"},
		{"bad name", "/v1/orgs", p.key, []byte(`{"name":"../x"}`), 422, "org_name_invalid"},
		{"no SELECT", "/v1/orgs/acme/sql", p.key, []byte(`{"sql":"drop table emails"}`), 422, "sql_not_select"},
		{"other files", "/v1/orgs/acme/sql", p.key, []byte(`{"sql":"select * from read_text('/etc/passwd')"}`), 403, "sql_forbidden"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.t = t
			status, code := p.post(c.path, c.key, c.body)
			if status/100 != c.status/100 || code != c.code {
				t.Errorf("%d %s, want %d %s", status, code, c.status, c.code)
			}
		})
	}
	p.t = t
	if n := p.count("select count(*) from emails"); n != 1 {
		t.Errorf("%d emails registered, want only the one that was right", n)
	}
}

// metric reads one sample of /metrics.
func (p *process) metric(name string) float64 {
	p.t.Helper()
	resp, err := noRedirect.Get(p.at.Private + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindSubmatch(text)
	if m == nil {
		p.t.Fatalf("no metric %s", name)
	}
	v, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return v
}

// await waits until check holds.
func (p *process) await(what string, check func() bool) {
	p.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !check() {
		select {
		case <-tick.C:
		case <-limit:
			p.t.Fatalf("waited in vain until %s\n%s", what, p.log)
		}
	}
}

const lost = `mailwake_public_outcomes_total{outcome="not_recorded"}`

// TestStorageDown takes the blob store away under load until the log is full: the
// public plane goes on answering, losses are counted, nothing acknowledged is
// lost, and all recovers by itself.
func TestStorageDown(t *testing.T) {
	t.Parallel()
	az := blobtest.Azurite(t)
	proxy := blobtest.Proxy(t, az.Addr)
	through := az.At(proxy.Addr)
	env := []string{"AZURE_STORAGE_CONNECTION_STRING=" + through.ConnectionString}
	storage := "azblob://" + az.Container() + "?account=" + az.Account
	p := serve(t, t.TempDir(), env, "--storage", storage, "--log-limit-mb", "1", "--flush-rows", "200", "--flush-age", "1s")
	p.createOrg("acme")
	sent := p.follow("hello", "<html><body>hi</body></html>", 1)
	pixel := trackedIn(sent.Messages[0].HTML, p.at.Public).pixel
	ask := func(n int) {
		for range n {
			if resp, body := p.must(http.MethodGet, pixel, outlook); resp.StatusCode != 200 || len(body) != 43 {
				t.Fatalf("pixel: %d, %d bytes", resp.StatusCode, len(body))
			}
		}
	}
	asked := 500
	ask(asked)
	p.await("a flush", func() bool { return p.metric("mailwake_flushes_total") > 0 })

	proxy.Down()
	for p.metric(lost) == 0 {
		ask(1000)
		asked += 1000
	}
	p.await("a flush has failed", func() bool { return p.metric("mailwake_flush_failures_total") > 0 })
	if status, code := p.post("/v1/orgs/acme/emails", p.key, mailTo("x", 1000)); status != 503 || code != "log_full" {
		t.Errorf("follow with a full log: %d %s", status, code)
	}
	for _, line := range []string{"flush failed", "answered but not recorded"} {
		if !strings.Contains(p.log.String(), line) {
			t.Errorf("the log does not say %q", line)
		}
	}
	if n := p.count("select count(*) from interactions where kind = 'open'"); n != asked-int(p.metric(lost)) {
		t.Errorf("while the storage is down %d opens are counted, %d were recorded", n, asked-int(p.metric(lost)))
	}
	proxy.Up()
	if p.metric("mailwake_log_sync_seconds_count") == 0 || p.metric("mailwake_log_sync_seconds_sum") == 0 {
		t.Error("the log was written, and no fdatasync counted")
	}
	p.await("the log is trimmed", func() bool { return p.metric("mailwake_log_bytes") < 1<<18 && p.metric("mailwake_tail_rows") == 0 })
	ask(1)
	recorded := asked + 1 - int(p.metric(lost))
	if n := p.count("select count(*) from interactions where kind = 'open'"); n != recorded {
		t.Errorf("%d opens are counted, %d were recorded", n, recorded)
	}

	// The storage is down at the next start: the server waits and says why.
	p.stop()
	proxy.Down()
	p = begin(t, p.dir, env, "--storage", storage)
	p.await("it waits for the storage", func() bool { return strings.Contains(p.log.String(), "storage does not answer") })
	proxy.Up()
	p.awaitReady()
	if n := p.count("select count(*) from interactions where kind = 'open'"); n != recorded {
		t.Errorf("%d opens after the restart, want %d", n, recorded)
	}
}

// TestCatalogLocked holds a lock on the catalog while a flush wants it.
func TestCatalogLocked(t *testing.T) {
	t.Parallel()
	p := serve(t, t.TempDir(), nil)
	p.createOrg("acme")
	p.follow("hello", "<html><body>hi</body></html>", 3)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(p.dir, "catalog.db")+"?_txlock=exclusive")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.api(http.MethodPost, "/v1/orgs/acme/flush", nil, new(map[string]any))
	}()
	select {
	case <-done:
		t.Error("the flush did not wait for the lock")
	case <-time.After(300 * time.Millisecond):
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	<-done
	if rows := p.metric("mailwake_tail_rows"); rows != 0 {
		t.Errorf("%v rows are not flushed", rows)
	}
	if n := p.count("select count(*) from interactions"); n != 3 {
		t.Errorf("%d interactions, want 3", n)
	}
}

// TestOneProcessPerFolder starts a second server on a folder in use.
func TestOneProcessPerFolder(t *testing.T) {
	t.Parallel()
	p := serve(t, t.TempDir(), nil)
	out, err := binary(t.Context(), nil, "serve", "--data", p.dir, "--public", "127.0.0.1:0", "--private", "127.0.0.1:0").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "in use by another mailwake process") {
		t.Errorf("second server: %v\n%s", err, out)
	}
}

// TestDamage flips a byte in each kind of file: verify and the start name it.
func TestDamage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind, dir, suffix string
		starts            bool // the server starts: the damage is in cold data
	}{
		{"log", "wal", ".wal", false},
		{"blob", "storage", ".parquet", true},
		{"manifest", "storage", "-m1.avro", false},
	} {
		t.Run(c.kind, func(t *testing.T) {
			p := serve(t, t.TempDir(), nil)
			p.createOrg("acme")
			p.follow("hello", "<html><body>hi</body></html>", 20)
			p.api(http.MethodPost, "/v1/orgs/acme/flush", nil, new(map[string]any))
			p.follow("again", "<html><body>hi</body></html>", 20)
			p.follow("and again", "<html><body>hi</body></html>", 20)
			p.kill()
			file := damage(t, filepath.Join(p.dir, c.dir), c.suffix)
			out, err := binary(t.Context(), nil, "verify", "--data", p.dir).CombinedOutput()
			if err == nil || !bytes.Contains(out, []byte("DAMAGE")) || !bytes.Contains(out, []byte(filepath.Base(file))) {
				t.Errorf("verify does not name %s: %v\n%s", filepath.Base(file), err, out)
			}
			if c.kind == "log" {
				out, err := binary(t.Context(), nil, "serve", "--data", p.dir, "--public", "127.0.0.1:0", "--private", "127.0.0.1:0").CombinedOutput()
				if err == nil || !bytes.Contains(out, []byte(filepath.Base(file))) || !regexp.MustCompile(`offset \d+`).Match(out) {
					t.Errorf("the start does not name file and offset: %v\n%s", err, out)
				}
			}
		})
	}
}

// damage flips one byte in the middle of the data of a file with suffix, or cuts a
// manifest there: those have no checksums, and a flipped byte may mean nothing.
func damage(t *testing.T, dir, suffix string) string {
	t.Helper()
	var file string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, suffix) {
			file = path
		}
		return err
	})
	if err != nil || file == "" {
		t.Fatalf("no %s below %s: %v", suffix, dir, err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	used := len(bytes.TrimRight(data, "\x00"))
	if data[used/2] ^= 0x10; strings.HasSuffix(suffix, ".avro") {
		data = data[:used/2]
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
