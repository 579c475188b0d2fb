package registry

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"mailwake/engine/event"
)

// permissions allow everything for many addresses, in order.
func permissions() []PreferenceChange {
	changes := make([]PreferenceChange, many)
	for i := range changes {
		changes[i] = PreferenceChange{Address: address(i + 1), Purposes: AllPurposes, State: Allowed}
	}
	return changes
}

func address(n int) string { return fmt.Sprintf("p%d@example.com", n) }

// TestRefusalDuringImport: a refusal or an erasure needs no more than the writer's
// turn while a set of permissions is applied, is in force when the call returns, and
// stays so when the older permission has come, also after a crash. The ledger has all.
func TestRefusalDuringImport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.db")
	r := open(t, path)
	acme := org(t, r, "acme")
	if _, err := r.PutPerson(t.Context(), acme, Person{Kind: Contact, ExternalID: "c", Addresses: []string{address(1)}}); err != nil {
		t.Fatal(err)
	}
	in := append(permissions(), PreferenceChange{Person: PersonKey{Contact, "c"}, Purposes: AllPurposes, State: Allowed})
	asked(t, r, acme, in)
	page := Proof{Source: "page", Text: "Stop?", Locale: "en", Evidence: "its own", Actor: Actor{Kind: ActorRecipient}}
	set := func(c PreferenceChange) {
		t.Helper()
		if err := r.SetPreferences(t.Context(), acme, []PreferenceChange{c}, page); err != nil {
			t.Fatal(err)
		}
	}
	denied := map[event.RecipientID]Purposes{}
	refuse := func(c PreferenceChange, id event.RecipientID) {
		t.Helper()
		c.State = Denied
		set(c)
		denied[id] |= c.Purposes
	}
	inForce := func(r *Registry, when string) {
		t.Helper()
		for id, set := range denied {
			for _, kind := range []event.Kind{event.Open, event.Click} {
				if r.Decide(acme, id, kind).Allow == set.Has(PurposeOf(kind)) {
					t.Errorf("%s: %v of recipient %d is decided wrongly", when, kind, id)
				}
			}
		}
	}
	refuse(PreferenceChange{Person: PersonKey{Contact, "c"}, Purposes: AllPurposes}, 1)
	refuse(PreferenceChange{Address: address(many), Purposes: PurposesOf(PurposeClick)}, 2) // is new
	inForce(r, "before the first piece")
	applyOne(t, r)
	refuse(PreferenceChange{Address: address(2), Purposes: AllPurposes}, 3)           // its permission has come
	refuse(PreferenceChange{Address: address(many - 1), Purposes: AllPurposes}, 1003) // and this one's has not
	if _, err := r.BeginErasure(t.Context(), acme, Whose{Address: address(many)}, BySystem()); err != nil {
		t.Fatal(err)
	}
	denied[2] = AllPurposes
	inForce(r, "after the first piece")
	inForce(crashed(t, path), "after a crash")
	for applyOne(t, r) {
		inForce(r, "meanwhile")
	}
	inForce(r, "at the end")
	if v := r.Decide(acme, 500, event.Open); !v.Allow {
		t.Errorf("a permission is not in force: %v", v.Reasons)
	}
	if err := r.Check(t.Context()); err != nil {
		t.Error(err)
	}
	var about []string
	for e, err := range r.Ledger(t.Context(), acme, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Subject == OfRecipient(2) {
			about = append(about, fmt.Sprintf("%v %v %s %s %s", e.State, e.Purposes.Names(), e.Source, e.Text, e.Evidence))
		}
	}
	want := []string{
		"denied [click] page Stop? its own", "denied [open click attachment reply] erasure  erasure 1",
		"allowed [open click attachment reply] file  of all", "denied [open click attachment reply] erasure  entry 1005 again",
	}
	if !slices.Equal(about, want) {
		t.Errorf("the ledger says\n%s\nwant\n%s", strings.Join(about, "\n"), strings.Join(want, "\n"))
	}
}

