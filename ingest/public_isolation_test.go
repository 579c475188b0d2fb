package ingest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"mailwake/engine/blob"
	"mailwake/engine/event"
	"mailwake/engine/registry"
	"mailwake/ingest/token"
)

// tenant is an organisation of a neighbourhood.
type tenant struct {
	registry.Org
	secrets []string // what only its own tokens may show
}

// neighbourhood is a public plane over a real registry of two organisations with
// the same numbers: email 1 with attachment 1 to recipients 1 and 2 of each, and
// the second has an email, an attachment and a recipient more.
type neighbourhood struct {
	*office
	tenants [2]tenant
}

func openNeighbourhood(t *testing.T) *neighbourhood {
	t.Helper()
	n := &neighbourhood{office: openOffice(t)}
	files := &Attachments{Registry: n.reg, Store: blob.Mem("files"), TempDir: t.TempDir(), Prefix: func(org string) string { return org + "/" }}
	n.public.opts.Files = files
	for i := range n.tenants {
		org, ok := n.reg.Snapshot().Org(event.OrgID(i + 1))
		if !ok {
			t.Fatal("no organisation")
		}
		n.tenants[i] = tenant{org, []string{org.Title, "file of " + org.Name, org.Name + ".example", org.Name + ".customer"}}
	}
	for i, name := range []string{"acme", "other", "other"} {
		org := n.tenants[min(i, 1)].Org
		file, err := files.Upload(t.Context(), org, name+".txt", "text/plain", true, strings.NewReader("file of "+name))
		if err != nil {
			t.Fatal(err)
		}
		_, err = n.reg.RegisterEmail(t.Context(), org.ID, registry.NewEmail{From: "ann@" + name + ".example", Wish: true, Attachments: []registry.AttachmentID{file.ID},
			Recipients: []registry.NewRecipient{{Address: fmt.Sprintf("p%d@%s.customer", i, name)}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// token is one of kind for what both organisations have, or, by its number, for
// what only the second has.
func (n *neighbourhood) sealed(ring *token.Ring, kind token.Kind, of tenant, number int) string {
	c := token.Claims{Org: of.ID, Email: event.EmailID(number), Recipient: event.RecipientID(number), Component: 1}
	if kind == token.KindClick {
		c.Target = "https://" + of.Name + ".example/"
	}
	return string(ring.Seal(nil, kind, c))
}

// try asks route with the token in every way and returns all that is answered.
func (n *neighbourhood) try(r *publicRoute, text string) (said string, invalid bool) {
	n.t.Helper()
	address := "http://t.example" + string(r.prefix) + text + string(r.suffix)
	resp, body := n.visit("GET", address, nil)
	invalid = resp.StatusCode == http.StatusNotFound || body == string(gif)
	said = fmt.Sprint(resp.Header, body)
	if r.suffix == nil { // the rest of a path is there for people
		resp, body := n.visit("GET", address+"/other.txt", nil)
		said += fmt.Sprint(resp.Header, body)
	}
	if r.posts {
		resp, body := n.submit(address, "all", "denied")
		invalid = invalid && resp.StatusCode == http.StatusNotFound
		said += fmt.Sprint(resp.Header, body)
	}
	return said, invalid
}

// traces is what an organisation has: its refusals and its interactions.
func (n *neighbourhood) traces(of tenant, events []event.Interaction) (out string) {
	for _, e := range n.ledger(of.ID) {
		out += fmt.Sprintf("entry %d of %v; ", e.Seq, e.Subject)
	}
	for _, e := range events {
		if e.Org == of.ID {
			out += fmt.Sprintf("%v of %d; ", e.Kind, e.Email)
		}
	}
	return out
}

// TestPublicIsolation goes through all routes of the public plane with tokens of
// both organisations: a good one shows and changes nothing of the other one, and
// what is no good one of this route's shows and changes nothing at all. A route that
// is added is in publicRoutes, or it is not answered.
func TestPublicIsolation(t *testing.T) {
	foreign, err := token.NewRing(noon) // of another server
	if err != nil {
		t.Fatal(err)
	}
	for i := range publicRoutes {
		r := &publicRoutes[i]
		n := openNeighbourhood(t)
		silent := func(what, said string, invalid bool) {
			t.Helper()
			events := n.engine.taken()
			for _, of := range n.tenants {
				if traces := n.traces(of, events); traces != "" || !invalid {
					t.Errorf("%s with %s: taken for good: %s", r.prefix, what, traces)
				}
				for _, secret := range of.secrets {
					if strings.Contains(said, secret) {
						t.Errorf("%s with %s shows %q", r.prefix, what, secret)
					}
				}
			}
		}
		for j, mine := range n.tenants {
			theirs := n.tenants[1-j]
			for kind := token.KindOpen; kind <= token.KindReply; kind++ {
				if kind != r.kind {
					said, invalid := n.try(r, n.sealed(n.ring, kind, mine, 1))
					silent(fmt.Sprintf("%s's token of kind %d", mine.Name, kind), said, invalid)
				}
			}
			said, invalid := n.try(r, n.sealed(foreign, r.kind, mine, 1))
			silent("another server's token", said, invalid)
			a, b := n.sealed(n.ring, r.kind, mine, 1), n.sealed(n.ring, r.kind, theirs, 1)
			said, invalid = n.try(r, a[:len(a)/2]+b[len(b)/2:])
			silent("half a token of each", said, invalid)
		}
		for j, mine := range n.tenants {
			theirs := n.tenants[1-j]
			before := n.traces(theirs, nil)
			for number := 1; number <= 3; number++ { // the first organisation has no email 3
				said, _ := n.try(r, n.sealed(n.ring, r.kind, mine, number))
				for _, secret := range theirs.secrets {
					if strings.Contains(said, secret) {
						t.Errorf("%s with a token of %s shows %q", r.prefix, mine.Name, secret)
					}
				}
			}
			events := n.engine.taken()
			if after := n.traces(theirs, events); after != before {
				t.Errorf("%s with a token of %s leaves with the other: %s", r.prefix, mine.Name, after)
			}
			if n.traces(mine, events) == "" {
				t.Errorf("%s with its own token does nothing: the test is worth nothing", r.prefix)
			}
		}
	}
}

// TestPublicPlaneOff: of an organisation that is off everything is answered as
// before, nothing is recorded, and a refusal is taken.
func TestPublicPlaneOff(t *testing.T) {
	for i := range publicRoutes {
		r := &publicRoutes[i]
		for _, action := range []registry.OrgAction{registry.OrgDisable, registry.OrgTerminate} {
			n := openNeighbourhood(t)
			mine := n.tenants[0]
			address := "http://t.example" + string(r.prefix) + n.sealed(n.ring, r.kind, mine, 1) + string(r.suffix)
			on, _ := n.visit("GET", address, nil)
			n.engine.taken()
			if _, err := n.reg.ChangeOrg(t.Context(), mine.ID, action, registry.BySystem()); err != nil {
				t.Fatal(err)
			}
			off, _ := n.visit("GET", address, nil)
			if off.StatusCode != on.StatusCode || off.Header.Get("Location") != on.Header.Get("Location") || off.ContentLength != on.ContentLength && !r.posts {
				t.Errorf("%s after %s: %d, before %d", r.prefix, action, off.StatusCode, on.StatusCode)
			}
			if events := n.engine.taken(); len(events) != 0 {
				t.Errorf("%s after %s: recorded %v", r.prefix, action, events)
			}
			if r.posts {
				if n.submit(address, "all", "denied"); n.own(mine.ID, 1).Denied != all {
					t.Errorf("%s after %s: a refusal is not taken", r.prefix, action)
				}
			}
		}
	}
}
