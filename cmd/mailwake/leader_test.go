package main

import (
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"mailwake/engine/problem"
)

// TestTwoServersLead races two servers that share storage, catalog and registry for
// the maintenance of them: one at a time has it, the other says so, nothing is lost
// or counted twice, and whoever is left takes over from one that was killed.
func TestTwoServersLead(t *testing.T) {
	t.Parallel()
	one := t.TempDir()
	a := serve(t, one, nil)
	a.createOrg("acme")
	two := t.TempDir()
	if err := os.WriteFile(filepath.Join(two, keyFile), []byte(a.key), 0o600); err != nil {
		t.Fatal(err)
	}
	catalog := filepath.Join(one, "catalog.db")
	b := serve(t, two, nil, "--node", "1", "--storage", "file://"+filepath.Join(one, "storage"), "--catalog", catalog, "--registry", "sqlite://"+filepath.Join(one, "registry.db"))
	sweep := func(p *process) string {
		err := p.client().get(t.Context(), http.MethodPost, "/v1/orgs/acme/retention/run", nil, nil, new(map[string]any))
		if err == nil {
			return ""
		}
		return problem.Of(err).Code
	}

	// A third one leads: neither of them does anything.
	lock, err := os.OpenFile(catalog+".leader", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	// Shared, so that servers that would share it are found out; they have it for a moment at most.
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*process{a, b} {
		if code := sweep(p); code != "maintenance_elsewhere" {
			t.Errorf("while another process leads: %q", code)
		}
	}
	lock.Close()

	const rounds, people = 5, 3
	for range rounds {
		var codes [4]string
		var wg sync.WaitGroup
		for i, p := range []*process{a, b} {
			p.follow("Raced", "<p>Hello</p>", people)
			p.api(http.MethodPost, "/v1/orgs/acme/flush", nil, new(map[string]any))
			for j := range 2 {
				wg.Go(func() { codes[2*i+j] = sweep(p) })
			}
		}
		wg.Wait()
		done := 0
		for _, code := range codes {
			switch code {
			case "":
				done++
			case "maintenance_elsewhere":
			default:
				t.Errorf("a race ended with %q", code)
			}
		}
		if done == 0 {
			t.Error("nobody led")
		}
	}
	const want = 2 * rounds * people
	for _, p := range []*process{a, b} {
		if n := p.count("SELECT count(*) AS n FROM interactions"); n != want {
			t.Errorf("%d interactions, want %d", n, want)
		}
	}

	// What one of them is told about the organisation holds at the other.
	a.api(http.MethodPost, "/v1/orgs/acme:disable", nil, new(map[string]any))
	code := ""
	for tries := 0; code != "feature_disabled"; tries++ {
		if tries > 100_000 {
			t.Fatalf("what is switched off here is not there: %q", code)
		}
		code = problem.Of(b.client().get(t.Context(), http.MethodGet, "/v1/orgs/acme/kpis/email_summary", nil, nil, new([]any))).Code
	}
	b.api(http.MethodPost, "/v1/orgs/acme:enable", nil, new(map[string]any))

	a.kill()
	if code := sweep(b); code != "" {
		t.Errorf("after the other one was killed: %q", code)
	}
	if n := b.count("SELECT count(*) AS n FROM interactions"); n != want {
		t.Errorf("%d interactions are left, want %d", n, want)
	}
	b.stop()
}
