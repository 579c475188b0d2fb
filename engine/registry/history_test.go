package registry

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// history drives a registry and the model through the same random steps.
type history struct {
	*testing.T
	rng    *rand.Rand
	path   string
	clock  *clock
	r      *Registry
	org    event.OrgID
	m      *model
	last   consentPicture
	before Consent // that last is of
	trace  []string
}

// consentPicture is everything that Consent says.
type consentPicture struct {
	version uint64
	says    string
}

// TestHistories holds Decide, Consent, follow states and the ledger to the model
// over random histories of preferences, account moves, addresses that move and are
// shared, policies, states of the organisation, emails, retries and restarts.
func TestHistories(t *testing.T) {
	for seed := range uint64(histories) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			h := &history{T: t, rng: rand.New(rand.NewPCG(seed, 11)), path: filepath.Join(t.TempDir(), "registry.db"), clock: newClock(), m: newModel()}
			h.open()
			// Another organisation with the same people must not be touched.
			h.org = org(t, h.r, "acme")
			other := org(t, h.r, "other")
			if _, err := h.r.PutPerson(t.Context(), other, Person{Kind: Contact, ExternalID: "c0", Addresses: []string{"a0@example.com"}}); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if t.Failed() {
					t.Logf("history:\n%s", strings.Join(h.trace, "\n"))
				}
			}()
			steps := []func(){h.putPeople, h.putPeople, h.prefer, h.prefer, h.prefer, h.preferNobody, h.policy, h.change, h.mail, h.mail, h.mail, h.retry, h.reopen}
			for range 30 {
				steps[h.rng.IntN(len(steps))]()
				h.compare()
				if t.Failed() {
					return
				}
			}
			h.settle(other)
		})
	}
}

// histories is the number of seeds: a few seconds' worth. Thousands were run.
const histories = 60

func (h *history) open() {
	h.r = open(h.T, h.path, func(o *Options) { o.Clock = h.clock.Now })
}

func (h *history) log(format string, args ...any) {
	h.trace = append(h.trace, fmt.Sprintf(format, args...))
}

func (h *history) address() string { return fmt.Sprintf("a%d@example.com", h.rng.IntN(8)) }

func (h *history) addresses(n int) (out []string) {
	for _, i := range h.rng.Perm(8)[:n] {
		out = append(out, fmt.Sprintf("a%d@example.com", i))
	}
	return out
}

func (h *history) key() PersonKey {
	kind := []PersonKind{Contact, Contact, Contact, Lead, Account}[h.rng.IntN(5)]
	return PersonKey{kind, fmt.Sprintf("%c%d", kind[0], h.rng.IntN(3))}
}

func (h *history) purposes() Purposes {
	if h.rng.IntN(2) == 0 {
		return AllPurposes
	}
	return Purposes(1 + h.rng.IntN(15))
}

func (h *history) putPeople() {
	var in []Person
	for range 1 + h.rng.IntN(3) {
		key := h.key()
		p := Person{Kind: key.Kind, ExternalID: key.ExternalID, Addresses: h.addresses(h.rng.IntN(4))}
		account := ""
		if key.Kind == Contact && h.rng.IntN(3) > 0 {
			account = fmt.Sprintf("a%d", h.rng.IntN(3))
			a, err := h.r.PersonByExternalID(h.Context(), h.org, PersonKey{Account, account})
			if err != nil {
				account = ""
			}
			p.Account = a.ID
		}
		in = append(in, p)
		h.log("put %s of %q at %v", key.ExternalID, account, p.Addresses)
		if h.m.state == OrgTerminated {
			continue
		}
		h.m.see(p.Addresses...)
		person := &modelPerson{account: account, addresses: p.Addresses, answers: map[Purpose]Preference{}}
		if old := h.m.people[key]; old != nil {
			person.answers = old.answers
		}
		h.m.people[key] = person
	}
	_, err := h.r.PutPeople(h.Context(), h.org, in)
	h.want(err, h.m.state == OrgTerminated, "feature_disabled")
}

// want fails unless err is the problem with this code, or nil when refused is false.
func (h *history) want(err error, refused bool, code string) {
	h.Helper()
	if refused {
		wantCode(h.T, err, code)
	} else if err != nil {
		h.Fatal(err)
	}
}

// pick makes a change of one of those there are, under any of their names.
func (h *history) pick() (c PreferenceChange, answers map[Purpose]Preference) {
	c = PreferenceChange{Purposes: h.purposes(), State: Preference(h.rng.IntN(3))}
	if h.rng.IntN(4) == 0 || len(h.m.people) == 0 {
		c.Address = h.address()
		if h.rng.IntN(2) == 0 && h.m.ids[c.Address] != 0 {
			c.Subject, c.Address = OfRecipient(h.m.ids[c.Address]), ""
			for a, id := range h.m.ids {
				if int64(id) == c.Subject.ID {
					answers = h.m.own[a]
				}
			}
			return c, answers
		}
		h.m.see(c.Address)
		return c, h.m.own[c.Address]
	}
	keys := slices.SortedFunc(maps.Keys(h.m.people), func(a, b PersonKey) int { return cmp.Compare(a.ExternalID, b.ExternalID) })
	c.Person = keys[h.rng.IntN(len(keys))]
	answers = h.m.people[c.Person].answers
	if h.rng.IntN(2) == 0 {
		p, err := h.r.PersonByExternalID(h.Context(), h.org, c.Person)
		if err != nil {
			h.Fatal(err)
		}
		c.Subject, c.Person = OfPerson(p.ID), PersonKey{}
	}
	return c, answers
}

