package registry

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

func TestAddressKeys(t *testing.T) {
	long := strings.Repeat("d", 60) + "." + strings.Repeat("d", 60) + "." + strings.Repeat("d", 60) + "." + strings.Repeat("d", 60)
	for _, tc := range []struct{ address, key string }{
		{"ann@example.com", "ann@example.com"},
		{"Ann.Lee+News@EXAMPLE.Com", "ann.lee+news@example.com"},
		{"o'neil@example.com", "o'neil@example.com"},
		{"a..b.@docomo.example", "a..b.@docomo.example"},
		{"root@localhost", "root@localhost"},
		{"x@bücher.example", "x@xn--bcher-kva.example"},
		{"x@BÜCHER.example", "x@xn--bcher-kva.example"},
		{"x@XN--BCHER-KVA.example", "x@xn--bcher-kva.example"},
		{"x@bücher.example", "x@xn--bcher-kva.example"},
		{"x@例え。テスト", "x@xn--r8jz45g.xn--zckzah"},
		{"JÖRG@example.com", "jörg@example.com"},
		{"jörg@example.com", "jörg@example.com"},
		{strings.Repeat("l", 64) + "@" + long, strings.Repeat("l", 64) + "@" + long},
		{"", ""},
		{"ann", ""},
		{"@example.com", ""},
		{"ann@", ""},
		{"a@b@example.com", ""},
		{"a b@example.com", ""},
		{`"a b"@example.com`, ""},
		{"Ann <ann@example.com>", ""},
		{"a@[192.0.2.1]", ""},
		{"a@example..com", ""},
		{"a@example.com.", ""},
		{"a@exa mple.com", ""},
		{"a@exam_ple.com", ""},
		{"a@xn--a.example", ""},
		{"a@" + strings.Repeat("d", 64) + ".example", ""},
		{"a@" + long + ".ddddddddddddd", ""},
		{strings.Repeat("l", 320) + "@example.com", ""},
		{"a\r\nbcc:x@example.com", ""},
		{"a\x00@example.com", ""},
		{"a\xff@example.com", ""},
		{"a\u202e@example.com", ""},
	} {
		key, fault := addressKey(tc.address)
		if key != tc.key || (fault == "") != (tc.key != "") {
			t.Errorf("%q: key %q, fault %q, want key %q", tc.address, key, fault, tc.key)
		}
	}
}

func TestEmailFaults(t *testing.T) {
	r := fresh(t)
	acme := org(t, r, "acme")
	many := func(n int) (to []string) {
		for i := range n {
			to = append(to, fmt.Sprintf("u%d@example.com", i))
		}
		return to
	}
	for name, tc := range map[string]struct {
		change func(*NewEmail)
		code   string
		says   string
	}{
		"no sender":       {func(e *NewEmail) { e.From = "" }, "sender_invalid", "empty"},
		"sender":          {func(e *NewEmail) { e.From = "secret\r\nBcc: x" }, "sender_invalid", "control"},
		"subject too big": {func(e *NewEmail) { e.Subject = strings.Repeat("s", MaxSubjectBytes+1) }, "subject_invalid", "998"},
		"subject":         {func(e *NewEmail) { e.Subject = "secret\xff" }, "subject_invalid", "UTF-8"},
		"template":        {func(e *NewEmail) { e.Template = "secret\u2028" }, "template_invalid", "control"},
		"nobody":          {func(e *NewEmail) { e.Recipients = nil }, "recipients_missing", ""},
		"too many":        {func(e *NewEmail) { *e = mail(many(MaxRecipients + 1)...) }, "too_many_recipients", "10000"},
		"address":         {func(e *NewEmail) { e.Recipients[1].Address = "secret" }, "recipient_invalid", "Recipient 1 (counted from 0): the address has no @"},
		"name":            {func(e *NewEmail) { e.Recipients[0].Name = "secret\n" }, "recipient_invalid", "Recipient 0 (counted from 0): the name"},
		"person":          {func(e *NewEmail) { e.Recipients[1].Person = strings.Repeat("s", 257) }, "recipient_invalid", "the person is longer"},
		"twice":           {func(e *NewEmail) { e.Recipients[1].Address = " SECRET@xn--bcher-kva.example\t" }, "recipient_duplicate", "Recipient 1 has the same address as recipient 0"},
		"too many links":  {func(e *NewEmail) { e.Links = make([]string, MaxLinks+1) }, "too_many_links", "1000"},
		"javascript":      {func(e *NewEmail) { e.Links = []string{"https://x", "javascript://secret"} }, "link_invalid", "Link 1 (counted from 0) does not"},
		"no host":         {func(e *NewEmail) { e.Links = []string{"http:///secret"} }, "link_invalid", "Link 0"},
		"empty link":      {func(e *NewEmail) { e.Links = []string{""} }, "link_invalid", "Link 0"},
		"line in link":    {func(e *NewEmail) { e.Links = []string{"https://x/\nsecret"} }, "link_invalid", "control"},
		"long link":       {func(e *NewEmail) { e.Links = []string{"https://x/" + strings.Repeat("s", MaxURLBytes)} }, "link_invalid", "too long"},
	} {
		in := mail("secret@bücher.example", "b@example.com")
		tc.change(&in)
		_, err := r.RegisterEmail(t.Context(), acme, in)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		wantCode(t, err, tc.code)
		text := strings.ToLower(err.Error())
		if !strings.Contains(err.Error(), tc.says) || strings.Contains(text, "secret") || strings.Contains(text, "b@") {
			t.Errorf("%s: %v", name, err)
		}
		if p := problem.Of(err); p.Status != 422 {
			t.Errorf("%s: status %d", name, p.Status)
		}
	}
	_, err := r.RegisterEmail(t.Context(), 9, mail("a@example.com"))
	wantCode(t, err, "org_not_found")
	if e := register(t, r, acme, mail("a@example.com")); e.ID != 1 || e.Recipients[0].ID != 1 {
		t.Errorf("refused emails took ids: %+v", e)
	}
}

