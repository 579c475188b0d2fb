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
		"people counter":       {"UPDATE organisations SET last_person_id = 0", "counter of people is below the id 1 in organisation 1"},
		"proof counter":        {"UPDATE organisations SET last_proof_id = 0", "counter of proofs is below the id 1"},
		"change counter":       {"UPDATE organisations SET last_email_change = 0", "counter of changes is below that of email 1"},
		"preference, person":   {"UPDATE people SET denied = 0 WHERE id = 1", "preference of person 1 in organisation 1"},
		"preference, invented": {"UPDATE people SET allowed = 1 WHERE id = 2", "preference of person 2 in organisation 1"},
		"preference, address":  {"UPDATE recipients SET allowed = 4 WHERE id = 2", "preference of recipient 2 in organisation 1"},
		"answer":               {"UPDATE recipients SET answer = 0 WHERE id = 1", "answer of recipient 1 in organisation 1"},
		"answer, allowed":      {"UPDATE recipients SET answer = answer + 16 WHERE id = 1", "answer of recipient 1 in organisation 1"},
		"answer, account":      {"UPDATE people SET account_id = NULL", "answer of recipient 1 in organisation 1"},
		"account":              {"UPDATE people SET account_id = 2 WHERE id = 2", "account of person 2 in organisation 1 is no account"},
		"trail, gap":           {"DELETE FROM org_events WHERE seq = 1", "audit trail only 2 entries are left in organisation 1"},
		"trail, end":           {"DELETE FROM org_events WHERE seq = 3", "of organisation 1 does not lead to its state"},
		"ledger":               {"DELETE FROM consent_ledger WHERE seq = 2", "Entry 2 of the consent ledger of organisation 1 is missing"},
	} {
		r := fresh(t)
		acme := org(t, r, "acme")
		register(t, r, acme, mail("secret@example.com", "b@example.com"))
		account := person(t, r, acme, Person{Kind: Account, ExternalID: "secret"})
		_ = person(t, r, acme, Person{Kind: Contact, ExternalID: "c", Account: account.ID, Addresses: []string{"secret@example.com"}})
		prefer(t, r, acme, PreferenceChange{Subject: OfPerson(account.ID), Purposes: AllPurposes, State: Denied},
			PreferenceChange{Address: "b@example.com", Purposes: 5, State: Allowed}, PreferenceChange{Address: "b@example.com", Purposes: 6, State: Unknown})
		for _, action := range []OrgAction{OrgDisable, OrgEnable} {
			if _, err := r.ChangeOrg(t.Context(), acme, action, BySystem()); err != nil {
				t.Fatal(err)
			}
		}
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
