package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
)

func collect[T any](t *testing.T, seq iter.Seq2[T, error]) (out []T) {
	t.Helper()
	for row, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, row)
	}
	return out
}

// TestFeeds reads more than one page of everything, one email being itself larger
// than a page, from every kind of starting point.
func TestFeeds(t *testing.T) {
	r := fresh(t)
	acme, beta := org(t, r, "acme"), org(t, r, "beta")
	var emails []Email
	var people []Recipient
	var joins []EmailRecipient
	var links []Link
	add := func(to, from, urls int) {
		in := mail()
		for i := from; i < to; i++ {
			in.Recipients = append(in.Recipients, NewRecipient{Address: fmt.Sprintf("u%d@example.com", i)})
		}
		in.Links = slices.Repeat([]string{"https://example.com"}, urls)
		e := register(t, r, acme, in)
		register(t, r, beta, mail("a@example.com"))
		emails, links = append(emails, e.Email), append(links, e.Links...)
		slices.SortFunc(e.Recipients, func(a, b Addressee) int { return int(a.ID - b.ID) })
		for _, p := range e.Recipients {
			joins = append(joins, EmailRecipient{acme, e.ID, p.ID, AllPurposes})
			if int(p.ID) > len(people) {
				people = append(people, p.Recipient)
			}
		}
	}
	add(3, 0, 2)
	add(2*feedPage+5, 1, MaxLinks)
	add(2, 0, 0)
	add(7, 2, MaxLinks)
	for after := event.EmailID(0); after <= 5; after++ {
		from := min(int(after), len(emails))
		if got := collect(t, r.EmailsSince(t.Context(), acme, after)); !slices.EqualFunc(got, emails[from:], sameEmail) {
			t.Errorf("emails after %d: %v", after, got)
		}
		rest := slices.DeleteFunc(slices.Clone(joins), func(j EmailRecipient) bool { return j.Email <= after })
		if got := collect(t, r.EmailRecipientsSince(t.Context(), acme, after)); !slices.Equal(got, rest) {
			t.Errorf("%d email recipients after %d, want %d", len(got), after, len(rest))
		}
		restLinks := slices.DeleteFunc(slices.Clone(links), func(l Link) bool { return l.Email <= after })
		if got := collect(t, r.LinksSince(t.Context(), acme, after)); !slices.Equal(got, restLinks) {
			t.Errorf("%d links after %d, want %d", len(got), after, len(restLinks))
		}
	}
	for _, after := range []int{0, 1, feedPage, len(people) - 1, len(people), len(people) + 1} {
		from := min(after, len(people))
		if got := collect(t, r.RecipientsSince(t.Context(), acme, event.RecipientID(after))); !slices.Equal(got, people[from:]) {
			t.Errorf("%d recipients after %d, want %d", len(got), after, len(people)-from)
		}
	}
}

// plan returns how SQLite would run the query, one line per step.
func plan(t *testing.T, r *Registry, query string) string {
	t.Helper()
	var steps []struct {
		ID      int    `bun:"id"`
		Parent  int    `bun:"parent"`
		Notused int    `bun:"notused"`
		Detail  string `bun:"detail"`
	}
	if err := r.reader.NewRaw("EXPLAIN QUERY PLAN ?", bun.Safe(query)).Scan(t.Context(), &steps); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, s := range steps {
		lines = append(lines, s.Detail)
	}
	return strings.Join(lines, "\n")
}

// TestQueriesGoByIndex holds the hot queries to searches: a scan of an
// organisation's rows would pass every other test and cost seconds later.
func TestQueriesGoByIndex(t *testing.T) {
	r := fresh(t)
	keys := slices.Repeat([]string{"a@example.com"}, rowsPerStatement)
	for name, tc := range map[string]struct{ query, want string }{
		"recipients by address": {lookUp(r.reader, 1, keys).String(), "r USING INDEX sqlite_autoindex_recipients_2 (org_id=? AND address_key=?)"},
		"email changes":         {r.page(&[]emailRow{}, 1).Where("change > 5").Order("change").String(), "e USING INDEX emails_by_change (org_id=? AND change>?)"},
		"ledger":                {r.page(&[]ledgerRow{}, 1).Where("seq > 5").Order("seq").String(), "cl USING PRIMARY KEY (org_id=? AND seq>?)"},
		"people by external id": {"SELECT * FROM people WHERE org_id = 1 AND kind = 'lead' AND external_id = 'x'", "people USING INDEX sqlite_autoindex_people_2 (org_id=? AND kind=? AND external_id=?)"},
		"emails":                {r.page(&[]emailRow{}, 1).Where("id > 5").Order("id").String(), "e USING PRIMARY KEY (org_id=? AND id>?)"},
		"links": {r.page(&[]linkRow{}, 1).Where("(email_id, ordinal) > (5, 9)").Order("email_id", "ordinal").String(),
			"l USING PRIMARY KEY (org_id=? AND (email_id,ordinal)>(?,?))"},
		"email recipients": {r.page(&[]emailRecipientRow{}, 1).Where("(email_id, recipient_id) > (5, 9)").Order("email_id", "recipient_id").String(),
			"er USING PRIMARY KEY (org_id=? AND (email_id,recipient_id)>(?,?))"},
	} {
		if got := plan(t, r, tc.query); !strings.HasSuffix(got, "SEARCH "+tc.want) || strings.Contains(got, "TEMP") {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// TestConsentGoesByIndex allows two scans: of the list asked for, and of the index
// that holds nothing but what is loaded.
func TestConsentGoesByIndex(t *testing.T) {
	r := fresh(t)
	for name, query := range map[string]string{
		"answers": r.reader.NewRaw(answersQuery, "[]", 1).String(), "reached": r.reader.NewRaw(reachedQuery, "[]", 1, "[]", 1).String(), "load": answeredRecipients,
	} {
		for line := range strings.Lines(plan(t, r, query)) {
			if !strings.HasPrefix(line, "SEARCH") && !strings.HasPrefix(line, "SCAN wanted") && !strings.HasPrefix(line, "SCAN recipients USING COVERING INDEX recipients_answered") &&
				!slices.Contains([]string{"COMPOUND QUERY", "LEFT-MOST SUBQUERY", "UNION ALL"}, strings.TrimSpace(line)) {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}

func TestFeedStops(t *testing.T) {
	r := fresh(t)
	acme := org(t, r, "acme")
	for range 3 {
		register(t, r, acme, mail("a@example.com"))
	}
	seen := 0
	for e, err := range r.EmailsSince(t.Context(), acme, 0) {
		if err != nil {
			t.Fatal(err)
		}
		// The consumer may use the registry while it reads.
		register(t, r, acme, mail("b@example.com"))
		if seen++; e.ID == 2 {
			break
		}
	}
	if seen != 2 {
		t.Errorf("%d emails before the break", seen)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	errs := 0
	for _, err := range r.EmailsSince(ctx, acme, 0) {
		if errs++; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	}
	if errs != 1 {
		t.Errorf("%d errors", errs)
	}
}

func sameEmail(a, b Email) bool { return reflect.DeepEqual(a, b) }
