package ingest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"mailwake/engine/event"
	"mailwake/engine/registry"
	"mailwake/engine/wal"
	"mailwake/ingest/reply"
	"mailwake/ingest/token"
)

// Holds makes a journal a reply.Service's engine.
func (j *journal) Holds(_ context.Context, org event.OrgID, _ event.EmailID, id int64) (bool, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.ContainsFunc(j.events, func(e event.Interaction) bool { return e.Org == org && e.ID == id }), nil
}

func (j *journal) fail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.err = err
}

// newRegistry holds two organisations; each has sent one email to bob and cy.
func newRegistry(t testing.TB) *registry.Registry {
	t.Helper()
	dsn := (&url.URL{Scheme: "sqlite", Path: filepath.Join(t.TempDir(), "registry.db")}).String()
	reg, err := registry.Open(t.Context(), registry.Options{DSN: dsn, Clock: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reg.Close() })
	for _, name := range []string{"acme", "other"} {
		o, err := reg.CreateOrg(t.Context(), registry.NewOrg{Name: name, Title: "Ltd of " + name})
		if err != nil {
			t.Fatal(err)
		}
		_, err = reg.RegisterEmail(t.Context(), o.ID, registry.NewEmail{From: "ann@acme.example", Subject: "Offer", Wish: true,
			Recipients: []registry.NewRecipient{{Address: "bob@example.com"}, {Address: "cy@example.com"}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	return reg
}

// mailroom is an LMTP listener with what it stands on.
type mailroom struct {
	t      *testing.T
	ring   *token.Ring
	engine *journal
	lmtp   *LMTP
	dial   func() net.Conn
	stop   func() error
}

func newMailroom(t *testing.T, ln net.Listener, change ...func(*LMTPOptions)) *mailroom {
	t.Helper()
	ring, err := token.NewRing(noon)
	if err != nil {
		t.Fatal(err)
	}
	reg := newRegistry(t)
	m := &mailroom{t: t, ring: ring, engine: new(journal)}
	service := &reply.Service{Registry: reg, Engine: m.engine, Tokens: ring, Now: func() time.Time { return noon }, Refused: ReplyRefused}
	opts := LMTPOptions{Service: service, Orgs: reg.OrgByName, Tokens: ring, Addresses: map[string]string{
		"Replies@Acme.example": "acme", "other.example": "other", "late.example": "not-there-yet",
	}}
	for _, f := range change {
		f(&opts)
	}
	m.lmtp = NewLMTP(opts)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- m.lmtp.Serve(ctx, ln) }()
	m.stop = sync.OnceValue(func() error { cancel(); return <-served })
	t.Cleanup(func() {
		if err := m.stop(); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	m.dial = func() net.Conn {
		conn, err := net.Dial(ln.Addr().Network(), ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	return m
}

func loopback(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func (m *mailroom) parent(org event.OrgID) string {
	return m.ring.MessageID(token.Claims{Org: org, Email: 1, Recipient: 1}, "t.example")
}

func (m *mailroom) token(org event.OrgID) string {
	return string(m.ring.Seal(nil, token.KindReply, token.Claims{Org: org, Email: 1, Recipient: 2}))
}

// client is an LMTP client of another make than the server's tests in go-smtp.
func (m *mailroom) send(from string, to []string, message string) (answers map[string]error) {
	m.t.Helper()
	c := smtp.NewClientLMTP(m.dial())
	defer c.Close()
	if err := c.Hello("mx.acme.example"); err != nil {
		m.t.Fatal(err)
	}
	if err := c.Mail(from, nil); err != nil {
		m.t.Fatal(err)
	}
	answers = map[string]error{}
	accepted := 0
	for _, rcpt := range to {
		if answers[rcpt] = c.Rcpt(rcpt, nil); answers[rcpt] == nil {
			accepted++
		}
	}
	if accepted == 0 {
		return answers
	}
	w, err := c.Data()
	if err != nil {
		m.t.Fatal(err)
	}
	_, err = io.WriteString(w, message)
	if err := errors.Join(err, w.Close()); err != nil {
		var failed smtp.LMTPDataError
		if !errors.As(err, &failed) {
			m.t.Fatalf("data: %v", err)
		}
		for rcpt, answer := range failed {
			answers[rcpt] = answer
		}
	}
	return answers
}

func code(err error) int {
	if answer, ok := errors.AsType[*smtp.SMTPError](err); ok {
		return answer.Code
	}
	if err != nil {
		return -1
	}
	return 250
}

func message(id string, lines ...string) string {
	return "Message-ID: <" + id + "@example.com>\r\nFrom: Bob <bob@example.com>\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n.leading dot\r\nThank you.\r\n"
}

func TestLMTPAnswersEachAddress(t *testing.T) {
	m := newMailroom(t, loopback(t))
	both := "References: " + m.parent(1) + "\r\n " + m.parent(2)
	plus, stranger, late := "Replies+"+m.token(1)+"@acme.example", "jo@acme.example", "r@late.example"
	answers := m.send("bob@example.com", []string{"replies@acme.example", stranger, "anybody@other.example", late, "r+" + m.token(2) + "@elsewhere.example", "r+forged@elsewhere.example"}, message("1", both))
	for rcpt, want := range map[string]int{"replies@acme.example": 250, "anybody@other.example": 250, stranger: 550, late: 451, "r+forged@elsewhere.example": 550} {
		if got := code(answers[rcpt]); got != want {
			t.Errorf("%s: %d (%v), want %d", rcpt, got, answers[rcpt], want)
		}
	}
	rows := m.engine.taken()
	if len(rows) != 2 || rows[0].Org != 1 || rows[1].Org != 2 || rows[0].Recipient != 1 || rows[0].Source != event.LMTP || rows[0].Actor != event.Human || rows[0].ID == rows[1].ID {
		t.Errorf("rows %+v", rows)
	}
	// Nothing but the envelope says what it answers.
	if answers := m.send("bob@example.com", []string{plus}, message("2")); code(answers[plus]) != 250 {
		t.Errorf("plus-address: %v", answers)
	}
	if rows := m.engine.taken(); len(rows) != 1 || rows[0].Email != 1 || rows[0].Recipient != 1 {
		t.Errorf("plus-address: rows %+v", rows) // bob's, who wrote it, though the copy was cy's
	}
	if s := m.lmtp.Stats(); s != (LMTPStats{Accepted: 4, Refused: 3}) {
		t.Errorf("%+v", s)
	}
}

// A token of one organisation at the address of another is as good as none.
func TestLMTPKeepsOrganisationsApart(t *testing.T) {
	m := newMailroom(t, loopback(t))
	for i, tc := range []struct{ to, line string }{
		{"replies+" + m.token(2) + "@acme.example", "X: y"}, {"replies@acme.example", "In-Reply-To: " + m.parent(2)},
		{"r+" + m.token(2) + "@elsewhere.example", "In-Reply-To: " + m.parent(1)},
	} {
		answers := m.send("bob@example.com", []string{tc.to}, message(fmt.Sprint(i), tc.line))
		if code(answers[tc.to]) != 250 {
			t.Errorf("%s: %v", tc.to, answers)
		}
	}
	if rows := m.engine.taken(); len(rows) != 1 || rows[0].Org != 2 {
		t.Errorf("rows %+v, want the third only, with its own token's organisation", rows)
	}
}

func TestLMTPDefersWhatTheLogRefuses(t *testing.T) {
	m := newMailroom(t, loopback(t))
	to := []string{"replies@acme.example"}
	mail := message("1", "In-Reply-To: "+m.parent(1))
	for _, err := range []error{wal.ErrFull, errors.New("disk on fire"), wal.ErrClosed} {
		m.engine.fail(err)
		if answers := m.send("bob@example.com", to, mail); code(answers[to[0]]) != 451 {
			t.Errorf("%v: %v", err, answers)
		}
	}
	m.engine.fail(nil)
	for range 2 {
		if answers := m.send("bob@example.com", to, mail); code(answers[to[0]]) != 250 {
			t.Errorf("the retry: %v", answers)
		}
	}
	if rows := m.engine.taken(); len(rows) != 1 {
		t.Errorf("%d rows", len(rows))
	}
	if s := m.lmtp.Stats(); s != (LMTPStats{Accepted: 2, Deferred: 3}) {
		t.Errorf("%+v", s)
	}
}

func TestLMTPLabelsBounces(t *testing.T) {
	m := newMailroom(t, loopback(t))
	m.send("", []string{"replies@acme.example"}, message("1", "In-Reply-To: "+m.parent(1)))
	if rows := m.engine.taken(); len(rows) != 1 || rows[0].Actor != event.Bot || rows[0].Reason != reply.ReasonNullReturnPath {
		t.Errorf("rows %+v", rows)
	}
}

func TestLMTPLimits(t *testing.T) {
	const most = 1 << 20
	m := newMailroom(t, loopback(t), func(o *LMTPOptions) { o.MaxMessage = most })
	to := []string{"replies@acme.example"}
	for name, tc := range map[string]struct {
		message string
		want    int
	}{
		"too large":       {message("1", "In-Reply-To: "+m.parent(1)) + strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n", most/64), 552},
		"header":          {message("2", "In-Reply-To: "+m.parent(1), strings.Repeat("X-A: "+strings.Repeat("y", 900)+"\r\n", 300)+"X-B: c"), 552},
		"no message":      {"hello\r\n", 554},
		"empty":           {"", 554},
		"long line":       {message("3", "In-Reply-To: "+m.parent(1), "X-A: "+strings.Repeat("y", 100<<10)), 250},
		"bytes, any kind": {message("4", "In-Reply-To: "+m.parent(1)) + "\x00\xff\r\n", 250},
		"at the limit":    {message("5", "In-Reply-To: "+m.parent(1)) + strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n", most/64-4), 250},
	} {
		if answers := m.send("bob@example.com", to, tc.message); code(answers[to[0]]) != tc.want {
			t.Errorf("%s: %v, want %d", name, answers[to[0]], tc.want)
		}
	}
	if rows := m.engine.taken(); len(rows) != 3 {
		t.Errorf("%d rows, want 3", len(rows))
	}
	many := make([]string, lmtpRecipients+1)
	for i := range many {
		many[i] = fmt.Sprintf("a%d@other.example", i)
	}
	answers := m.send("bob@example.com", many, message("6", "In-Reply-To: "+m.parent(2)))
	if code(answers[many[lmtpRecipients]]) != 452 || code(answers[many[0]]) != 250 || len(m.engine.taken()) != 1 {
		t.Errorf("%d addresses: %v", len(many), answers[many[lmtpRecipients]])
	}
}

func nested(parent string) string {
	var b strings.Builder
	b.WriteString("Message-ID: <nested@x>\r\nFrom: bob@example.com\r\nIn-Reply-To: " + parent + "\r\n")
	for i := 0; b.Len() < 10<<20; i++ {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	return b.String()
}

// What does not arrive whole is not recorded, and no command can be smuggled in.
func TestLMTPRaw(t *testing.T) {
	m := newMailroom(t, loopback(t))
	conn := m.dial()
	lines := bufio.NewScanner(conn)
	say := func(text string, want ...string) {
		t.Helper()
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			for lines.Scan() && len(lines.Text()) > 3 && lines.Text()[3] == '-' {
			}
			if !strings.HasPrefix(lines.Text(), w) {
				t.Errorf("%q: answer %q, want %s", text, lines.Text(), w)
			}
		}
	}
	say("", "220")
	say("EHLO x\r\n", "500") // LMTP greets with LHLO
	say("LHLO x\r\n", "250")
	say("MAIL FROM:<a@x>\r\nRCPT TO:<replies@acme.example\rDATA>\r\n", "250", "5")
	say("RCPT TO:<replies@acme.example>\r\n", "250")
	say("DATA\r\n", "354")
	say("In-Reply-To: " + m.parent(1) + "\r\nFrom: bob@example.com\r\n\r\nhalf a")
	conn.Close()
	if err := m.stop(); err != nil { // waits for the message in flight
		t.Error(err)
	}
	if rows := m.engine.taken(); len(rows) > 0 {
		t.Errorf("recorded %+v", rows)
	}
}

func TestLMTPOverUnixSocketEndsWithIdleClients(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lmtp")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	m := newMailroom(t, ln)
	idle := m.dial()
	defer idle.Close()
	if line, err := bufio.NewReader(idle).ReadString('\n'); err != nil || !strings.HasPrefix(line, "220 ") {
		t.Fatalf("%q, %v", line, err)
	}
	if answers := m.send("bob@example.com", []string{"replies@acme.example"}, message("1", "In-Reply-To: "+m.parent(1))); code(answers["replies@acme.example"]) != 250 {
		t.Error(answers)
	}
	started := time.Now()
	if err := m.stop(); err != nil || time.Since(started) > lmtpDrain/2 {
		t.Errorf("%v after %v", err, time.Since(started))
	}
}
