package registry

import (
	"slices"
	"testing"

	"mailwake/engine/problem"
)

// TestCheckPreferences: what is found of each change is what SetPreferences says of
// it alone, and nothing is changed.
func TestCheckPreferences(t *testing.T) {
	r := fresh(t)
	acme := org(t, r, "acme")
	if _, err := r.PutPerson(t.Context(), acme, Person{Kind: Contact, ExternalID: "c-1", Addresses: []string{"a@example.com"}}); err != nil {
		t.Fatal(err)
	}
	all := []PreferenceChange{
		{Person: PersonKey{Contact, "c-1"}, Purposes: AllPurposes, State: Denied},
		{Person: PersonKey{Contact, "c-2"}, Purposes: AllPurposes, State: Denied},
		{Person: PersonKey{Lead, "c-1"}, Purposes: AllPurposes, State: Denied},
		{Address: "new@example.com", Purposes: AllPurposes, State: Allowed},
		{Address: "nobody", Purposes: AllPurposes, State: Allowed},
		{Subject: OfRecipient(1), Purposes: AllPurposes},
		{Subject: OfRecipient(2), Purposes: AllPurposes},
		{Subject: OfPerson(1), Purposes: AllPurposes},
		{Subject: OfPerson(9), Purposes: AllPurposes},
		{Address: "a@example.com", Purposes: 0, State: Denied},
		{Address: "a@example.com", Purposes: AllPurposes, State: Denied + 1},
		{Address: "a@example.com", Purposes: AllPurposes, State: Denied, Evidence: "a\nb"},
		{Purposes: AllPurposes},
		{Address: "a@example.com", Subject: OfRecipient(1), Purposes: AllPurposes},
	}
	found := map[int]string{}
	var order []int
	err := r.CheckPreferences(t.Context(), acme, all, func(e *ChangeError) {
		found[e.Index] = problem.Of(e).Code
		order = append(order, e.Index)
	})
	if err != nil || !slices.IsSorted(order) || len(order) != 10 {
		t.Fatal(order, err)
	}
	if head, err := r.LedgerHead(t.Context(), acme); err != nil || head.Entries != 0 {
		t.Errorf("%+v, %v", head, err)
	}
	if _, err := r.RecipientByAddress(t.Context(), acme, "new@example.com"); err == nil {
		t.Error("a check has created a recipient")
	}
	for i, c := range all {
		one := fresh(t)
		acme := org(t, one, "acme")
		if _, err := one.PutPerson(t.Context(), acme, Person{Kind: Contact, ExternalID: "c-1", Addresses: []string{"a@example.com"}}); err != nil {
			t.Fatal(err)
		}
		want := ""
		if err := one.SetPreferences(t.Context(), acme, []PreferenceChange{c}, Proof{Source: "test", Actor: BySystem()}); err != nil {
			want = problem.Of(err).Code
		}
		if found[i] != want {
			t.Errorf("change %d: found %q, SetPreferences says %q", i, found[i], want)
		}
	}
	wantCode(t, r.CheckPreferences(t.Context(), 9, all, nil), "org_not_found")
	wantCode(t, r.CheckPreferences(t.Context(), acme, make([]PreferenceChange, MaxChanges+1), nil), "too_many_changes")
}
