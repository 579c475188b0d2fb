package registry

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"mailwake/engine/event"
)

// million makes a registry with 1,000,000 contacts of 1,000 accounts in one
// organisation, of whom refusals, spread at random, refuse everything.
func million(b testing.TB, refusals int) (r *Registry, path string, acme event.OrgID) {
	b.Helper()
	path = filepath.Join(b.TempDir(), "registry.db")
	r = open(b, path)
	acme = org(b, r, "acme")
	const numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
	for _, s := range []struct {
		statement string
		n         int
	}{
		{numbers + `INSERT INTO recipients (org_id, id, address, address_key, name, person, created_at)
			SELECT 1, i, 'person' || i || '@example.com', 'person' || i || '@example.com', 'Name ' || i, 'crm' || i, 0 FROM n`, 1_000_000},
		{numbers + "INSERT INTO people (org_id, id, kind, external_id, name, created_at) SELECT 1, i, 'account', 'crm' || i, '', 0 FROM n", 1_000},
		{numbers + `INSERT INTO people (org_id, id, kind, external_id, name, account_id, created_at)
			SELECT 1, 1000 + i, 'contact', 'crm' || i, 'Name ' || i, 1 + i % 1000, 0 FROM n`, 1_000_000},
		{numbers + "INSERT INTO person_addresses (org_id, person_id, recipient_id, ordinal) SELECT 1, 1000 + i, i, 1 FROM n", 1_000_000},
		{"UPDATE organisations SET last_recipient_id = 1000000, last_person_id = 1000000 + ?", 1_000},
	} {
		if _, err := r.writer.ExecContext(b.Context(), s.statement, s.n); err != nil {
			b.Fatal(err)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	changes := make([]PreferenceChange, refusals)
	for i, n := range rng.Perm(1_000_000)[:refusals] {
		changes[i] = PreferenceChange{Subject: OfPerson(PersonID(1001 + n)), Purposes: AllPurposes, State: Denied}
	}
	begun := time.Now()
	prefer(b, r, acme, changes...)
	b.Logf("%d preferences set in one call in %v", refusals, time.Since(begun))
	return r, path, acme
}

// BenchmarkConsent is about 1,000,000 people with 200,000 refusals: what asking
// costs, what a change costs until it is seen, how much the snapshot holds, and how
// long opening takes.
func BenchmarkConsent(b *testing.B) {
	const refusals = 200_000
	r, path, acme := million(b, refusals)
	ids := make([]event.RecipientID, 4096)
	for i := range ids {
		ids[i] = event.RecipientID(1 + rand.IntN(1_000_000))
	}
	b.Run("decide", func(b *testing.B) {
		b.ReportAllocs()
		denied, i := 0, 0
		for b.Loop() {
			if !r.Decide(acme, ids[i%len(ids)], event.Open).Allow {
				denied++
			}
			i++
		}
		b.ReportMetric(float64(denied)/float64(b.N), "refused/op")
	})
	b.Run("draft", func(b *testing.B) { // what a change costs the snapshot, without the store
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			next := draft{Snapshot: *r.current.Load()}
			id := ids[i%len(ids)]
			was := next.consent[acme-1].answers(id)
			next.consentOf(acme).put(id, was, was.with(AllPurposes, Preference(1+i%2)))
		}
	})
	b.Run("change", func(b *testing.B) { // with the store, until Decide obeys
		for i := 0; b.Loop(); i++ {
			prefer(b, r, acme, PreferenceChange{Subject: OfPerson(PersonID(1000 + ids[i%len(ids)])), Purposes: AllPurposes, State: Preference(1 + i%2)})
		}
	})
	b.Run("account of 1,000", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			prefer(b, r, acme, PreferenceChange{Subject: OfPerson(7), Purposes: AllPurposes, State: Preference(1 + i%2)})
		}
	})
	b.Run("iterate", func(b *testing.B) {
		for b.Loop() {
			n := 0
			for range r.Snapshot().Consent(acme).Denied(PurposeOpen) {
				n++
			}
			if n < refusals/2 {
				b.Fatal(n)
			}
		}
	})
	b.Run("import of 200,000", func(b *testing.B) { // and what following an email and a refusal wait meanwhile
		for i := 0; b.Loop(); i++ {
			changes := make([]PreferenceChange, refusals)
			for j := range changes {
				changes[j] = PreferenceChange{Subject: OfPerson(PersonID(1001 + j)), Purposes: AllPurposes, State: Preference(1 + i%2)}
			}
			done := make(chan error, 1)
			go func() {
				done <- r.SetPreferences(b.Context(), acme, changes, Proof{Source: "bench", Actor: BySystem()})
			}()
			longest, refusal := time.Duration(0), time.Duration(0)
			for under := true; under; {
				begun := time.Now()
				prefer(b, r, acme, PreferenceChange{Subject: OfRecipient(1), Purposes: AllPurposes})
				refusal = max(refusal, time.Since(begun))
				begun = time.Now()
				if _, err := r.RegisterEmail(b.Context(), acme, NewEmail{From: "a@b.example", Wish: true, Recipients: []NewRecipient{{Address: "person1@example.com"}}}); err != nil {
					b.Fatal(err)
				}
				longest = max(longest, time.Since(begun))
				select {
				case err := <-done:
					if under = false; err != nil {
						b.Fatal(err)
					}
				default:
				}
			}
			b.ReportMetric(float64(longest.Milliseconds()), "ms/longest-follow")
			b.ReportMetric(float64(refusal.Milliseconds()), "ms/longest-preference")
		}
	})
	b.Run("verify ledger", func(b *testing.B) {
		for b.Loop() {
			if _, err := r.VerifyLedger(b.Context(), acme); err != nil {
				b.Fatal(err)
			}
		}
	})
	if err := r.Close(); err != nil {
		b.Fatal(err)
	}
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			again, err := Open(context.Background(), Options{DSN: dsn(path)})
			if err != nil {
				b.Fatal(err)
			}
			again.Close()
		}
	})
}

// TestRefusalsAreSmall holds the memory of the snapshot's refusals to 4 bytes each,
// all four purposes together.
func TestRefusalsAreSmall(t *testing.T) {
	const people, refusals = 1_000_000, 200_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	sets := (&consentSets{}).clone()
	for _, n := range rand.New(rand.NewPCG(3, 4)).Perm(people)[:refusals] {
		sets.put(event.RecipientID(n+1), Answers{}, Answers{Denied: AllPurposes})
	}
	next := sets.clone() // what a change leaves behind must not hold it all twice
	next.put(1, sets.answers(1), Answers{Denied: AllPurposes})
	runtime.GC()
	runtime.ReadMemStats(&after)
	perRefusal := float64(int64(after.HeapAlloc)-int64(before.HeapAlloc)) / refusals
	t.Logf("%.2f bytes per refusal", perRefusal)
	if perRefusal > 4 {
		t.Errorf("%.2f bytes per refusal", perRefusal)
	}
	runtime.KeepAlive(next)
	runtime.KeepAlive(sets)
}
