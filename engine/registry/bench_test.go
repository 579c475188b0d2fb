package registry

import (
	"fmt"
	"strings"
	"testing"

	"mailwake/engine/event"
)

func BenchmarkDecide(b *testing.B) {
	r := fresh(b)
	acme := org(b, r, "acme")
	b.ReportAllocs()
	for b.Loop() {
		if !r.Decide(acme, 7, event.Open).Allow {
			b.Fatal("refused")
		}
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	r := fresh(b)
	text, _, err := r.BootstrapAdmin(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("good", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.Authenticate(b.Context(), text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("unknown", func(b *testing.B) {
		bad := "mw_" + strings.Repeat("A", keyLength-3)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.Authenticate(b.Context(), bad); err == nil {
				b.Fatal("accepted")
			}
		}
	})
}

// BenchmarkRegisterEmail times one email: "new" has addresses never seen, "known"
// only such as have an id already.
func BenchmarkRegisterEmail(b *testing.B) {
	for _, n := range []int{1, 1_000, MaxRecipients} {
		for _, kind := range []string{"new", "known"} {
			b.Run(fmt.Sprintf("recipients=%d/%s", n, kind), func(b *testing.B) {
				r := fresh(b)
				acme := org(b, r, "acme")
				in := mail()
				in.Links = make([]string, 20)
				for i := range in.Links {
					in.Links[i] = fmt.Sprintf("https://example.com/article/%d?utm_source=newsletter", i)
				}
				in.Recipients = make([]NewRecipient, n)
				round := 0
				fill := func() {
					for i := range in.Recipients {
						in.Recipients[i] = NewRecipient{Address: fmt.Sprintf("firstname.lastname%d.%d@example.com", round, i), Name: "Firstname Lastname"}
					}
					round++
				}
				fill()
				register(b, r, acme, in)
				for b.Loop() {
					if kind == "new" {
						fill()
					}
					register(b, r, acme, in)
				}
			})
		}
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	r := fresh(t)
	acme := org(t, r, "acme")
	text, _, err := r.BootstrapAdmin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Authenticate(t.Context(), text); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func(){
		"Decide":       func() { r.Decide(acme, 1, event.Open) },
		"Org":          func() { r.Snapshot().Org(acme) },
		"OrgByName":    func() { _, _ = r.OrgByName("acme") },
		"Authenticate": func() { _, _ = r.Authenticate(t.Context(), text) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
