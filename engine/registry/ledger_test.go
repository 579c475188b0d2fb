package registry

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// ledgerOf fills an organisation's ledger with entries of every sort.
func ledgerOf(t testing.TB, r *Registry) (acme event.OrgID) {
	t.Helper()
	acme = org(t, r, "acme")
	ann := person(t, r, acme, Person{Kind: Contact, ExternalID: "ann", Addresses: []string{"ann@example.com"}})
	prefer(t, r, acme, PreferenceChange{Subject: OfPerson(ann.ID), Purposes: AllPurposes, State: Denied, Evidence: "mail 7"})
	prefer(t, r, acme,
		PreferenceChange{Person: PersonKey{Contact, "ann"}, Purposes: PurposesOf(PurposeOpen, PurposeReply), State: Allowed},
		PreferenceChange{Address: "bob@example.com", Purposes: PurposesOf(PurposeClick), State: Unknown},
		PreferenceChange{Subject: OfRecipient(1), Purposes: AllPurposes, State: Allowed})
	prefer(t, r, acme, PreferenceChange{Address: "ann@example.com", Purposes: AllPurposes, State: Denied})
	return acme
}

func TestLedger(t *testing.T) {
	c := newClock()
	r := fresh(t, func(o *Options) { o.Clock = c.Now })
	acme := ledgerOf(t, r)
	var got []string
	for e, err := range r.Ledger(t.Context(), acme, 0) {
		if err != nil || e.Source != "test" || e.Text != "May we?\nYes." || e.Locale != "en" || e.FormVersion != "3" || e.Actor != ByKey(1) || e.At != r.now() {
			t.Errorf("%+v, %v", e, err)
		}
		got = append(got, strings.TrimSpace(fmt.Sprintln(e.Seq, e.Subject, e.Purposes.Names(), e.State, e.Previous, e.Evidence)))
	}
	want := []string{
		"1 {person 1} [open click attachment reply] denied {0 0} mail 7",
		"2 {person 1} [open reply] allowed {0 15} id 1",
		"3 {recipient 2} [click] unknown {0 0} id 1",
		"4 {recipient 1} [open click attachment reply] allowed {0 0} id 1",
		"5 {recipient 1} [open click attachment reply] denied {15 0} id 1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s\nwant %s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	n := 0
	for range r.Ledger(t.Context(), acme, 3) {
		n++
	}
	if n != 2 {
		t.Errorf("%d entries after the third", n)
	}
	if n, err := r.VerifyLedger(t.Context(), acme); n != 5 || err != nil {
		t.Errorf("verified %d, %v", n, err)
	}
	head, err := r.LedgerHead(t.Context(), acme)
	if err != nil || head.Entries != 5 {
		t.Errorf("head %+v, %v", head, err)
	}
	for e := range r.Ledger(t.Context(), acme, 4) {
		if e.Hash != head.Hash {
			t.Error("the head is not the last entry's hash")
		}
	}
	if n, err := r.VerifyLedger(t.Context(), org(t, r, "empty")); n != 0 || err != nil {
		t.Errorf("empty ledger: %d, %v", n, err)
	}
	_, err = r.VerifyLedger(t.Context(), 9)
	wantCode(t, err, "org_not_found")
	for _, s := range []string{"UPDATE consent_ledger SET at = 0", "UPDATE consent_proofs SET shown = ''"} {
		if _, err := r.writer.ExecContext(t.Context(), s); err == nil {
			t.Errorf("%s: done", s)
		}
	}
}

// TestTampering alters every column of every entry and proof, every byte of every
// text and hash, and removes, swaps, copies and adds entries: each time the first
// bad entry is named, and after putting things right the ledger is good again.
func TestTampering(t *testing.T) {
	r := fresh(t)
	acme := ledgerOf(t, r)
	run := func(statement string, args ...any) {
		t.Helper()
		if _, err := r.writer.ExecContext(t.Context(), statement, args...); err != nil {
			t.Fatal(statement, err)
		}
	}
	for _, s := range []string{
		"DROP TRIGGER consent_ledger_is_append_only", "DROP TRIGGER consent_proofs_are_append_only",
		"PRAGMA foreign_keys = off", "PRAGMA ignore_check_constraints = on",
		"CREATE TABLE good_ledger AS SELECT * FROM consent_ledger", "CREATE TABLE good_proofs AS SELECT * FROM consent_proofs",
		"CREATE TABLE good_head AS SELECT ledger_count, ledger_hash FROM organisations WHERE id = 1",
	} {
		run(s)
	}
	restore := func() {
		for _, s := range []string{
			"DELETE FROM consent_ledger", "INSERT INTO consent_ledger SELECT * FROM good_ledger",
			"DELETE FROM consent_proofs", "INSERT INTO consent_proofs SELECT * FROM good_proofs",
			"UPDATE organisations SET (ledger_count, ledger_hash) = (SELECT * FROM good_head)",
		} {
			run(s)
		}
	}
	tried := 0
	named := func(what string, seq int64) {
		t.Helper()
		tried++
		n, err := r.VerifyLedger(t.Context(), acme)
		bad, ok := errors.AsType[*LedgerError](err)
		if !ok || bad.Seq != seq || bad.Org != acme || n >= max(seq, 1) || problem.Of(err).Code != "ledger_damaged" {
			t.Errorf("%s: %d good entries, %v; want entry %d named", what, n, err, seq)
		}
		restore()
	}
	// first is, for each proof, the first entry that it belongs to.
	first := map[int64]int64{1: 1, 2: 2, 3: 5}
	for _, table := range []struct {
		name, key string
		rows      int64
		numbers   []string
		texts     []string
	}{
		{"consent_ledger", "seq", 5, []string{"at", "subject_id", "purposes", "was_allowed", "was_denied", "proof_id"}, []string{"subject_kind", "state", "evidence", "hash"}},
		{"consent_proofs", "id", 3, []string{"actor_key"}, []string{"source", "form_version", "shown", "locale", "actor_kind"}},
	} {
		for key := int64(1); key <= table.rows; key++ {
			seq := key
			if table.key == "id" {
				seq = first[key]
			}
			where := fmt.Sprintf(" WHERE org_id = 1 AND %s = %d", table.key, key)
			for _, column := range table.numbers {
				for _, delta := range []string{"+ 1", "- 1", "+ 256", "+ 4294967296"} {
					run("UPDATE " + table.name + " SET " + column + " = " + column + delta + where)
					named(column+delta, seq)
				}
			}
			for _, column := range table.texts {
				var value []byte
				if err := r.writer.QueryRowContext(t.Context(), "SELECT "+column+" FROM "+table.name+where).Scan(&value); err != nil || len(value) == 0 {
					t.Fatal(column, err)
				}
				cast := "CAST(? AS TEXT)"
				if column == "hash" {
					cast = "?"
				}
				for i := range value {
					altered := bytes.Clone(value)
					altered[i] ^= 1 << (i % 7)
					run("UPDATE "+table.name+" SET "+column+" = "+cast+where, altered)
					named(fmt.Sprint(column, " byte ", i), seq)
				}
				run("UPDATE "+table.name+" SET "+column+" = "+cast+where, value[:len(value)-1])
				named(column+" cut", seq)
				run("UPDATE "+table.name+" SET "+column+" = "+cast+where, append(bytes.Clone(value), 'x'))
				named(column+" longer", seq)
			}
			run("DELETE FROM " + table.name + where)
			named(table.name+" deleted", seq)
		}
	}
	// A text moved from one field to the next has the same bytes in a row.
	run("UPDATE consent_proofs SET source = source || form_version, form_version = '' WHERE id = 2")
	named("moved text", 2)
	for a := 1; a <= 5; a++ {
		for b := a + 1; b <= 5; b++ {
			run(fmt.Sprintf("UPDATE consent_ledger SET seq = CASE seq WHEN %d THEN -1 ELSE -2 END WHERE seq IN (%d, %d)", a, a, b))
			run(fmt.Sprintf("UPDATE consent_ledger SET seq = CASE seq WHEN -1 THEN %d ELSE %d END WHERE seq < 0", b, a))
			named(fmt.Sprint("swapped ", a, " and ", b), int64(a))
		}
		run(fmt.Sprintf("DELETE FROM consent_ledger WHERE seq >= %d", a))
		named(fmt.Sprint("cut off from ", a), int64(a))
	}
	run("INSERT INTO consent_ledger SELECT org_id, 6, at, subject_kind, subject_id, purposes, state, was_allowed, was_denied, evidence, proof_id, hash FROM consent_ledger WHERE seq = 5")
	named("copied to the end", 6)
	run("INSERT INTO consent_ledger SELECT org_id, 8, at, subject_kind, subject_id, purposes, state, was_allowed, was_denied, evidence, proof_id, hash FROM consent_ledger WHERE seq = 5")
	named("added behind a gap", 6)
	for _, seq := range []int64{0, -7} {
		run("INSERT INTO consent_ledger SELECT org_id, ?, at, subject_kind, subject_id, purposes, state, was_allowed, was_denied, evidence, proof_id, hash FROM consent_ledger WHERE seq = 1", seq)
		named("added before the start", seq)
	}
	run("UPDATE consent_ledger SET seq = seq + 1 WHERE seq = 5")
	named("gap", 5)
	run("DELETE FROM consent_ledger")
	named("all gone", 1)
	run("UPDATE organisations SET ledger_count = 4")
	named("head's count lowered", 5)
	run("UPDATE organisations SET ledger_count = 6")
	named("head's count raised", 6)
	run("UPDATE organisations SET ledger_hash = zeroblob(32)")
	named("head's hash", 5)
	// Forged with a hash that fits: the next entry's does not, or the head's.
	for seq := int64(1); seq <= 5; seq++ {
		rows, proofs, err := ledgerPage[any](t.Context(), r.reader, acme, seq-2, nil)
		if err != nil {
			t.Fatal(err)
		}
		forged, previous := rows[0], []byte{}
		if seq > 1 {
			forged, previous = rows[1], rows[0].Hash
		}
		forged.Evidence = "forged"
		hash := forged.chain(nil, previous, proofs[forged.Proof].digest())
		run("UPDATE consent_ledger SET evidence = ?, hash = ? WHERE seq = ?", forged.Evidence, hash[:], seq)
		named(fmt.Sprint("forged ", seq), min(seq+1, 5))
	}
	// Cut off and the head's count lowered to fit: the head's hash still tells.
	run("DELETE FROM consent_ledger WHERE seq = 5")
	run("UPDATE organisations SET ledger_count = 4")
	named("cut off with the count", 4)
	if n, err := r.VerifyLedger(t.Context(), acme); n != 5 || err != nil || tried < 500 {
		t.Errorf("after %d attempts: %d, %v", tried, n, err)
	}
}

// TestLedgerOfAnotherOrganisation finds entries that were good elsewhere.
func TestLedgerOfAnotherOrganisation(t *testing.T) {
	r := fresh(t)
	acme := ledgerOf(t, r)
	beta := org(t, r, "beta")
	person(t, r, beta, Person{Kind: Contact, ExternalID: "ann", Addresses: []string{"ann@example.com"}})
	for _, s := range []string{
		"INSERT INTO consent_proofs SELECT 2, id, source, form_version, shown, locale, actor_kind, actor_key FROM consent_proofs",
		"INSERT INTO consent_ledger SELECT 2, seq, at, subject_kind, subject_id, purposes, state, was_allowed, was_denied, evidence, proof_id, hash FROM consent_ledger",
		"UPDATE organisations SET (ledger_count, ledger_hash) = (SELECT ledger_count, ledger_hash FROM organisations WHERE id = 1) WHERE id = 2",
	} {
		if _, err := r.writer.ExecContext(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	_, err := r.VerifyLedger(t.Context(), beta)
	if bad, ok := errors.AsType[*LedgerError](err); !ok || bad.Seq != 1 || bad.Org != beta {
		t.Errorf("copied ledger: %v", err)
	}
	if _, err := r.VerifyLedger(t.Context(), acme); err != nil {
		t.Error(err)
	}
}

// TestLedgerPages has more entries than a page, from one call and from many, over
// a restart.
func TestLedgerPages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.db")
	r := open(t, path)
	acme := org(t, r, "acme")
	var changes []PreferenceChange
	for i := range 2*feedPage - 3 {
		changes = append(changes, PreferenceChange{Address: fmt.Sprintf("u%d@example.com", i%700), Purposes: Purposes(1 + i%15), State: Preference(i % 3)})
	}
	prefer(t, r, acme, changes...)
	for i := range 3 {
		if i == 1 {
			r.Close()
			r = open(t, path)
		}
		prefer(t, r, acme, changes[i])
		want := int64(len(changes) + i + 1)
		if n, err := r.VerifyLedger(t.Context(), acme); n != want || err != nil {
			t.Errorf("%d entries, want %d, %v", n, want, err)
		}
		last := int64(0)
		for e, err := range r.Ledger(t.Context(), acme, 0) {
			if last++; err != nil || e.Seq != last || e.Source == "" {
				t.Fatalf("entry %+v, %v", e, err)
			}
		}
		if last != want {
			t.Errorf("%d entries", last)
		}
	}
	if err := r.Check(t.Context()); err != nil {
		t.Error(err)
	}
}
