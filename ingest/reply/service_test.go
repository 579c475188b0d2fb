package reply_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailwake/engine"
	"mailwake/engine/blob"
	"mailwake/engine/event"
	"mailwake/engine/lake"
	"mailwake/engine/registry"
	"mailwake/engine/wal"
	"mailwake/ingest/reply"
	"mailwake/ingest/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// world is a registry and an engine on disk with two organisations, each with an
// email to the same addresses.
type world struct {
	t       testing.TB
	dir     string
	store   blob.Store
	ring    *token.Ring
	reg     *registry.Registry
	lake    *lake.Lake
	engine  *engine.Engine
	service *reply.Service
	clock   atomic.Int64 // nanoseconds after noon

	acme, other event.OrgID
}

func newWorld(t testing.TB) *world {
	t.Helper()
	ring, err := token.NewRing(noon)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: t.TempDir(), ring: ring, store: blob.Mem("test")}
	w.open()
	t.Cleanup(w.close)
	for _, name := range []string{"acme", "other"} {
		o, err := w.reg.CreateOrg(t.Context(), registry.NewOrg{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		w.send(o.ID, "Offer", "bob@example.com", "cy@example.com")
	}
	w.acme, w.other = 1, 2
	return w
}

func (w *world) now() time.Time { return noon.Add(time.Duration(w.clock.Load())) }

// open starts what a process consists of; close ends it as a crash would.
func (w *world) open() {
	w.t.Helper()
	var err error
	ctx := context.Background()
	dsn := (&url.URL{Scheme: "sqlite", Path: filepath.Join(w.dir, "registry.db")}).String()
	if w.reg, err = registry.Open(ctx, registry.Options{DSN: dsn, Clock: w.now}); err != nil {
		w.t.Fatal(err)
	}
	w.lake, err = lake.Open(ctx, lake.Options{Store: w.store, CatalogPath: filepath.Join(w.dir, "catalog.db"), CacheDir: filepath.Join(w.dir, "cache"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.engine, err = engine.Open(ctx, engine.Options{Dir: w.dir, Registry: w.reg, Lake: w.lake}); err != nil {
		w.t.Fatal(err)
	}
	w.service = &reply.Service{Registry: w.reg, Engine: w.engine, Tokens: w.ring, Now: w.now, Refused: refused}
}

func refused(err error) bool { return errors.Is(err, wal.ErrFull) || errors.Is(err, wal.ErrClosed) }

func (w *world) close() {
	for _, err := range []error{w.engine.Close(), w.lake.Close(), w.reg.Close()} {
		if err != nil {
			w.t.Error(err)
		}
	}
}

func (w *world) send(org event.OrgID, subject string, to ...string) registry.EmailDetail {
	w.t.Helper()
	in := registry.NewEmail{From: "Ann <ann@acme.example>", Subject: subject, Wish: true}
	for _, address := range to {
		in.Recipients = append(in.Recipients, registry.NewRecipient{Address: address})
	}
	e, err := w.reg.RegisterEmail(context.Background(), org, in)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// parent is the Message-ID of a copy.
func (w *world) parent(org event.OrgID, email event.EmailID, recipient event.RecipientID) string {
	return w.ring.MessageID(token.Claims{Org: org, Email: email, Recipient: recipient}, "t.example")
}

func (w *world) deliver(org event.OrgID, text string) (reply.Result, error) {
	m, err := reply.Read(strings.NewReader(text), nil, false)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.service.Deliver(context.Background(), org, m, event.API)
}

func (w *world) must(org event.OrgID, text string, want reply.Outcome) reply.Result {
	w.t.Helper()
	r, err := w.deliver(org, text)
	if err != nil || r.Outcome != want {
		w.t.Errorf("%+v, %v; want %s", r, err, want)
	}
	return r
}

// recorded returns what the tail of org holds.
func (w *world) recorded(org event.OrgID) []event.Interaction {
	w.t.Helper()
	v, err := w.engine.View(context.Background(), org)
	if err != nil {
		w.t.Fatal(err)
	}
	defer v.Close()
	if n := v.Snapshot().Rows(); n > 0 {
		w.t.Fatalf("%d rows are in the table", n)
	}
	var all []event.Interaction
	for _, in := range v.Rows(0) {
		c := *in
		c.Reason, c.UserAgent = strings.Clone(c.Reason), ""
		all = append(all, c)
	}
	return all
}

var messages atomic.Int64

// text is a mail with its own Message-ID and these header lines.
func text(lines ...string) string {
	return fmt.Sprintf("Message-ID: <m%d@example.com>\r\n%s\r\n\r\nThank you.\r\n", messages.Add(1), strings.Join(lines, "\r\n"))
}

func TestAttribution(t *testing.T) {
	w := newWorld(t)
	w.send(w.acme, "Second", "bob@example.com", "dan@example.com") // email 2; bob 1, cy 2, dan 3
	tok := func(id string) string { text, _, _ := strings.Cut(strings.Trim(id, "<>"), "@"); return text }
	to := w.parent
	flipped := strings.Replace(to(w.acme, 1, 1), "@", "A@", 1)
	for _, tc := range []struct {
		name  string
		lines []string
		match reply.Match
		email event.EmailID
		who   event.RecipientID
		why   string
	}{
		{"in reply to", []string{"From: bob@example.com", "In-Reply-To: " + to(w.acme, 1, 1)}, reply.ByInReplyTo, 1, 1, ""},
		{"case of the address", []string{"From: Bob <BOB@EXAMPLE.COM>", "In-Reply-To: " + to(w.acme, 1, 1)}, reply.ByInReplyTo, 1, 1, ""},
		{"references alone", []string{"From: bob@example.com", "In-Reply-To: <x@y>", "References: <a@b> " + to(w.acme, 1, 1) + " <x@y>"}, reply.ByReferences, 1, 1, ""},
		{"newest reference", []string{"From: bob@example.com", "References: " + to(w.acme, 1, 1) + "\r\n " + to(w.acme, 2, 1)}, reply.ByReferences, 2, 1, ""},
		{"in reply to wins", []string{"From: bob@example.com", "References: " + to(w.acme, 2, 1), "In-Reply-To: " + to(w.acme, 1, 1)}, reply.ByInReplyTo, 1, 1, ""},
		{"plus-address", []string{"From: bob@example.com", "To: Ann <r+" + tok(to(w.acme, 2, 1)) + "@acme.example>"}, reply.ByPlusAddress, 2, 1, ""},
		{"plus-address delivered to", []string{"From: bob@example.com", "To: ann@acme.example", "Delivered-To: r+" + tok(to(w.acme, 2, 1)) + "@acme.example"}, reply.ByPlusAddress, 2, 1, ""},
		{"references win over plus-address", []string{"From: bob@example.com", "References: " + to(w.acme, 1, 1), "Cc: r+" + tok(to(w.acme, 2, 1)) + "@acme.example"}, reply.ByReferences, 1, 1, ""},
		{"the host does not count", []string{"From: bob@example.com", "In-Reply-To: " + strings.Replace(to(w.acme, 1, 1), "t.example", "moved.example", 1)}, reply.ByInReplyTo, 1, 1, ""},
		{"another recipient of the email", []string{"From: cy@example.com", "In-Reply-To: " + to(w.acme, 1, 1)}, reply.ByInReplyTo, 1, 2, ""},
		{"a recipient of another email", []string{"From: dan@example.com", "In-Reply-To: " + to(w.acme, 1, 1)}, reply.ByInReplyTo, 1, 1, reply.ReasonOtherAddress},
		{"a colleague", []string{"From: eve@example.com", "In-Reply-To: " + to(w.acme, 1, 1)}, reply.ByInReplyTo, 1, 1, reply.ReasonOtherAddress},
		{"no author", []string{"In-Reply-To: " + to(w.acme, 1, 1)}, reply.ByInReplyTo, 1, 1, reply.ReasonOtherAddress},
		{"the sender", []string{"From: Ann <ann@acme.example>", "References: " + to(w.acme, 1, 1)}, "", 0, 0, ""},
		{"tampered", []string{"From: bob@example.com", "In-Reply-To: " + flipped}, "", 0, 0, ""},
		{"another organisation's", []string{"From: bob@example.com", "In-Reply-To: " + to(w.other, 1, 1)}, "", 0, 0, ""},
		{"another organisation's first", []string{"From: bob@example.com", "In-Reply-To: " + to(w.other, 1, 1), "References: " + to(w.acme, 1, 1)}, reply.ByReferences, 1, 1, ""},
		{"an email that is not there", []string{"From: bob@example.com", "In-Reply-To: " + to(w.acme, 99, 1)}, "", 0, 0, ""},
		{"a copy that was not sent", []string{"From: dan@example.com", "In-Reply-To: " + to(w.acme, 1, 3)}, "", 0, 0, ""},
		{"a pixel's token", []string{"From: bob@example.com", "In-Reply-To: <" + string(w.ring.Seal(nil, token.KindOpen, token.Claims{Org: 1, Email: 1, Recipient: 1})) + "@t.example>"}, "", 0, 0, ""},
		{"a token in the subject", []string{"From: bob@example.com", "Subject: " + to(w.acme, 1, 1)}, "", 0, 0, ""},
		{"subject and author", []string{"From: bob@example.com", "Subject: Re: Offer"}, "", 0, 0, ""},
		{"nothing", []string{"From: bob@example.com"}, "", 0, 0, ""},
	} {
		before := len(w.recorded(w.acme))
		r, err := w.deliver(w.acme, text(tc.lines...))
		want := reply.Result{Outcome: reply.Recorded, Match: tc.match, Email: tc.email, Recipient: tc.who, Reason: tc.why}
		if tc.match == "" {
			want = reply.Result{Outcome: reply.NotAttributed}
		}
		if err != nil || r != want {
			t.Errorf("%s: %+v, %v; want %+v", tc.name, r, err, want)
		}
		rows := w.recorded(w.acme)[before:]
		if tc.match == "" {
			if len(rows) > 0 {
				t.Errorf("%s: recorded %+v", tc.name, rows)
			}
			continue
		}
		if len(rows) != 1 || rows[0].ID >= 0 || rows[0].Kind != event.Reply || rows[0].Email != tc.email || rows[0].Recipient != tc.who ||
			rows[0].Actor != event.Human || rows[0].Reason != tc.why || rows[0].Source != event.API {
			t.Errorf("%s: rows %+v", tc.name, rows)
		}
	}
	if rows := w.recorded(w.other); len(rows) > 0 {
		t.Errorf("the other organisation got %+v", rows)
	}
}

// A sender who writes to himself is a recipient like any other.
func TestSenderAsRecipient(t *testing.T) {
	w := newWorld(t)
	e := w.send(w.acme, "Test", "ann@acme.example")
	w.must(w.acme, text("From: ann@acme.example", "In-Reply-To: "+w.parent(w.acme, e.ID, e.Recipients[0].ID)), reply.Recorded)
}

func TestAutoRepliesAreLabelled(t *testing.T) {
	w := newWorld(t)
	for _, tc := range []struct{ line, reason string }{
		{"Auto-Submitted: auto-replied", reply.ReasonAutoSubmitted}, {"Precedence: bulk", reply.ReasonPrecedence}, {"X-Autoreply: yes", reply.ReasonAutoReply},
		{"X-Autorespond: x", reply.ReasonAutoReply}, {"Return-Path: <>", reply.ReasonNullReturnPath},
		{"Content-Type: multipart/report; report-type=delivery-status; boundary=x", reply.ReasonDeliveryReport},
	} {
		r := w.must(w.acme, text("From: bob@example.com", "In-Reply-To: "+w.parent(w.acme, 1, 1), tc.line), reply.AutoReply)
		rows := w.recorded(w.acme)
		if last := rows[len(rows)-1]; r.Reason != tc.reason || last.Actor != event.Bot || last.Reason != tc.reason || last.Recipient != 1 {
			t.Errorf("%s: %+v, row %+v", tc.line, r, last)
		}
	}
}

func TestTimes(t *testing.T) {
	w := newWorld(t)
	for date, want := range map[string]time.Time{
		"Wed, 01 Jul 2026 11:00:00 +0000": noon.Add(-time.Hour),
		"Wed, 01 Jul 2026 11:00:00 -0200": noon, // the future
		"Mon, 01 Jun 2026 11:00:00 +0000": noon, // longer on its way than any queue keeps it
		"yesterday":                       noon,
	} {
		w.must(w.acme, text("From: bob@example.com", "Date: "+date, "In-Reply-To: "+w.parent(w.acme, 1, 1)), reply.Recorded)
		rows := w.recorded(w.acme)
		if last := rows[len(rows)-1]; last.OccurredAt != event.At(want) || last.ReceivedAt != event.At(noon) {
			t.Errorf("%s: %v", date, last.OccurredAt.Time())
		}
	}
}

func TestNotAllowed(t *testing.T) {
	w := newWorld(t)
	mail := text("From: bob@example.com", "In-Reply-To: "+w.parent(w.acme, 1, 1))
	w.change(w.acme, registry.OrgDisable)
	w.must(w.acme, mail, reply.NotAllowed)
	if rows := w.recorded(w.acme); len(rows) > 0 {
		t.Errorf("recorded %+v", rows)
	}
	w.change(w.acme, registry.OrgEnable)
	w.must(w.acme, mail, reply.Recorded) // nothing was kept of it
}

func (w *world) change(org event.OrgID, action registry.OrgAction) {
	w.t.Helper()
	if _, err := w.reg.ChangeOrg(context.Background(), org, action, registry.BySystem()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) smartReplies(org event.OrgID) {
	w.t.Helper()
	p := registry.DefaultPolicy()
	p.SmartReplies = true
	if _, err := w.reg.SetPolicy(context.Background(), org, p, registry.BySystem()); err != nil {
		w.t.Fatal(err)
	}
}

func TestSubjectAndAuthor(t *testing.T) {
	w := newWorld(t) // email 1, Offer
	old := w.send(w.acme, "Old news", "bob@example.com")
	w.clock.Add(int64(29 * 24 * time.Hour))
	w.send(w.acme, "", "bob@example.com")
	again := w.send(w.acme, "Re: [Acme] OFFER", "bob@example.com")
	others := w.send(w.acme, "Secret", "cy@example.com")
	w.must(w.acme, text("From: bob@example.com", "Subject: Re: Offer"), reply.NotAttributed)
	w.smartReplies(w.acme)
	for _, tc := range []struct {
		name, from, subject string
		email               event.EmailID
	}{
		{"the newest of two", "bob@example.com", "AW: offer", again.ID},
		{"an older one", "bob@example.com", "Re:  Old  News", old.ID},
		{"encoded", "=?utf-8?Q?B=C3=B6b?= <bob@example.com>", "=?utf-8?B?" + "UmU6IE9mZmVy" + "?=", again.ID},
		{"no reply's mark", "bob@example.com", "Offer", 0},
		{"forwarded", "bob@example.com", "Fwd: Offer", 0},
		{"empty", "bob@example.com", "Re:", 0},
		{"somebody else's", "bob@example.com", "Re: Secret", 0},
		{"nobody", "eve@example.com", "Re: Offer", 0},
		{"no author", "", "Re: Offer", 0},
	} {
		r, err := w.deliver(w.acme, text("From: "+tc.from, "Subject: "+tc.subject))
		want := reply.Result{Outcome: reply.Recorded, Match: reply.BySubject, Email: tc.email, Recipient: 1}
		if tc.email == 0 {
			want = reply.Result{Outcome: reply.NotAttributed}
		}
		if err != nil || r != want {
			t.Errorf("%s: %+v, %v; want %+v", tc.name, r, err, want)
		}
	}
	// What is sealed wins over what is guessed.
	if r := w.must(w.acme, text("From: bob@example.com", "Subject: Re: Offer", "In-Reply-To: "+w.parent(w.acme, others.ID, 2)), reply.Recorded); r.Email != others.ID || r.Match != reply.ByInReplyTo {
		t.Errorf("%+v", r)
	}
	w.clock.Add(int64(2 * 24 * time.Hour))
	w.must(w.acme, text("From: bob@example.com", "Subject: Re: Old news"), reply.NotAttributed) // too long ago
	w.must(w.other, text("From: bob@example.com", "Subject: Re: Offer"), reply.NotAttributed)   // did not ask for it
}

func (w *world) set(org event.OrgID, recipient event.RecipientID, purpose registry.Purpose, state registry.Preference) {
	w.t.Helper()
	err := w.reg.SetPreferences(context.Background(), org, []registry.PreferenceChange{{
		Subject: registry.OfRecipient(recipient), Purposes: registry.PurposesOf(purpose), State: state,
	}}, registry.Proof{Source: "test", Actor: registry.BySystem()})
	if err != nil {
		w.t.Fatal(err)
	}
}

// Either may refuse: the recipient whose reply it is, and whoever else wrote it.
func TestConsent(t *testing.T) {
	w := newWorld(t)
	w.send(w.acme, "Second", "dan@example.com") // dan 3
	from := func(who string) string {
		return text("From: "+who+"@example.com", "In-Reply-To: "+w.parent(w.acme, 1, 1))
	}
	for i, step := range []struct {
		recipient     event.RecipientID
		purpose       registry.Purpose
		state         registry.Preference
		bob, cy, dan  reply.Outcome
		eve, atOthers reply.Outcome
	}{
		{1, registry.PurposeOpen, registry.Denied, reply.Recorded, reply.Recorded, reply.Recorded, reply.Recorded, reply.Recorded},
		{1, registry.PurposeReply, registry.Denied, reply.NotAllowed, reply.Recorded, reply.NotAllowed, reply.NotAllowed, reply.Recorded},
		{1, registry.PurposeReply, registry.Allowed, reply.Recorded, reply.Recorded, reply.Recorded, reply.Recorded, reply.Recorded},
		{3, registry.PurposeReply, registry.Denied, reply.Recorded, reply.Recorded, reply.NotAllowed, reply.Recorded, reply.Recorded},
		{2, registry.PurposeReply, registry.Denied, reply.Recorded, reply.NotAllowed, reply.NotAllowed, reply.Recorded, reply.Recorded},
	} {
		w.set(w.acme, step.recipient, step.purpose, step.state)
		before := len(w.recorded(w.acme))
		want := 0
		for who, outcome := range map[string]reply.Outcome{"bob": step.bob, "cy": step.cy, "dan": step.dan, "eve": step.eve} {
			if r := w.must(w.acme, from(who), outcome); r.Outcome != outcome {
				t.Errorf("step %d, %s", i, who)
			}
			if outcome == reply.Recorded {
				want++
			}
		}
		w.must(w.other, text("From: bob@example.com", "In-Reply-To: "+w.parent(w.other, 1, 1)), step.atOthers)
		if got := len(w.recorded(w.acme)) - before; got != want {
			t.Errorf("step %d: %d recorded, want %d", i, got, want)
		}
	}
}