// TestOrderOfAsking: what counts is when a change was asked for: a set that waits
// for another one undoes nothing that was set meanwhile, but what was set before.
func TestOrderOfAsking(t *testing.T) {
	r := fresh(t)
	acme := org(t, r, "acme")
	first := permissions()
	asked(t, r, acme, first)
	refuse := func(n int) {
		t.Helper()
		if err := r.SetPreferences(t.Context(), acme, []PreferenceChange{{Address: address(n), Purposes: AllPurposes, State: Denied}}, ofFile); err != nil {
			t.Fatal(err)
		}
	}
	refuse(1)
	second, err := r.TakePlace(t.Context(), acme)
	if err != nil {
		t.Fatal(err)
	}
	refuse(2)
	for applyOne(t, r) {
	}
	taken(t, second, first)
	for applyOne(t, r) {
	}
	for n, want := range map[int]bool{1: true, 2: false, 3: true} {
		who, err := r.RecipientByAddress(t.Context(), acme, address(n))
		if err != nil || r.Decide(acme, who.ID, event.Open).Allow != want {
			t.Errorf("address %d: %v, %v", n, !want, err)
		}
	}
	if err := r.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestInterleavedHistories holds random changes between the pieces of random sets to
// a map in which each set is applied as a whole when it is asked for.
func TestInterleavedHistories(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 3))
			path := filepath.Join(t.TempDir(), "registry.db")
			r := open(t, path)
			acme := org(t, r, "acme")
			model := map[string]Answers{}
			random := func() PreferenceChange {
				c := PreferenceChange{Address: address(rng.IntN(60)), Purposes: Purposes(1 + rng.IntN(int(AllPurposes))), State: Preference(rng.IntN(3))}
				model[c.Address] = model[c.Address].with(c.Purposes, c.State)
				return c
			}
			agree := func(who string, about Purposes) {
				t.Helper()
				to, err := r.RecipientByAddress(t.Context(), acme, who)
				got := r.Snapshot().consent[acme-1].answers(to.ID)
				if rest := AllPurposes &^ about; err != nil || got.with(rest, Unknown) != model[who].with(rest, Unknown) {
					t.Fatalf("%s: %+v, want %+v of %v, %v", who, got, model[who], about.Names(), err)
				}
			}
			for range 2 {
				set := make([]PreferenceChange, 2*pieceChanges+rng.IntN(pieceChanges))
				for i := range set {
					set[i] = random()
				}
				asked(t, r, acme, set)
				for more := true; more; {
					for range rng.IntN(8) {
						c := random()
						prefer(t, r, acme, c)
						agree(c.Address, c.Purposes)
					}
					if rng.IntN(4) == 0 { // which applies the rest
						r = crashed(t, path)
						path = r.path
						break
					}
					more = applyOne(t, r)
				}
				for who := range maps.Keys(model) {
					agree(who, AllPurposes)
				}
				select {
				case <-r.giving:
					r.unfinished.Store(false)
				default: // it was reopened
				}
			}
			if err := r.Check(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRefusalsBesideImport: the same in whatever order the scheduler makes.
func TestRefusalsBesideImport(t *testing.T) {
	r := fresh(t)
	acme := org(t, r, "acme")
	if err := r.SetPreferences(t.Context(), acme, permissions(), ofFile); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 2 {
		place, err := r.TakePlace(t.Context(), acme)
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			defer place.Leave()
			if err := place.SetPreferences(t.Context(), permissions(), ofFile); err != nil {
				t.Error(err)
			}
		})
	}
	refused := func() (ids []event.RecipientID) {
		for i := range 40 {
			ids = append(ids, event.RecipientID(60*i+1))
		}
		return ids
	}()
	for _, id := range refused {
		prefer(t, r, acme, PreferenceChange{Subject: OfRecipient(id), Purposes: AllPurposes, State: Denied})
		if r.Decide(acme, id, event.Open).Allow {
			t.Errorf("the refusal of %d is not in force", id)
		}
	}
	all.Wait()
	if r.Places() {
		t.Error("places are taken")
	}
	if got := slices.Collect(r.Snapshot().Consent(acme).Denied(PurposeOpen)); !slices.Equal(got, refused) {
		t.Errorf("at the end %v refuse", got)
	}
	if err := r.Check(t.Context()); err != nil {
		t.Error(err)
	}
}
