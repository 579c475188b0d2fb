package registry

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"mailwake/engine/event"
)

func TestPersonFaults(t *testing.T) {
	r := fresh(t)
	acme, beta := org(t, r, "acme"), org(t, r, "beta")
	lead := person(t, r, acme, Person{Kind: Lead, ExternalID: "lead"})
	person(t, r, beta, Person{Kind: Account, ExternalID: "account"})
	foreign := person(t, r, beta, Person{Kind: Account, ExternalID: "second"})
	many := make([]string, MaxAddresses+1)
	for name, tc := range map[string]struct {
		change func(*Person)
		code   string
	}{
		"kind":             {func(p *Person) { p.Kind = "secret" }, "person_invalid"},
		"no kind":          {func(p *Person) { p.Kind = "" }, "person_invalid"},
		"no external id":   {func(p *Person) { p.ExternalID = "" }, "person_invalid"},
		"external id":      {func(p *Person) { p.ExternalID = "secret\n" }, "person_invalid"},
		"name":             {func(p *Person) { p.Name = strings.Repeat("s", MaxNameBytes+1) }, "person_invalid"},
		"address":          {func(p *Person) { p.Addresses = []string{"a@example.com", "secret"} }, "address_invalid"},
		"many":             {func(p *Person) { p.Addresses = many }, "too_many_addresses"},
		"account of lead":  {func(p *Person) { p.Kind, p.Account = Lead, foreign.ID }, "person_account_invalid"},
		"no account":       {func(p *Person) { p.Account = 99 }, "person_account_invalid"},
		"lead as account":  {func(p *Person) { p.Account = lead.ID }, "person_account_invalid"},
		"foreign account":  {func(p *Person) { p.Account = foreign.ID }, "person_account_invalid"},
		"negative account": {func(p *Person) { p.Account = -1 }, "person_account_invalid"},
	} {
		p := Person{Kind: Contact, ExternalID: "c", Name: "secret", Addresses: []string{"secret@example.com"}}
		tc.change(&p)
		_, err := r.PutPeople(t.Context(), acme, []Person{{Kind: Contact, ExternalID: "good", Addresses: []string{"good@example.com"}}, p})
		wantCode(t, err, tc.code)
		if e, ok := errors.AsType[*ChangeError](err); !ok || e.Index != 1 || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
		_, err = r.PutPerson(t.Context(), acme, p)
		wantCode(t, err, tc.code)
		if _, ok := errors.AsType[*ChangeError](err); ok {
			t.Errorf("%s: the fault of one person has an index", name)
		}
	}
	_, err := r.PutPeople(t.Context(), acme, make([]Person, MaxPeople+1))
	wantCode(t, err, "too_many_people")
	_, err = r.PutPerson(t.Context(), 9, Person{Kind: Lead, ExternalID: "l"})
	wantCode(t, err, "org_not_found")
	if people, err := r.People(t.Context(), acme, PeoplePage{}); err != nil || len(people) != 1 {
		t.Errorf("refused people are there: %+v, %v", people, err)
	}
	if e := register(t, r, acme, mail("first@example.com")); e.Recipients[0].ID != 1 {
		t.Errorf("refused people's addresses took ids: %+v", e)
	}
}