func (h *history) prefer() {
	var changes []PreferenceChange
	for range 1 + h.rng.IntN(4) {
		c, answers := h.pick()
		changes = append(changes, c)
		for _, p := range purposes() {
			if c.Purposes.Has(p) {
				answers[p] = c.State
			}
		}
		h.m.ledger++
		h.log("prefer %+v", c)
	}
	if err := h.r.SetPreferences(h.Context(), h.org, changes, Proof{Source: "test", Text: "Shown\n", Locale: "en", Actor: ByKey(1)}); err != nil {
		h.Fatal(err)
	}
}

// preferNobody gives a change that must leave nothing behind, amid good ones.
func (h *history) preferNobody() {
	changes := []PreferenceChange{{Address: "new@example.com", Purposes: 15, State: Denied}, {Address: h.address(), Purposes: 15, State: Denied}}
	bad := PreferenceChange{Purposes: 15, State: Denied}
	switch h.rng.IntN(3) {
	case 0:
		bad.Person = PersonKey{Contact, "nobody"}
	case 1:
		bad.Subject = OfPerson(99)
	case 2:
		bad.Subject = OfRecipient(99)
	}
	err := h.r.SetPreferences(h.Context(), h.org, append(changes, bad), Proof{Source: "test", Actor: BySystem()})
	if e, ok := errors.AsType[*ChangeError](err); !ok || e.Index != 2 || problem.Of(err).Status != 404 {
		h.Fatalf("nobody's preference: %v", err)
	}
}

func (h *history) policy() {
	p := DefaultPolicy()
	if h.rng.IntN(2) == 0 {
		p.Unknown = OptIn
	}
	if h.rng.IntN(2) == 0 {
		p.OnRefusal = RefusalFollowOthers
	}
	h.m.policy = p
	h.log("policy %+v", p)
	if o, err := h.r.SetPolicy(h.Context(), h.org, p, BySystem()); err != nil || o.Policy != p {
		h.Fatal(o, err)
	}
}

func (h *history) change() {
	h.clock.advance(time.Duration(h.rng.IntN(100)) * 24 * time.Hour)
	action := []OrgAction{OrgEnable, OrgDisable, OrgTerminate, OrgResubscribe, "fly", OrgProvision, OrgEnable, OrgResubscribe}[h.rng.IntN(8)]
	next := h.m.next(action, h.clock.Now())
	h.log("%s: %s → %s", action, h.m.state, next)
	o, err := h.r.ChangeOrg(h.Context(), h.org, action, ByKey(7))
	h.want(err, next == "", "org_transition_invalid")
	if next == "" {
		return
	}
	if h.m.state = next; next == OrgTerminated {
		h.m.purge = h.clock.Now().Truncate(24 * time.Hour).Add(90 * 24 * time.Hour)
	}
	if o.State != next || next == OrgTerminated && !o.PurgeAt.Time().Equal(h.m.purge) || next != OrgTerminated && (o.PurgeAt != 0 || o.TerminatedAt != 0) {
		h.Fatalf("%+v, purge %v", o, h.m.purge)
	}
}

func (h *history) mail() { h.register(0) }

func (h *history) retry() {
	ids := slices.Sorted(maps.Keys(h.m.emails))
	if len(ids) == 0 {
		return
	}
	h.register(ids[h.rng.IntN(len(ids))])
}

func (h *history) register(retry event.EmailID) {
	to := h.addresses(1 + h.rng.IntN(3))
	in := mail(to...)
	in.Wish, in.SendPlain, in.Retry = h.rng.IntN(5) > 0, h.rng.IntN(3) == 0, retry
	for i := range in.Recipients {
		if h.rng.IntN(4) == 0 {
			in.Recipients[i].Person = h.key().ExternalID
		}
	}
	h.log("mail %+v", in)
	e, err := h.r.RegisterEmail(h.Context(), h.org, in)
	if h.m.state != OrgEnabled {
		wantCode(h.T, err, "feature_disabled")
		return
	}
	if was, known := h.m.emails[retry]; retry != 0 && (!known || was != FollowBlocked) {
		wantCode(h.T, err, "email_not_blocked")
		return
	}
	if err != nil {
		h.Fatal(err)
	}
	h.m.see(to...)
	for i, p := range in.Recipients {
		for key, person := range h.m.people {
			if key.ExternalID == p.Person && key.Kind != Account && !slices.Contains(person.addresses, to[i]) {
				person.addresses = append(slices.Clone(person.addresses), to[i])
			}
		}
	}
	state, blockers, purposes := h.m.follow(in.Wish, to)
	h.m.emails[e.ID] = state
	if state == FollowBlocked && in.SendPlain {
		h.m.emails[e.ID] = "blocked and sent"
	}
	h.compareEmail(e, in, to, state, blockers, purposes)
}

func (h *history) reopen() {
	h.log("reopen")
	if err := h.r.Close(); err != nil {
		h.Fatal(err)
	}
	h.open()
}
