package main

import (
	"bytes"
	"html"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailwake/engine/blob/blobtest"
)

const (
	outlook   = "Microsoft Office/16.0 (Microsoft Outlook Mail 16.0.6525; Pro)"
	thunder   = "Mozilla/5.0 (X11; Linux x86_64; rv:24.0) Gecko/20100101 Thunderbird/24.4.0 Lightning/2.6.4"
	gmail     = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
	curlAgent = "curl/7.29.0"
)

// awkward are links as real mails have them; each must be reached exactly.
var awkward = []string{
	"https://example.com/path?a=1&b=two&c=%20x",
	"https://example.com/a(b)[c]?q[]=1&q[]=2#frag?ment",
	"HTTPS://Example.com/UPPER?token=a%2Bb%3D%3D",
}

func awkwardMail() string {
	var b strings.Builder
	b.WriteString("<html><body><p>Hello</p>")
	for _, l := range awkward {
		b.WriteString(`<a href="` + html.EscapeString(l) + `">link</a>` + "\n")
	}
	b.WriteString(`<a href="mailto:jo@acme.example">mail</a></body></html>`)
	return b.String()
}

func TestEndToEnd(t *testing.T) {
	t.Parallel()
	t.Run("folder", func(t *testing.T) { endToEnd(t, nil, "file://"+t.TempDir()) })
	t.Run("azure", func(t *testing.T) {
		az := blobtest.Azurite(t)
		env := []string{"AZURE_STORAGE_CONNECTION_STRING=" + az.ConnectionString}
		endToEnd(t, env, "azblob://"+az.Container()+"?account="+az.Account)
	})
}

// endToEnd follows a mail, lets clients act, and expects the same KPIs before a
// flush, after it, and after a restart with an empty cache.
func endToEnd(t *testing.T, env []string, storage string) {
	dir := t.TempDir()
	p := serve(t, dir, env, "--storage", storage)
	base := p.at.Public
	p.createOrg("acme")
	sent := p.follow("Hello", awkwardMail(), 3)
	for i, m := range sent.Messages {
		tracked := trackedIn(m.HTML, p.at.Public)
		resp, body := p.must(http.MethodGet, tracked.pixel, outlook)
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "image/gif" || len(body) != 43 {
			t.Fatalf("pixel: %d %s, %d bytes", resp.StatusCode, resp.Header.Get("Content-Type"), len(body))
		}
		if n := p.count("select count(*) from interactions where kind = 'open'"); n != i+1 {
			t.Fatalf("the very next query counts %d opens, want %d", n, i+1)
		}
		if len(tracked.links) != len(awkward) {
			t.Fatalf("%d links, want %d", len(tracked.links), len(awkward))
		}
		for j, l := range tracked.links {
			resp, _ := p.must(http.MethodGet, l, thunder)
			if got := resp.Header.Get("Location"); resp.StatusCode != http.StatusFound || got != awkward[j] {
				t.Errorf("click: %d to %q, want %q", resp.StatusCode, got, awkward[j])
			}
		}
	}
	p.must(http.MethodGet, trackedIn(sent.Messages[0].HTML, p.at.Public).pixel, gmail)
	p.must(http.MethodGet, trackedIn(sent.Messages[0].HTML, p.at.Public).links[0], curlAgent)

	before := p.kpis()
	if !strings.Contains(before["organisation_summary"], `"opens_total":4`) || !strings.Contains(before["organisation_summary"], `"clicks_machine":1`) {
		t.Errorf("organisation summary: %s", before["organisation_summary"])
	}
	p.api(http.MethodPost, "/v1/orgs/acme/flush", nil, new(map[string]any))
	same(t, "after a flush", p.kpis(), before)
	p.stop()
	if err := os.RemoveAll(filepath.Join(dir, "cache")); err != nil {
		t.Fatal(err)
	}
	p = serve(t, dir, env, "--storage", storage)
	same(t, "after a restart with an empty cache", p.kpis(), before)
	p.must(http.MethodGet, p.here(trackedIn(sent.Messages[1].HTML, base).pixel), outlook)
	if n := p.count("select count(*) from interactions where kind = 'open'"); n != 5 {
		t.Errorf("%d opens after the restart, want 5", n)
	}
	p.kill()
	verify := binary(t.Context(), env, "verify", "--data", dir, "--storage", storage)
	if out, err := verify.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("1 of them not in a table yet")) {
		t.Errorf("verify: %v\n%s", err, out)
	}
}

func same(t *testing.T, when string, got, want map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%s, %s:\n got %s\nwant %s", when, name, got[name], want[name])
		}
	}
}
