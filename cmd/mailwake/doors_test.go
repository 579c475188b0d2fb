package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"testing"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// TestDoors runs random histories of preferences, accounts, policies, states of the
// organisation, mails, interactions, flushes and rewrites through the real server,
// one organisation per seed. Whether a mail is followed, an interaction recorded, a
// row shown, and a row removed for good must be what doorModel says, after each
// step. How many histories is MAILWAKE_SEEDS, 8 by default.
func TestDoors(t *testing.T) {
	t.Parallel()
	seeds := 8
	if env := os.Getenv("MAILWAKE_SEEDS"); env != "" {
		n, err := strconv.Atoi(env)
		if err != nil {
			t.Fatal(err)
		}
		seeds = n
	}
	p := serve(t, t.TempDir(), nil)
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			d := &doors{t: t, p: p, model: newDoorModel(), rng: rand.New(rand.NewPCG(uint64(seed), 7)), org: fmt.Sprintf("doors-%d", seed)}
			d.prepare()
			for step := range 200 {
				d.did = fmt.Sprintf("step %d: ", step)
				d.step()
				d.check()
			}
		})
	}
}

// doors is one history.
type doors struct {
	t     *testing.T
	p     *process
	model *doorModel
	rng   *rand.Rand
	org   string
	did   string

	ids    map[string]string // recipient ids by address, as text
	pixels map[string]string // newest tracked addresses, by email address
	links  map[string]string
}

var (
	doorAccounts  = []string{"A", "B"}
	doorContacts  = []string{"c0", "c1", "c2"}
	doorAddresses = []string{"r0@x.example", "r1@x.example", "r2@x.example", "r3@x.example", "r4@x.example"}
)

func (d *doors) call(method, path string, body, out any) error {
	return d.p.client().get(d.t.Context(), method, "/v1/orgs/"+d.org+path, nil, body, out)
}

func (d *doors) must(method, path string, body, out any) {
	d.t.Helper()
	if err := d.call(method, path, body, out); err != nil {
		d.t.Fatalf("%s: %s %s: %v", d.did, method, path, err)
	}
}

func (d *doors) prepare() {
	var out any
	d.p.api(http.MethodPost, "/v1/orgs", map[string]string{"name": d.org}, &out)
	d.ids, d.pixels, d.links = map[string]string{}, map[string]string{}, map[string]string{}
	for _, a := range doorAccounts {
		d.must(http.MethodPut, "/people/account/"+a, map[string]any{}, &out)
	}
	for i, c := range doorContacts {
		d.model.address[doorAddresses[i]] = c
		d.putContact(i)
	}
}

func (d *doors) putContact(i int) {
	var out any
	body := map[string]any{"addresses": doorAddresses[i : i+1]}
	if a := d.model.account[doorContacts[i]]; a != "" {
		body["account"] = a
	}
	d.must(http.MethodPut, "/people/contact/"+doorContacts[i], body, &out)
}

func (d *doors) step() {
	var out any
	m := d.model
	switch d.rng.IntN(13) {
	case 0, 1, 2:
		d.prefer()
	case 3:
		i := d.rng.IntN(len(doorContacts))
		m.account[doorContacts[i]] = []string{"", "A", "B"}[d.rng.IntN(3)]
		d.did += "move " + doorContacts[i] + " to " + m.account[doorContacts[i]]
		d.putContact(i)
	case 4:
		m.enabled = !m.enabled
		verb := map[bool]string{true: "enable", false: "disable"}[m.enabled]
		d.did += verb
		if err := d.p.client().get(d.t.Context(), http.MethodPost, "/v1/orgs/"+d.org+":"+verb, nil, nil, &out); err != nil {
			d.t.Fatal(err)
		}
	case 5:
		m.optIn, m.followOthers, m.purge = d.rng.IntN(3) == 0, d.rng.IntN(2) == 0, d.rng.IntN(2) == 0
		d.did += fmt.Sprintf("policy opt_in=%v follow_others=%v purge=%v", m.optIn, m.followOthers, m.purge)
		d.must(http.MethodPatch, "", map[string]any{"policy": map[string]any{
			"unknown": map[bool]string{true: "opt_in", false: "opt_out"}[m.optIn], "on_refusal": map[bool]string{true: "follow_others", false: "block"}[m.followOthers],
			"on_withdrawal": map[bool]string{true: "purge", false: "hide"}[m.purge],
		}}, &out)
	case 6, 7:
		d.follow()
	case 8, 9:
		d.did += "flush and rewrite"
		d.must(http.MethodPost, "/flush", map[string]any{}, &out)
		m.flush()
		d.must(http.MethodPost, "/retention/run", nil, &out)
		m.rewrite()
	default:
		for range 3 {
			d.interact()
		}
	}
}