func TestEmailRoundTrip(t *testing.T) {
	c := newClock()
	r := fresh(t, func(o *Options) { o.Clock = c.Now })
	acme, beta := org(t, r, "acme"), org(t, r, "beta")
	in := NewEmail{
		From: "Jörg 'J' \"Ö\" <jo@example.com>", Subject: "50 % ?off? -- it's; DROP TABLE emails", Template: "spring ?0", Wish: true,
		Recipients: []NewRecipient{
			{Address: " Ann@Example.com ", Name: "Ann O'Neil ?", Person: "crm:1"},
			{Address: "x@bücher.example"},
		},
		Links: []string{"https://example.com/?a=1&b='x'#?", "https://example.com/?a=1&b='x'#?", "HTTP://bücher.example/[%%m%%]"},
	}
	got := register(t, r, acme, in)
	want := EmailDetail{
		Email: Email{Org: acme, ID: 1, From: in.From, Subject: in.Subject, Template: in.Template, Follow: FollowOn, Wished: true, SentAt: r.now(), CreatedAt: r.now(), Change: 1},
		Recipients: []Addressee{
			{Recipient: Recipient{acme, 1, "Ann@Example.com", "Ann O'Neil ?", "crm:1", r.now()}, Purposes: AllPurposes},
			{Recipient: Recipient{acme, 2, "x@bücher.example", "", "", r.now()}, Purposes: AllPurposes},
		},
		Links: []Link{{acme, 1, 1, in.Links[0]}, {acme, 1, 2, in.Links[1]}, {acme, 1, 3, in.Links[2]}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("registered %+v\nwant %+v", got, want)
	}
	if stored, err := r.Email(t.Context(), acme, 1); err != nil || !reflect.DeepEqual(stored, want) {
		t.Errorf("stored %+v, %v\nwant %+v", stored, err, want)
	}
	_, err := r.Email(t.Context(), beta, 1)
	wantCode(t, err, "email_not_found")

	c.advance(time.Hour)
	again := register(t, r, acme, mail("X@XN--BCHER-KVA.example", "new@example.com", "ann@example.com"))
	ids := []event.RecipientID{again.Recipients[0].ID, again.Recipients[1].ID, again.Recipients[2].ID}
	if !reflect.DeepEqual(ids, []event.RecipientID{2, 3, 1}) || again.Recipients[2].CreatedAt != want.CreatedAt || again.Recipients[0].Address != "X@XN--BCHER-KVA.example" {
		t.Errorf("second email: %+v", again.Recipients)
	}
	if stored, err := r.Email(t.Context(), acme, 2); err != nil || stored.Recipients[0].Name != "Ann O'Neil ?" || stored.Recipients[1].Address != "x@bücher.example" {
		t.Errorf("first spelling is gone: %+v, %v", stored.Recipients, err)
	}
	if other := register(t, r, beta, mail("ann@example.com")); other.ID != 1 || other.Recipients[0].ID != 1 {
		t.Errorf("ids are not per organisation: %+v", other)
	}
}

func TestListing(t *testing.T) {
	r := fresh(t)
	acme := org(t, r, "acme")
	for range 5 {
		register(t, r, acme, mail("a@example.com"))
	}
	register(t, r, org(t, r, "beta"), mail("a@example.com"))
	for _, tc := range []struct {
		limit  int
		before event.EmailID
		want   string
	}{{0, 0, "[5 4 3 2 1]"}, {2, 0, "[5 4]"}, {2, 4, "[3 2]"}, {9999, 2, "[1]"}, {2, 1, "[]"}} {
		list, err := r.Emails(t.Context(), acme, tc.limit, tc.before)
		ids := []event.EmailID{}
		for _, e := range list {
			ids = append(ids, e.ID)
		}
		if err != nil || fmt.Sprint(ids) != tc.want {
			t.Errorf("%+v: %v, %v", tc, ids, err)
		}
	}
}

func TestConcurrentRegistrationIsDense(t *testing.T) {
	r := fresh(t)
	acme := org(t, r, "acme")
	const workers, each = 8, 12
	var mu sync.Mutex
	emails := map[event.EmailID]bool{}
	people := map[event.RecipientID]string{}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				// One address is shared by all, one by two workers, one is new.
				e, err := r.RegisterEmail(t.Context(), acme, mail("all@example.com",
					fmt.Sprintf("pair%d-%d@example.com", w/2, i), fmt.Sprintf("own%d-%d@example.com", w, i)))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if emails[e.ID] {
					t.Errorf("email id %d twice", e.ID)
				}
				emails[e.ID] = true
				for _, p := range e.Recipients {
					if old, ok := people[p.ID]; ok && old != p.Address {
						t.Errorf("recipient id %d is two people", p.ID)
					}
					people[p.ID] = p.Address
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(emails) != workers*each || !emails[1] || !emails[workers*each] {
		t.Errorf("%d email ids, not dense", len(emails))
	}
	if n := event.RecipientID(1 + workers/2*each + workers*each); len(people) != int(n) || people[1] == "" || people[n] == "" {
		t.Errorf("%d recipient ids, want %d, dense", len(people), n)
	}
	if err := r.Check(t.Context()); err != nil {
		t.Error(err)
	}
}
