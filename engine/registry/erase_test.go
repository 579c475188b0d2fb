package registry

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailwake/engine/event"
)

// everyByte returns all files beside the registry, in lower case.
func everyByte(t testing.TB, r *Registry) []byte {
	t.Helper()
	var all []byte
	files, err := filepath.Glob(r.path + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return bytes.ToLower(all)
}

// person makes an organisation with a person to be erased among others.
func toErase(t testing.TB, r *Registry) (acme event.OrgID, ann Person) {
	t.Helper()
	acme = org(t, r, "acme")
	for i := range 200 { // so that pages split and are rebalanced
		if _, err := r.PutPerson(t.Context(), acme, Person{Kind: Lead, ExternalID: "l" + strings.Repeat("x", i), Name: "Filler",
			Addresses: []string{strings.Repeat("f", i%50+1) + "@" + strings.Repeat("g", i/50+1) + ".example"}}); err != nil {
			t.Fatal(err)
		}
	}
	ann, err := r.PutPerson(t.Context(), acme, Person{Kind: Contact, ExternalID: "ext-annabel-1", Name: "Annabel Quux",
		Addresses: []string{"Annabel.Quux@example.com", "aq@private.example"}})
	if err != nil {
		t.Fatal(err)
	}
	only := mail("annabel.quux@EXAMPLE.com")
	only.Subject, only.Links = "For Annabel Quux only", []string{"https://x.example/?u=annabel.quux%40example.com"}
	register(t, r, acme, only)
	both := mail("annabel.quux@example.com", "bob@example.com")
	both.Subject, both.Links = "For all", []string{"https://x.example/?u=annabel.quux@example.com", "https://x.example/b"}
	register(t, r, acme, both)
	return acme, ann
}

func TestErasureRefusesAtOnceAndForEver(t *testing.T) {
	r := fresh(t)
	acme, ann := toErase(t, r)
	to, err := r.RecipientByAddress(t.Context(), acme, "annabel.quux@example.com")
	if err != nil {
		t.Fatal(err)
	}
	if !r.Decide(acme, to.ID, event.Open).Allow || !r.Decide(acme, to.ID, event.Delivered).Allow {
		t.Fatal("refused before")
	}
	version := r.Snapshot().Consent(acme).Version
	e, err := r.BeginErasure(t.Context(), acme, Whose{Person: ann.ID}, ByKey(7))
	if err != nil || len(e.Recipients) != 2 || e.Person != ann.ID || e.FinishedAt != 0 || e.By != ByKey(7) {
		t.Fatal(e, err)
	}
	refused := func(r *Registry) {
		t.Helper()
		for _, kind := range []event.Kind{event.Open, event.Click, event.Reply, event.Delivered, event.Bounced, event.Sent} {
			if v := r.Decide(acme, to.ID, kind); v.Allow || v.Reasons&RecipientErased == 0 {
				t.Errorf("%v: %v", kind, v)
			}
		}
	}
	refused(r)
	if r.Snapshot().Consent(acme).Version == version {
		t.Error("consent's version did not move")
	}
	again, err := r.BeginErasure(t.Context(), acme, Whose{Key: PersonKey{Contact, "ext-annabel-1"}}, ByKey(7))
	if err != nil || again.ID != e.ID {
		t.Error("begun twice", again, err)
	}
	// An old preference page, and the CRM, say yes: that changes nothing any more.
	if err := r.SetPreferences(t.Context(), acme, []PreferenceChange{{Subject: OfRecipient(to.ID), Purposes: AllPurposes, State: Allowed}},
		Proof{Source: "page", Actor: Actor{Kind: ActorRecipient}}); err != nil {
		t.Fatal(err)
	}
	refused(r)
	if n := r.Snapshot().Consent(acme).Emptied; n != 0 {
		t.Errorf("%d are emptied before their records are", n)
	}
	if _, err := r.EraseRecords(t.Context(), acme, e.ID); err != nil {
		t.Fatal(err)
	}
	refused(r)
	emptied := func(r *Registry) {
		t.Helper()
		if n := r.Snapshot().Consent(acme).Emptied; n != 2 {
			t.Errorf("%d are emptied, want 2", n)
		}
	}
	emptied(r)
	if err := r.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if n, err := r.VerifyLedger(t.Context(), acme); err != nil || n != 3 {
		t.Error(n, err)
	}
	path := r.path
	r.Close()
	r = open(t, path)
	refused(r)
	emptied(r)
	if got := r.ErasedRecipients(acme); !slices.Equal(got, e.Recipients) {
		t.Error(got)
	}
	// The address is new to the organisation if it is ever written to again.
	detail := register(t, r, acme, mail("annabel.quux@example.com"))
	if detail.Recipients[0].ID == to.ID || !r.Decide(acme, detail.Recipients[0].ID, event.Open).Allow {
		t.Error("the address is still known")
	}
}

func TestEraseRecordsLeavesNoByte(t *testing.T) {
	r := fresh(t)
	acme, ann := toErase(t, r)
	markers := []string{"annabel", "quux", "aq@private"}
	for _, m := range markers {
		if !bytes.Contains(everyByte(t, r), []byte(m)) {
			t.Fatalf("%q is nowhere before: the search is worth nothing", m)
		}
	}
	if err := r.NoteRead(WithPrincipal(t.Context(), Principal{KeyID: 1}), Read{Org: acme, What: "person", Person: ann.ID}); err != nil {
		t.Fatal(err)
	}
	e, err := r.BeginErasure(t.Context(), acme, Whose{Person: ann.ID}, BySystem())
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.EraseRecords(t.Context(), acme, e.ID)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Erased{People: 1, Addresses: 2, Emails: 1, Links: 2, Reads: 1, Ledger: 2}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	all := everyByte(t, r)
	for _, m := range markers {
		if i := bytes.Index(all, []byte(m)); i >= 0 {
			t.Errorf("%q is still there at byte %d: %q", m, i, all[max(0, i-40):min(len(all), i+60)])
		}
	}
	traces, err := r.SearchErased(t.Context(), acme, ann.ID, e.Recipients, []string{"annabel.quux@example.com"})
	if err != nil || traces.Bytes || len(traces.Records) > 0 {
		t.Errorf("%+v %v", traces, err)
	}
	if traces, err = r.SearchErased(t.Context(), acme, ann.ID, e.Recipients, []string{"bob@example.com"}); err != nil || !traces.Bytes {
		t.Errorf("a text that is there is not found: %+v %v", traces, err)
	}
	for range 2 { // a resumed step does it again
		if _, err := r.EraseRecords(t.Context(), acme, e.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Person(t.Context(), acme, ann.ID); err == nil {
		t.Error("the person is still there")
	}
	if err := r.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestErasureOfAccount: contacts keep what their account refused.
func TestErasureOfAccount(t *testing.T) {
	r := fresh(t)
	acme := org(t, r, "acme")
	account, err := r.PutPerson(t.Context(), acme, Person{Kind: Account, ExternalID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.PutPerson(t.Context(), acme, Person{Kind: Contact, ExternalID: "c", Account: account.ID, Addresses: []string{"c@example.com"}}); err != nil {
		t.Fatal(err)
	}
	if err := r.SetPreferences(t.Context(), acme, []PreferenceChange{{Subject: OfPerson(account.ID), Purposes: PurposesOf(PurposeClick), State: Denied}}, Proof{Source: "crm", Actor: BySystem()}); err != nil {
		t.Fatal(err)
	}
	e, err := r.BeginErasure(t.Context(), acme, Whose{Person: account.ID}, BySystem())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.EraseRecords(t.Context(), acme, e.ID); err != nil {
		t.Fatal(err)
	}
	if r.Decide(acme, 1, event.Click).Allow || !r.Decide(acme, 1, event.Open).Allow {
		t.Error("the contact's answers changed with the account's record")
	}
	if err := r.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWhoseProblems(t *testing.T) {
	r := fresh(t)
	acme := org(t, r, "acme")
	for code, who := range map[string]Whose{
		"whose_invalid": {}, "person_not_found": {Person: 9}, "recipient_not_found": {Recipient: 9}, "address_invalid": {Address: "x"},
	} {
		_, err := r.BeginErasure(t.Context(), acme, who, BySystem())
		wantCode(t, err, code)
	}
	for _, key := range []PersonKey{{Contact, "\x00"}, {"con\x00tact", "c"}, {Contact, "nobody"}, {Kind: Contact}} {
		_, err := r.BeginErasure(t.Context(), acme, Whose{Key: key}, BySystem())
		wantCode(t, err, "person_not_found")
		_, _, _, err = r.Held(t.Context(), acme, Whose{Key: key})
		wantCode(t, err, "person_not_found")
	}
	_, err := r.BeginErasure(t.Context(), 9, Whose{Person: 1}, BySystem())
	wantCode(t, err, "org_not_found")
	register(t, r, acme, mail("a@example.com"))
	e, err := r.BeginErasure(t.Context(), acme, Whose{Address: "a@example.com"}, BySystem())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.FinishErasure(t.Context(), acme, e.ID, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	_, err = r.BeginErasure(t.Context(), acme, Whose{Recipient: 1}, BySystem())
	wantCode(t, err, "recipient_erased")
}

// TestPersonColumns: a new column that points to people must be thought of.
func TestPersonColumns(t *testing.T) {
	r := fresh(t)
	rows, err := r.reader.QueryContext(t.Context(), `SELECT t.name || '.' || c.name FROM sqlite_schema AS t JOIN pragma_table_info(t.name) AS c
		WHERE t.type = 'table' AND (c.name IN ('recipient_id', 'person_id', 'account_id', 'subject_id') OR c.name = 'id' AND t.name IN ('people', 'recipients'))`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	seen := map[string]bool{}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		seen[name] = true
		if personColumns[name] == "" {
			t.Errorf("%s points to people: decide what an erasure does with it", name)
		}
	}
	for name := range personColumns {
		if !seen[name] {
			t.Errorf("%s is no column any more", name)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}