// prefer sets a preference of an account, a contact or an address.
func (d *doors) prefer() {
	state := []registry.Preference{registry.Denied, registry.Denied, registry.Allowed, registry.Unknown, registry.Unknown}[d.rng.IntN(5)]
	change := map[string]any{}
	name := pickOne(d.rng, slices.Concat(doorAccounts, doorContacts, doorAddresses))
	switch {
	case slices.Contains(doorAccounts, name):
		change["kind"], change["external_id"] = "account", name
	case slices.Contains(doorContacts, name):
		change["kind"], change["external_id"] = "contact", name
	default:
		change["kind"], change["address"] = "recipient", name
	}
	purposes := doorPurposes
	if d.rng.IntN(2) == 0 {
		change["follow"] = state.String()
	} else {
		purposes = []registry.Purpose{pickOne(d.rng, purposes)}
		change[purposes[0].String()] = state.String()
	}
	d.did += fmt.Sprintf("%v", change)
	if d.model.own[name] == nil {
		d.model.own[name] = map[registry.Purpose]registry.Preference{}
	}
	for _, p := range purposes {
		d.model.own[name][p] = state
	}
	var out any
	d.must(http.MethodPost, "/preferences", map[string]any{"changes": []any{change}, "proof": map[string]string{"source": "test"}}, &out)
}

func (d *doors) follow() {
	to := slices.DeleteFunc(slices.Clone(doorAddresses), func(string) bool { return d.rng.IntN(2) == 0 })
	if len(to) == 0 {
		to = doorAddresses[:1]
	}
	d.did += fmt.Sprintf("follow to %v", to)
	req := followRequest{From: "sales@acme.example", Subject: "Hello", HTML: `<p><a href="https://example.com/">link</a></p>`, Follow: "if_allowed"}
	for _, a := range to {
		req.To = append(req.To, followRecipient{Address: a})
	}
	var resp followResponse
	d.must(http.MethodPost, "/emails", req, &resp)
	state, pixel, link := d.model.follow(to)
	if resp.FollowState != state || len(resp.Messages) != len(to) {
		d.t.Fatalf("%s: state %s with %d messages, want %s", d.did, resp.FollowState, len(resp.Messages), state)
	}
	for _, msg := range resp.Messages {
		got := trackedIn(msg.HTML, d.p.at.Public)
		if (got.pixel != "") != pixel[msg.Address] || len(got.links) > 0 != link[msg.Address] {
			d.t.Fatalf("%s: %s has pixel %v and links %v, want %v and %v", d.did, msg.Address, got.pixel != "", len(got.links) > 0, pixel[msg.Address], link[msg.Address])
		}
		if msg.RecipientID > 0 {
			d.ids[strconv.FormatInt(msg.RecipientID, 10)] = msg.Address
		}
		if got.pixel != "" {
			d.pixels[msg.Address] = got.pixel
		}
		if len(got.links) > 0 {
			d.links[msg.Address] = got.links[0]
		}
	}
}

func (d *doors) interact() {
	kind, urls, status := event.Open, d.pixels, http.StatusOK
	if d.rng.IntN(2) == 0 {
		kind, urls, status = event.Click, d.links, http.StatusFound
	}
	if len(urls) == 0 {
		return
	}
	address := pickOne(d.rng, slices.Sorted(maps.Keys(urls)))
	d.did += fmt.Sprintf("%s by %s; ", kind, address)
	if resp, _ := d.p.must(http.MethodGet, urls[address], outlook); resp.StatusCode != status {
		d.t.Fatalf("%s: answered %d", d.did, resp.StatusCode)
	}
	if d.model.records(address, kind) {
		d.model.rows = append(d.model.rows, doorRow{address: address, kind: kind})
	}
}

// check compares what a query shows, or that nobody may ask.
func (d *doors) check() {
	var rows []struct {
		Recipient int64  `json:"recipient_id"`
		Kind      string `json:"kind"`
		N         int    `json:"n"`
	}
	err := d.p.client().get(d.t.Context(), http.MethodPost, "/v1/orgs/"+d.org+"/sql", url.Values{"format": {"json"}},
		map[string]any{"sql": "SELECT recipient_id, kind, count(*) AS n FROM interactions GROUP BY ALL"}, &rows)
	if !d.model.enabled {
		if problem.Of(err).Code != "feature_disabled" {
			d.t.Fatalf("%s: a disabled organisation's query: %v", d.did, err)
		}
		return
	}
	if err != nil {
		d.t.Fatalf("%s: %v", d.did, err)
	}
	got := map[string]int{}
	for _, r := range rows {
		got[d.ids[strconv.FormatInt(r.Recipient, 10)]+" "+r.Kind] = r.N
	}
	if want := d.model.shown(); !maps.Equal(got, want) {
		d.t.Fatalf("%s:\nshown %v\nwant  %v", d.did, got, want)
	}
}

func pickOne[T any](rng *rand.Rand, of []T) T { return of[rng.IntN(len(of))] }
