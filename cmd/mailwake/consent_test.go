package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailwake/engine/problem"
	"mailwake/ingest"
)

// cli runs one client command of the binary and returns what it prints.
func (p *process) cli(args ...string) (stdout, stderr string, err error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	cmd := binary(ctx, nil, append(args, "--data", p.dir)...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

// importLines makes an import of more than 10 MB for so many addresses, with evidence as
// long as it may be: each address costs the ledger far more than its bytes.
func importLines(n int, faulty map[int]string) string {
	var b strings.Builder
	b.WriteString("kind,address,follow,evidence\n")
	for i := range n {
		if line, ok := faulty[i+2]; ok {
			b.WriteString(line + "\n")
			continue
		}
		fmt.Fprintf(&b, "recipient,person-%06d@customer.example,denied,double opt-in message <%0920x@signup.acme.example>\n", i, i)
	}
	return b.String()
}

// TestConsentImport imports 10 MB: with errors on some lines nothing of it, and all
// of it without them.
func TestConsentImport(t *testing.T) {
	t.Parallel()
	const lines = 11_000
	p := serve(t, t.TempDir(), nil)
	p.createOrg("acme")
	faulty := map[int]string{
		2: "recipient,no address,denied,", 77: "contact,,denied,", 4_000: "recipient,x@y.example,perhaps,", 11_000: "recipient,x@y.example",
	}
	bad, good := filepath.Join(t.TempDir(), "bad.csv"), filepath.Join(t.TempDir(), "good.csv")
	for name, text := range map[string]string{bad: importLines(lines, faulty), good: importLines(lines, nil)} {
		if len(text) < 10<<20 || len(text) > 16<<20 {
			t.Fatalf("%d bytes", len(text))
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	head := func() (h ingest.Verified) {
		p.api(http.MethodGet, "/v1/orgs/acme/consent/verify", nil, &h)
		return h
	}
	_, said, err := p.cli("consent", "import", bad, "--org", "acme")
	if err == nil {
		t.Error("a faulty import was taken")
	}
	for _, want := range []string{
		"2 address address_invalid", "77 external_id preference_subject_invalid", "4000 follow preference_invalid",
		"11000 line_invalid", "4 of 11000 lines are faulty, the first is line 2; nothing was imported",
	} {
		if !strings.Contains(strings.Join(strings.Fields(said), " "), want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
	if h := head(); h.Entries != 0 {
		t.Errorf("%d entries of a faulty import", h.Entries)
	}
	if strings.Contains(p.log.String(), "customer.example") || strings.Contains(said, "customer.example") {
		t.Error("an address is told")
	}
	if _, said, err := p.cli("consent", "import", good, "--org", "acme", "--dry-run"); err != nil || head().Entries != 0 {
		t.Errorf("dry run: %v, %d entries\n%s", err, head().Entries, said)
	}
	began := time.Now()
	done, said, err := p.cli("consent", "import", good, "--org", "acme", "--source", "crm export")
	t.Logf("11 MB, %d lines: %v", lines, time.Since(began))
	if err != nil || done != "imported 11000 lines, 11000 changes; the ledger has 11000 entries\n" || !strings.Contains(said, "sent 1") {
		t.Errorf("%v\n%s%s", err, done, said)
	}
	if h := head(); h.Entries != lines || !h.Intact {
		t.Errorf("%+v", h)
	}
	shown, said, err := p.cli("consent", "show", "person-010999@customer.example", "--org", "acme")
	if err != nil || !strings.Contains(shown, "recipient_denied") {
		t.Errorf("%v\n%s%s", err, shown, said)
	}
	exported, said, err := p.cli("consent", "export", "--org", "acme")
	if err != nil || strings.Count(exported, "\n") != lines+1 || !strings.Contains(exported, "recipient,,person-000000@customer.example,denied,denied,denied,denied\n") {
		t.Errorf("export: %v, %d bytes\n%s", err, len(exported), said)
	}
	for _, c := range []struct {
		name, media, body string
		status            int
		code              string
	}{
		{"larger than 16 MiB", "text/csv", importLines(150_000, nil), 413, "body_too_large"},
		{"more than half a million changes", "text/csv", "recipient_id,follow\n" + strings.Repeat("1,denied\n", 500_001), 422, "too_many_changes"},
		{"JSON", "application/json", "[]", 415, "unsupported_media_type"},
		{"nothing", "text/csv", "", 422, "import_invalid"},
		{"unknown purpose", "text/csv", "address,purpose\na@b.example,read\n", 422, "import_invalid"},
	} {
		_, err := p.client().send(t.Context(), http.MethodPost, "/v1/orgs/acme/consent/import", nil, c.media, strings.NewReader(c.body))
		if status, code := told(err); status != c.status || code != c.code {
			t.Errorf("%s: %d %s, want %d %s", c.name, status, code, c.status, c.code)
		}
	}
	if h := head(); h.Entries != lines {
		t.Errorf("%d entries after refusals", h.Entries)
	}
}

// told is the problem that a client's error is about.
func told(err error) (status int, code string) {
	if p, ok := errors.AsType[*problem.Error](err); ok {
		return p.Status, p.Code
	}
	return 0, fmt.Sprint(err)
}
