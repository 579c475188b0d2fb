package registry

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckFindsFaults(t *testing.T) {
	for name, tc := range map[string]struct{ statement, says string }{
		"organisation counter": {"UPDATE sequences SET last = 0 WHERE name = 'organisation'", "counter of organisations is below the id 1"},
		"key counter":          {"UPDATE sequences SET last = 0 WHERE name = 'key'", "counter of keys is below the id 1"},
		"email counter":        {"UPDATE organisations SET last_email_id = 0", "counter of emails is below an id in organisation 1"},
		"recipient counter":    {"UPDATE organisations SET last_recipient_id = 1", "counter of recipients is below an id in organisation 1"},
		"orphans":              {"DELETE FROM emails", "2 rows of email_recipients have no parent in emails"},
		"key hash":             {"UPDATE api_keys SET hash = 'zz'", "hash of key 1"},
	} {
		r := fresh(t)
		register(t, r, org(t, r, "acme"), mail("secret@example.com", "b@example.com"))
		if _, _, err := r.BootstrapAdmin(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := r.Check(t.Context()); err != nil {
			t.Errorf("%s: before: %v", name, err)
		}
		for _, s := range []string{"PRAGMA foreign_keys = off", tc.statement} {
			if _, err := r.writer.ExecContext(t.Context(), s); err != nil {
				t.Fatal(name, err)
			}
		}
		err := r.Check(t.Context())
		if err == nil || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		wantCode(t, err, "registry_corrupt")
		r.Close()
	}
}

// TestCheckFindsDamagedPages overwrites page after page: whatever it hits, opening
// or checking says so, and nothing panics.
func TestCheckFindsDamagedPages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.db")
	r := open(t, path)
	acme := org(t, r, "acme")
	var to []string
	for i := range 200 {
		to = append(to, fmt.Sprintf("secret%d@example.com", i))
	}
	register(t, r, acme, mail(to...))
	var pageSize int
	if err := r.reader.NewRaw("PRAGMA page_size").Scan(t.Context(), &pageSize); err != nil {
		t.Fatal(err)
	}
	r.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for page := 1; page < len(whole)/pageSize; page++ {
		damaged := append([]byte(nil), whole...)
		copy(damaged[page*pageSize:], strings.Repeat("\x5a", pageSize))
		bad := filepath.Join(t.TempDir(), "registry.db")
		if err := os.WriteFile(bad, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := Open(t.Context(), Options{DSN: dsn(bad)})
		if err == nil {
			err = r.Check(t.Context())
			r.Close()
		}
		if err == nil {
			t.Errorf("page %d is damaged and nobody noticed", page)
			continue
		}
		found++
		wantCode(t, err, "registry_corrupt")
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("page %d: the error holds an address", page)
		}
	}
	if found < 10 {
		t.Errorf("only %d pages were tried", found)
	}
}

func TestSummary(t *testing.T) {
	r := fresh(t)
	register(t, r, org(t, r, "acme"), mail("a@example.com", "b@example.com"))
	s, err := r.Summary(t.Context())
	if files := migrationNames(t); err != nil || s.Schema != files[len(files)-1] {
		t.Errorf("schema %s, %v", s.Schema, err)
	}
	got := fmt.Sprint(s.Tables)
	for _, want := range []string{"{organisations 1}", "{api_keys 0}", "{emails 1}", "{recipients 2}", "{email_recipients 2}", "{links 1}", "{attachments 0}", "{reads 0}"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// migrationNames returns the numbers of the migrations, in order.
func migrationNames(t *testing.T) (names []string) {
	t.Helper()
	files, err := migrationFiles.ReadDir("migrations")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d migrations, %v", len(files), err)
	}
	for _, f := range files {
		names = append(names, f.Name()[:4])
	}
	return names
}