func TestPeople(t *testing.T) {
	r := fresh(t)
	acme, beta := org(t, r, "acme"), org(t, r, "beta")
	account := person(t, r, acme, Person{Kind: Account, ExternalID: "x ?0 '", Name: "Ö & Sons"})
	ann := person(t, r, acme, Person{
		Org: 7, ID: 9, Kind: Contact, ExternalID: "x ?0 '", Name: "Ann", Account: account.ID,
		Addresses: []string{" Ann@Bücher.example ", "b@example.com", "ANN@xn--bcher-kva.example"},
	})
	want := Person{acme, 2, Contact, "x ?0 '", "Ann", account.ID, []string{"Ann@Bücher.example", "b@example.com"}, r.now()}
	if !reflect.DeepEqual(ann, want) {
		t.Errorf("%+v\nwant %+v", ann, want)
	}
	lead := person(t, r, acme, Person{Kind: Lead, ExternalID: "l", Addresses: []string{"b@EXAMPLE.com"}})
	person(t, r, beta, Person{Kind: Lead, ExternalID: "l", Addresses: []string{"b@example.com"}})
	for name, read := range map[string]func() (Person, error){
		"id":          func() (Person, error) { return r.Person(t.Context(), acme, 2) },
		"external id": func() (Person, error) { return r.PersonByExternalID(t.Context(), acme, PersonKey{Contact, "x ?0 '"}) },
	} {
		if got, err := read(); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("by %s: %+v, %v", name, got, err)
		}
	}
	both, err := r.PeopleByAddress(t.Context(), acme, " B@example.com")
	if err != nil || len(both) != 2 || both[0].ID != ann.ID || both[1].ID != lead.ID || both[1].Addresses[0] != "b@example.com" {
		t.Errorf("by address: %+v, %v", both, err)
	}
	if none, err := r.PeopleByAddress(t.Context(), acme, "nobody@example.com"); err != nil || len(none) != 0 {
		t.Errorf("%+v, %v", none, err)
	}
	_, err = r.PeopleByAddress(t.Context(), acme, "nobody")
	wantCode(t, err, "address_invalid")
	for _, page := range []struct {
		PeoplePage
		want string
	}{{PeoplePage{}, "[1 2 3]"}, {PeoplePage{Limit: 2}, "[1 2]"}, {PeoplePage{After: 2}, "[3]"}, {PeoplePage{Kind: Contact, Limit: 9999}, "[2]"}, {PeoplePage{Kind: "none"}, "[]"}} {
		list, err := r.People(t.Context(), acme, page.PeoplePage)
		ids := []PersonID{}
		for _, p := range list {
			ids = append(ids, p.ID)
		}
		if err != nil || fmt.Sprint(ids) != page.want {
			t.Errorf("%+v: %v, %v", page, ids, err)
		}
	}
	_, err = r.Person(t.Context(), beta, 2)
	wantCode(t, err, "person_not_found")
	_, err = r.PersonByExternalID(t.Context(), beta, PersonKey{Contact, "x ?0 '"})
	wantCode(t, err, "person_not_found")
	if to, err := r.RecipientByAddress(t.Context(), acme, "ann@bücher.example"); err != nil || to.ID != 1 || to.Name != "Ann" || to.Person != "x ?0 '" {
		t.Errorf("recipient %+v, %v", to, err)
	}
	_, err = r.RecipientByAddress(t.Context(), acme, "nobody@example.com")
	wantCode(t, err, "recipient_not_found")
	_, err = r.Recipient(t.Context(), beta, 2)
	wantCode(t, err, "recipient_not_found")
}

