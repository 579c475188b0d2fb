package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"mailwake/ingest/token"
)

// A reply through either door is recorded once, over a crash of the server.
func TestReplies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	socket := filepath.Join(t.TempDir(), "lmtp")
	args := []string{"--lmtp", "unix:" + socket, "--reply-address", "acme.example=acme"}
	p := serve(t, dir, nil, args...)
	p.createOrg("acme")
	p.follow("Hello", "<html><body><p>Hello</p></body></html>", 2)
	ring, err := token.OpenRing(filepath.Join(dir, "token.keys"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	parent := ring.MessageID(token.Claims{Org: 1, Email: 1, Recipient: 2}, "t.example")
	mail := "Message-ID: <1@customer.example>\r\nFrom: person2@customer.example\r\nIn-Reply-To: " + parent + "\r\n\r\nThanks.\r\n"
	out := strings.Replace(strings.Replace(mail, "<1@", "<2@", 1), "\r\n\r\n", "\r\nAuto-Submitted: auto-replied\r\n\r\n", 1)

	deliverLMTP(t, socket, "ann@acme.example", mail)
	deliverLMTP(t, socket, "ann@acme.example", out)
	if got := p.deliver(mail); got != "duplicate" {
		t.Errorf("by HTTP after LMTP: %s", got)
	}
	p.kill()
	p = serve(t, dir, nil, args...)
	if got := p.deliver(out); got != "duplicate" {
		t.Errorf("after a crash: %s", got)
	}
	deliverLMTP(t, socket, "ann@acme.example", mail)
	rows := p.sql("select actor, reason, source, recipient_id from interactions where kind = 'reply' order by actor")
	text, _ := json.Marshal(rows)
	if want := `[{"actor":"bot","reason":"auto_submitted","recipient_id":2,"source":"lmtp"},{"actor":"human","reason":"","recipient_id":2,"source":"lmtp"}]`; string(text) != want {
		t.Errorf("replies: %s\nwant %s", text, want)
	}
	p.stop()
}

func (p *process) deliver(mail string) string {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.at.Private+"/v1/orgs/acme/replies", strings.NewReader(mail))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.key)
	req.Header.Set("Content-Type", "message/rfc822")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Outcome string }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != 200 {
		p.t.Fatalf("%d, %v\n%s", resp.StatusCode, err, p.log)
	}
	return answer.Outcome
}

func deliverLMTP(t *testing.T, socket, to, mail string) {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	c := smtp.NewClientLMTP(conn)
	defer c.Close()
	for _, step := range []func() error{
		func() error { return c.Hello("mx.acme.example") },
		func() error { return c.Mail("person2@customer.example", nil) },
		func() error { return c.Rcpt(to, nil) },
		func() error {
			w, err := c.Data()
			if err != nil {
				return err
			}
			if _, err := io.WriteString(w, mail); err != nil {
				return err
			}
			return w.Close()
		},
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
}
