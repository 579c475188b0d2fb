package registry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

const many = 2*pieceChanges + pieceChanges/2

// refusals are of so many addresses, the last of which is that of the first, allowed.
func refusals() []PreferenceChange {
	changes := make([]PreferenceChange, many)
	for i := range changes {
		changes[i] = PreferenceChange{Address: fmt.Sprintf("p%d@example.com", i+1), Purposes: AllPurposes, State: Denied}
	}
	changes[many-1] = PreferenceChange{Address: "p1@example.com", Purposes: PurposesOf(PurposeClick), State: Allowed, Evidence: "its own"}
	return changes
}

// appliedAll fails the test unless all of refusals is in force and in the ledger.
func appliedAll(t *testing.T, r *Registry, org event.OrgID) {
	t.Helper()
	if n, err := r.VerifyLedger(t.Context(), org); err != nil || n != many {
		t.Errorf("a ledger of %d entries, %v; want %d", n, err, many)
	}
	seq := 0
	for e, err := range r.Ledger(t.Context(), org, 0) {
		if err != nil {
			t.Fatal(err)
		}
		seq++
		want := event.RecipientID(seq)
		if seq == many {
			want = 1
		}
		if e.Subject != OfRecipient(want) || e.Source != "file" || (seq == many) != (e.Evidence == "its own") || seq != many && e.Evidence != "of all" {
			t.Fatalf("entry %d: %+v", seq, e)
		}
	}
	for id := event.RecipientID(1); id < many; id++ {
		if r.Decide(org, id, event.Open).Allow || r.Decide(org, id, event.Click).Allow != (id == 1) {
			t.Fatalf("recipient %d is decided wrongly", id)
		}
	}
	if left, err := r.reader.NewSelect().Model((*pieceRow)(nil)).Count(t.Context()); err != nil || left != 0 {
		t.Errorf("%d pieces are left, %v", left, err)
	}
}

var ofFile = Proof{Source: "file", Evidence: "of all", Actor: BySystem()}

// TestPiecesAllOrNone: many changes are all there, in order; none of them is with one
// that is faulty, in whichever piece.
func TestPiecesAllOrNone(t *testing.T) {
	r := fresh(t)
	acme := org(t, r, "acme")
	for place, fault := range map[int]PreferenceChange{
		0:        {Person: PersonKey{Contact, "nobody"}, Purposes: AllPurposes, State: Denied},
		many / 2: {Subject: OfRecipient(77), Purposes: AllPurposes, State: Denied},
		many - 1: {Subject: OfPerson(77), Purposes: AllPurposes, State: Denied},
	} {
		changes := refusals()
		changes[place] = fault
		err := r.SetPreferences(t.Context(), acme, changes, ofFile)
		if wrong, ok := errors.AsType[*ChangeError](err); !ok || wrong.Index != place {
			t.Errorf("fault at %d: %v", place, err)
		}
		if head, err := r.LedgerHead(t.Context(), acme); err != nil || head.Entries != 0 {
			t.Fatalf("fault at %d: %d entries, %v", place, head.Entries, err)
		}
	}
	if err := r.SetPreferences(t.Context(), acme+1, refusals(), ofFile); problem.Of(err).Code != "org_not_found" {
		t.Errorf("of no organisation: %v", err)
	}
	if err := r.SetPreferences(t.Context(), acme, refusals(), ofFile); err != nil {
		t.Fatal(err)
	}
	appliedAll(t, r, acme)
}

// asked takes the turn of sets of changes and takes this one; none of it is applied.
func asked(t *testing.T, r *Registry, org event.OrgID, changes []PreferenceChange) {
	t.Helper()
	place, err := r.TakePlace(t.Context(), org)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.takeGiving(t.Context()); err != nil {
		t.Fatal(err)
	}
	taken(t, place, changes)
}

// taken makes changes durable at their place, of which none is applied.
func taken(t *testing.T, place *Place, changes []PreferenceChange) {
	t.Helper()
	in, err := checked(changes, ofFile)
	if err == nil {
		err = place.r.takeInPieces(t.Context(), place.row, in, ofFile)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// applyOne applies the next piece and reports whether there was one.
func applyOne(t *testing.T, r *Registry) bool {
	t.Helper()
	found, err := r.applyNext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// crashed opens what is on disk at this moment.
func crashed(t *testing.T, path string) *Registry {
	t.Helper()
	image := filepath.Join(t.TempDir(), "registry.db")
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(path + suffix)
		if err == nil {
			err = os.WriteFile(image+suffix, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return open(t, image)
}

// TestPiecesLetOthersWrite: between the pieces the writer is free for emails; what
// needs records to stay waits; a crash is made up for.
func TestPiecesLetOthersWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.db")
	r := open(t, path)
	acme := org(t, r, "acme")
	asked(t, r, acme, refusals())
	appliedAll(t, crashed(t, path), acme)
	applyOne(t, r)
	appliedAll(t, crashed(t, path), acme)
	email, err := r.RegisterEmail(t.Context(), acme, NewEmail{From: "a@acme.example", Wish: true, Recipients: []NewRecipient{{Address: fmt.Sprintf("p%d@example.com", many-1)}}})
	if err != nil || email.Follow != FollowOn {
		t.Errorf("between pieces: %v, %v", email.Follow, err)
	}
	erasure, err := r.BeginErasure(t.Context(), acme, Whose{Address: "p1@example.com"}, BySystem())
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.EraseRecords(gone, acme, erasure.ID); !errors.Is(err, context.Canceled) {
		t.Errorf("deleting records did not wait: %v", err)
	}
	if err := r.SetPreferences(gone, acme, refusals(), ofFile); !errors.Is(err, context.Canceled) {
		t.Errorf("another set of changes did not wait: %v", err)
	}
}

// TestPiecesKeepEachSubjectsOrder: changes of people, of known and of new addresses,
// in any order: of each subject the last one counts, and has its entry last.
func TestPiecesKeepEachSubjectsOrder(t *testing.T) {
	r := fresh(t)
	acme := org(t, r, "acme")
	if _, err := r.PutPerson(t.Context(), acme, Person{Kind: Contact, ExternalID: "c", Addresses: []string{"c@example.com"}}); err != nil {
		t.Fatal(err)
	}
	who := []PreferenceChange{{Address: "new@example.com"}, {Person: PersonKey{Contact, "c"}}, {Subject: OfRecipient(1)}, {Address: "C@example.com"}}
	var changes []PreferenceChange
	for i := range many {
		c := who[i%len(who)]
		c.Purposes, c.State = AllPurposes, Denied
		if i >= many-len(who) {
			c.State = Allowed
		}
		changes = append(changes, c)
	}
	if err := r.SetPreferences(t.Context(), acme, changes, ofFile); err != nil {
		t.Fatal(err)
	}
	if n, err := r.VerifyLedger(t.Context(), acme); err != nil || n != many {
		t.Errorf("%d entries, %v", n, err)
	}
	for _, id := range []event.RecipientID{1, 2} {
		if v := r.Decide(acme, id, event.Open); !v.Allow {
			t.Errorf("recipient %d: %v", id, v.Reasons)
		}
	}
}