func TestPreferenceFaults(t *testing.T) {
	r := fresh(t)
	acme, beta := org(t, r, "acme"), org(t, r, "beta")
	person(t, r, beta, Person{Kind: Lead, ExternalID: "theirs", Addresses: []string{"theirs@example.com"}})
	proof := Proof{Source: "test", Actor: BySystem()}
	good := PreferenceChange{Address: "secret@example.com", Purposes: AllPurposes, State: Denied}
	for name, tc := range map[string]struct {
		change PreferenceChange
		code   string
	}{
		"no subject":       {PreferenceChange{Purposes: 1, State: Denied}, "preference_subject_invalid"},
		"two subjects":     {PreferenceChange{Address: "a@example.com", Subject: OfPerson(1), Purposes: 1}, "preference_subject_invalid"},
		"subject":          {PreferenceChange{Subject: Subject{"secret", 1}, Purposes: 1}, "preference_subject_invalid"},
		"no purpose":       {PreferenceChange{Address: "a@example.com", State: Denied}, "preference_invalid"},
		"purpose":          {PreferenceChange{Address: "a@example.com", Purposes: 16, State: Denied}, "preference_invalid"},
		"state":            {PreferenceChange{Address: "a@example.com", Purposes: 1, State: 3}, "preference_invalid"},
		"evidence":         {PreferenceChange{Address: "a@example.com", Purposes: 1, Evidence: "secret\n"}, "preference_invalid"},
		"address":          {PreferenceChange{Address: "secret", Purposes: 1}, "address_invalid"},
		"person":           {PreferenceChange{Person: PersonKey{Lead, "theirs"}, Purposes: 1}, "person_not_found"},
		"person of others": {PreferenceChange{Subject: OfPerson(1), Purposes: 1}, "person_not_found"},
		"recipient":        {PreferenceChange{Subject: OfRecipient(2), Purposes: 1}, "recipient_not_found"},
		"no recipient":     {PreferenceChange{Subject: OfRecipient(-1), Purposes: 1}, "recipient_not_found"},
		"bad utf-8":        {PreferenceChange{Person: PersonKey{Lead, "secret\xff\x00"}, Purposes: 1}, "person_not_found"},
	} {
		err := r.SetPreferences(t.Context(), acme, []PreferenceChange{good, tc.change}, proof)
		wantCode(t, err, tc.code)
		if e, ok := errors.AsType[*ChangeError](err); !ok || e.Index != 1 || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*Proof){
		"source":  func(p *Proof) { p.Source = "" },
		"form":    func(p *Proof) { p.FormVersion = "secret\x00" },
		"locale":  func(p *Proof) { p.Locale = strings.Repeat("secret", 10) },
		"proof's": func(p *Proof) { p.Evidence = strings.Repeat("secret", 1000) },
		"text":    func(p *Proof) { p.Text = "secret\xff" },
		"bytes":   func(p *Proof) { p.Text = strings.Repeat("s", MaxProofTextBytes+1) },
	} {
		bad := proof
		change(&bad)
		err := r.SetPreferences(t.Context(), acme, []PreferenceChange{good}, bad)
		wantCode(t, err, "proof_invalid")
		if !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantCode(t, r.SetPreferences(t.Context(), acme, []PreferenceChange{good}, Proof{Source: "test"}), "actor_invalid")
	wantCode(t, r.SetPreferences(t.Context(), 9, []PreferenceChange{good}, proof), "org_not_found")
	wantCode(t, r.SetPreferences(t.Context(), acme, make([]PreferenceChange, MaxChanges+1), proof), "too_many_changes")
	if n, err := r.VerifyLedger(t.Context(), acme); n != 0 || err != nil {
		t.Errorf("refused changes are in the ledger: %d, %v", n, err)
	}
	if _, err := r.RecipientByAddress(t.Context(), acme, "secret@example.com"); err == nil {
		t.Error("a refused change left an address behind")
	}
	_, err := r.Preferences(t.Context(), acme, Subject{})
	wantCode(t, err, "preference_subject_invalid")
	_, err = r.Preferences(t.Context(), acme, OfPerson(1))
	wantCode(t, err, "person_not_found")
	if err := r.SetPreferences(t.Context(), acme, nil, proof); err != nil {
		t.Error(err)
	}
}

// TestPreferenceOfPerson shows what View Preferences shows.
func TestPreferenceOfPerson(t *testing.T) {
	r := fresh(t)
	acme := org(t, r, "acme")
	account := person(t, r, acme, Person{Kind: Account, ExternalID: "a"})
	ann := person(t, r, acme, Person{Kind: Contact, ExternalID: "c", Account: account.ID, Addresses: []string{"two@example.com", "one@example.com"}})
	prefer(t, r, acme,
		PreferenceChange{Subject: OfPerson(account.ID), Purposes: PurposesOf(PurposeReply), State: Denied},
		PreferenceChange{Subject: OfPerson(account.ID), Purposes: PurposesOf(PurposeOpen), State: Allowed},
		PreferenceChange{Subject: OfPerson(ann.ID), Purposes: PurposesOf(PurposeClick), State: Allowed},
		PreferenceChange{Address: "one@example.com", Purposes: PurposesOf(PurposeClick), State: Denied})
	got, err := r.Preferences(t.Context(), acme, OfPerson(ann.ID))
	want := PreferenceState{
		Subject: OfPerson(ann.ID), Own: Answers{Allowed: PurposesOf(PurposeClick)}, Inherited: PurposesOf(PurposeReply),
		Addresses: []AddressAnswers{
			{1, "two@example.com", Answers{Allowed: PurposesOf(PurposeClick), Denied: PurposesOf(PurposeReply)}},
			{2, "one@example.com", Answers{Denied: PurposesOf(PurposeReply, PurposeClick)}},
		},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}
	// An account allows nothing for its contacts: only its refusals are inherited.
	if _, err := r.SetPolicy(t.Context(), acme, Policy{Unknown: OptIn}, BySystem()); err != nil {
		t.Fatal(err)
	}
	if v := r.Decide(acme, 1, event.Open); v.Reasons != RecipientUnknownOptIn {
		t.Errorf("open under opt-in: %+v", v)
	}
	if v := r.Decide(acme, 1, event.Reply); v.Reasons != RecipientDenied {
		t.Errorf("reply under opt-in: %+v", v)
	}
	if v := r.Decide(acme, 1, event.Bounced); !v.Allow {
		t.Errorf("bounce: %+v", v)
	}
}

// TestRefusalBegins holds the time of a refusal to when what is refused changed,
// not to other answers, since rows are purged so long after it.
func TestRefusalBegins(t *testing.T) {
	c := newClock()
	r := fresh(t, func(o *Options) { o.Clock = c.Now })
	acme := org(t, r, "acme")
	set := func(p Purpose, to Preference) (since event.Micros) {
		c.advance(time.Hour)
		prefer(t, r, acme, PreferenceChange{Address: "a@example.com", Purposes: PurposesOf(p), State: to})
		for refusal, err := range r.Refusals(t.Context(), acme) {
			if err != nil {
				t.Fatal(err)
			}
			since = refusal.Since
		}
		return since
	}
	begun := set(PurposeOpen, Denied)
	if begun != r.now() {
		t.Errorf("refused at %d, since %d", r.now(), begun)
	}
	if since := set(PurposeClick, Allowed); since != begun {
		t.Errorf("an allowance moved the refusal to %d", since)
	}
	if since := set(PurposeOpen, Denied); since != begun {
		t.Errorf("refusing again moved the refusal to %d", since)
	}
	if since := set(PurposeClick, Denied); since != r.now() {
		t.Errorf("refusing more left the refusal at %d", since)
	}
	if set(PurposeClick, Allowed); set(PurposeOpen, Unknown) != 0 {
		t.Error("nothing is refused and something is listed")
	}
}
