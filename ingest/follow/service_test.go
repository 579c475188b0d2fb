package follow_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
	"mailwake/ingest/follow"
	"mailwake/ingest/token"
)

var sentAt = time.Date(2026, 11, 22, 17, 30, 0, 0, time.UTC)

// log takes events down and notes what was registered before.
type log struct {
	events []event.Interaction
	calls  *[]string
	err    error
}

func (l *log) Append(_ context.Context, events []event.Interaction) error {
	*l.calls = append(*l.calls, "append")
	l.events = append(l.events, events...)
	return l.err
}

// registrar notes the calls to the registry behind it.
type registrar struct {
	follow.Registrar
	calls *[]string
	err   error
	after func() // an email was registered; may be nil
}

func (r *registrar) RegisterEmail(ctx context.Context, org event.OrgID, in registry.NewEmail) (registry.EmailDetail, error) {
	*r.calls = append(*r.calls, "register")
	if r.err != nil {
		return registry.EmailDetail{}, r.err
	}
	email, err := r.Registrar.RegisterEmail(ctx, org, in)
	if r.after != nil {
		r.after()
	}
	return email, err
}

type fixture struct {
	service  *follow.Service
	registry *registry.Registry
	log      *log
	faults   *registrar
	org      event.OrgID
	calls    []string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	reg, err := registry.Open(t.Context(), registry.Options{DSN: "sqlite:///" + filepath.Join(t.TempDir(), "registry.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reg.Close() })
	org, err := reg.CreateOrg(t.Context(), registry.NewOrg{Name: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{registry: reg, org: org.ID}
	f.log = &log{calls: &f.calls}
	f.faults = &registrar{Registrar: reg, calls: &f.calls}
	f.service = &follow.Service{Registry: f.faults, Engine: f.log, Tokens: newRing(t), BaseURL: baseURL, Now: func() time.Time { return sentAt }}
	return f
}

// TestErasedMeanwhile: of who is erased while their copy is written nothing is recorded.
func TestErasedMeanwhile(t *testing.T) {
	f := newFixture(t)
	f.faults.after = func() {
		if _, err := f.registry.BeginErasure(t.Context(), f.org, registry.Whose{Recipient: 2}, registry.BySystem()); err != nil {
			t.Fatal(err)
		}
	}
	_, err := f.service.Follow(t.Context(), f.org, follow.Request{
		From: "a@acme.example", To: []follow.Recipient{{Address: "b@example.com"}, {Address: "c@example.com"}}, Subject: "Hi", HTML: "<p>Hi</p>", Follow: "required",
	})
	if err != nil || len(f.log.events) != 1 || f.log.events[0].Recipient != 1 {
		t.Errorf("sent: %+v, %v", f.log.events, err)
	}
}

func (f *fixture) disable() {
	if _, err := f.registry.ChangeOrg(context.Background(), f.org, registry.OrgDisable, registry.BySystem()); err != nil {
		panic(err)
	}
}

func request() follow.Request {
	return follow.Request{
		From: "sales@acme.example", Subject: "Offer", Template: "offer",
		To:              []follow.Recipient{{Address: "jo@customer.example", Name: "Jo"}, {Address: "kim@customer.example", Person: "c-7"}},
		HTML:            `<body><a href="https://x.example/?a=1&amp;b=2">1</a> <a href="mailto:x@y">m</a> <a href='https://x.example/leave'>u</a> <a href=http://y.example>2</a></body>`,
		ListUnsubscribe: []string{"<https://x.example/leave>"},
	}
}

func TestFollow(t *testing.T) {
	f := newFixture(t)
	resp, err := f.service.Follow(t.Context(), f.org, request())
	if err != nil {
		t.Fatal(err)
	}
	if resp.EmailID != 1 || resp.FollowState != "on" || len(resp.Reasons) != 0 || resp.Reasons == nil || resp.Links != 2 || len(resp.Messages) != 2 {
		t.Fatalf("%+v", resp)
	}
	wantUntracked := []follow.Untracked{{URL: "mailto:x@y", Reason: "not_web"}, {URL: "https://x.example/leave", Reason: "unsubscribe"}}
	if !slices.Equal(resp.Untracked, wantUntracked) {
		t.Errorf("untracked %+v", resp.Untracked)
	}
	seen := map[string]bool{}
	for i, m := range resp.Messages {
		if m.RecipientID != int64(i+1) || m.Address != request().To[i].Address {
			t.Errorf("message %d is for %d, %s", i, m.RecipientID, m.Address)
		}
		pixel, links := addresses(t, m.HTML)
		text := strings.TrimSuffix(strings.TrimPrefix(pixel, baseURL+"/o/"), ".gif")
		checkToken(t, f, token.KindOpen, text, token.Claims{Org: f.org, Email: 1, Recipient: event.RecipientID(i + 1)})
		for j, target := range []string{"https://x.example/?a=1&b=2", "http://y.example"} {
			checkToken(t, f, token.KindClick, strings.TrimPrefix(links[j], baseURL+"/c/"),
				token.Claims{Org: f.org, Email: 1, Recipient: event.RecipientID(i + 1), Component: int32(j + 1), Target: target})
		}
		for _, a := range append(links, pixel) {
			if seen[a] {
				t.Errorf("%s appears twice", a)
			}
			seen[a] = true
		}
	}
	wantEvent := event.Interaction{Org: f.org, OccurredAt: event.At(sentAt), ReceivedAt: event.At(sentAt), Kind: event.Sent, Email: 1, Recipient: 1, Source: event.API}
	if len(f.log.events) != 2 || f.log.events[0] != wantEvent || f.log.events[1].Recipient != 2 {
		t.Errorf("events %+v", f.log.events)
	}
	if !slices.Equal(f.calls, []string{"register", "append"}) {
		t.Errorf("calls %v", f.calls)
	}
	stored, err := f.registry.Email(t.Context(), f.org, 1)
	if err != nil || stored.Subject != "Offer" || len(stored.Links) != 2 || stored.Links[0].URL != "https://x.example/?a=1&b=2" || stored.Links[1].Ordinal != 2 {
		t.Errorf("stored %+v, %v", stored, err)
	}
}

func checkToken(t *testing.T, f *fixture, kind token.Kind, text string, want token.Claims) {
	t.Helper()
	var got token.Claims
	if err := f.service.Tokens.Open(kind, []byte(text), &got); err != nil || got != want {
		t.Errorf("token %q says %+v, %v; want %+v", text, got, err, want)
	}
}

// addresses returns where the pixel and the followed links of a message point.
func addresses(t *testing.T, message string) (pixel string, links []string) {
	t.Helper()
	for z := html.NewTokenizer(strings.NewReader(message)); z.Next() != html.ErrorToken; {
		for _, a := range z.Token().Attr {
			switch {
			case a.Key == "src":
				pixel = a.Val
			case a.Key == "href" && strings.HasPrefix(a.Val, baseURL):
				links = append(links, a.Val)
			}
		}
	}
	if pixel == "" || len(links) != 2 {
		t.Fatalf("pixel %q, links %q in %q", pixel, links, message)
	}
	return pixel, links
}

func TestNotFollowed(t *testing.T) {
	for name, test := range map[string]struct {
		change        func(*fixture, *follow.Request)
		state, reason string
		registered    bool
	}{
		"no":      {func(_ *fixture, r *follow.Request) { r.Follow = "no" }, "off", "not_asked", true},
		"no html": {func(_ *fixture, r *follow.Request) { r.HTML, r.Text = "", "Hello" }, "off", "no_html", true},
		"no, disabled": {func(f *fixture, r *follow.Request) {
			r.Follow = "no"
			f.disable()
		}, "off", "not_asked", false},
		"disabled": {func(f *fixture, r *follow.Request) {
			r.Follow = "if_allowed"
			f.disable()
		}, "blocked", "feature_disabled", false},
		"terminated": {func(f *fixture, r *follow.Request) {
			r.Follow, f.faults.err = "if_allowed", problem.New(409, "feature_disabled", "x")
		}, "blocked", "feature_disabled", false},
	} {
		t.Run(name, func(t *testing.T) {
			f, req := newFixture(t), request()
			test.change(f, &req)
			resp, err := f.service.Follow(t.Context(), f.org, req)
			if err != nil || resp.FollowState != test.state || !slices.Equal(resp.Reasons, []string{test.reason}) || resp.Links != 0 || len(resp.Blockers) != 0 || len(resp.Messages) != 2 {
				t.Fatalf("%+v, %v", resp, err)
			}
			for i, m := range resp.Messages {
				id := int64(0)
				if test.registered {
					id = int64(i + 1)
				}
				if m.RecipientID != id || m.Address != req.To[i].Address || m.HTML != req.HTML || m.MessageID != "" || len(m.Purposes) != 0 {
					t.Errorf("message %+v", m)
				}
			}
			if len(f.log.events) != 0 || (resp.EmailID != 0) != test.registered {
				t.Errorf("%d events, email %d", len(f.log.events), resp.EmailID)
			}
		})
	}
}

func TestFollowProblems(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*follow.Request)
		code   string
		status int
	}{
		"follow":         {func(r *follow.Request) { r.Follow = "maybe" }, "follow_invalid", 422},
		"pixel":          {func(r *follow.Request) { r.Pixel = "middle" }, "pixel_invalid", 422},
		"unsubscribe":    {func(r *follow.Request) { r.ListUnsubscribe = make([]string, 17) }, "list_unsubscribe_invalid", 422},
		"html":           {func(r *follow.Request) { r.HTML = strings.Repeat("x", 20<<20) }, "html_too_large", 413},
		"html, no":       {func(r *follow.Request) { r.HTML, r.Follow = strings.Repeat("x", 20<<20), "no" }, "html_too_large", 413},
		"links":          {func(r *follow.Request) { r.HTML = strings.Repeat("<a href=http://x.example>", 10_000) }, "too_many_links", 422},
		"utf-8":          {func(r *follow.Request) { r.HTML += "\xff" }, "invalid_utf8", 422},
		"text utf-8":     {func(r *follow.Request) { r.Text = "\xff" }, "invalid_utf8", 422},
		"text":           {func(r *follow.Request) { r.Text = strings.Repeat("x", follow.MaxHTML+1) }, "text_too_large", 413},
		"nobody":         {func(r *follow.Request) { r.To = nil }, "recipients_missing", 422},
		"nobody, no":     {func(r *follow.Request) { r.To, r.Follow = nil, "no" }, "recipients_missing", 422},
		"too many":       {func(r *follow.Request) { r.To = make([]follow.Recipient, 10_001) }, "too_many_recipients", 422},
		"no address, no": {func(r *follow.Request) { r.To[1].Address, r.Follow = " ", "no" }, "recipient_invalid", 422},
		"address":        {func(r *follow.Request) { r.To[1].Address = "kim" }, "recipient_invalid", 422},
		"twice":          {func(r *follow.Request) { r.To[1].Address = "JO@customer.example" }, "recipient_duplicate", 422},
		"sender":         {func(r *follow.Request) { r.From = "a\r\nBcc: b" }, "sender_invalid", 422},
		"output": {func(r *follow.Request) {
			r.HTML += strings.Repeat("x", 1<<20)
			for range 70 {
				r.To = append(r.To, r.To[0])
			}
		}, "output_too_large", 413},
		"output, no": {func(r *follow.Request) {
			r.HTML, r.Follow = strings.Repeat("x", 1<<20), "no"
			for range 70 {
				r.To = append(r.To, r.To[0])
			}
		}, "output_too_large", 413},
	} {
		t.Run(name, func(t *testing.T) {
			f, req := newFixture(t), request()
			test.change(&req)
			resp, err := f.service.Follow(t.Context(), f.org, req)
			if p := problem.Of(err); err == nil || p.Code != test.code || p.Status != test.status {
				t.Errorf("%v, state %q; want %s", err, resp.FollowState, test.code)
			}
			if len(f.log.events) != 0 {
				t.Error("something counts as sent")
			}
		})
	}
}

func TestFollowRefused(t *testing.T) {
	f := newFixture(t)
	if _, err := f.registry.ChangeOrg(t.Context(), f.org, registry.OrgDisable, registry.BySystem()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.service.Follow(t.Context(), f.org, request()); problem.Of(err).Code != "feature_disabled" {
		t.Errorf("required, disabled: %v", err)
	}
	req := request()
	req.Follow = "if_allowed"
	if _, err := f.service.Follow(t.Context(), 99, req); problem.Of(err).Code != "org_not_found" {
		t.Errorf("unknown organisation: %v", err)
	}
}

func TestFollowFaults(t *testing.T) {
	full := errors.New("log full")
	t.Run("log", func(t *testing.T) {
		f := newFixture(t)
		f.log.err = full
		if resp, err := f.service.Follow(t.Context(), f.org, request()); !errors.Is(err, full) || resp.Messages != nil {
			t.Errorf("%+v, %v", resp, err)
		}
	})
	t.Run("registry", func(t *testing.T) {
		f := newFixture(t)
		f.faults.err = full
		if _, err := f.service.Follow(t.Context(), f.org, request()); !errors.Is(err, full) || len(f.log.events) != 0 {
			t.Errorf("%v, %d events", err, len(f.log.events))
		}
	})
	t.Run("base", func(t *testing.T) {
		f := newFixture(t)
		f.service.BaseURL = "track.example.com"
		if _, err := f.service.Follow(t.Context(), f.org, request()); err == nil || len(f.calls) != 0 {
			t.Errorf("%v, calls %v", err, f.calls)
		}
	})
}

func TestParseBase(t *testing.T) {
	for address, ok := range map[string]bool{
		"https://t.example.com": true, "http://127.0.0.1:8025/": true, "https://t.example.com/track/": true, "http://[::1]:8025": true,
		"": false, "t.example.com": false, "ftp://t.example.com": false, "https://": false, "https://:80": false, "https://a@t.example.com": false,
		"https://t.example.com?x": false, "https://t.example.com#x": false, "https://t.example.com/\"": false, "https://t.example.com/a b": false, "https://t.example.com/&": false,
	} {
		if _, err := follow.ParseBase(address); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
}
