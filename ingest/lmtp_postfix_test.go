//go:build postfix

package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"mailwake/engine/event"
	"mailwake/engine/wal"
	"mailwake/ingest/reply"
)

// postfixPatience bounds every wait for the real mail server.
const postfixPatience = 60 * time.Second

// attempts is an engine that tells of every attempt to record.
type attempts struct {
	*journal
	made chan error
}

func (a *attempts) Append(ctx context.Context, in []event.Interaction) error {
	err := a.journal.Append(ctx, in)
	a.made <- err
	return err
}

func (a *attempts) next(t *testing.T) error {
	t.Helper()
	select {
	case err := <-a.made:
		return err
	case <-time.After(postfixPatience):
		t.Fatal("the mail server has not delivered")
		return nil
	}
}

const mainCF = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.acme.example
mydestination =
alias_maps =
mynetworks = 127.0.0.0/8
recipient_delimiter = +
virtual_mailbox_domains = acme.example, other.example
virtual_transport = lmtp:inet:%[2]s
maillog_file = %[1]s/log
maillog_file_prefixes = %[1]s
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 2s
`

const masterCF = `%s inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
lmtp unix - - n - - lmtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
`

// startPostfix runs a mail server of its own, on loopback, which delivers to the
// LMTP listener; it returns where it takes mail.
func startPostfix(t *testing.T, lmtp string) (address string) {
	t.Helper()
	owner, err := user.Lookup("postfix")
	if err != nil {
		t.Fatalf("install Debian's package postfix: %v", err)
	}
	dir, err := os.MkdirTemp("", "postfix") // t.TempDir is not open to Postfix's user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ln := loopback(t)
	address = ln.Addr().String()
	ln.Close()
	uid, _ := strconv.Atoi(owner.Uid)
	conf := filepath.Join(dir, "conf")
	for _, err := range []error{
		os.Chmod(dir, 0o755), os.Mkdir(conf, 0o755), os.Mkdir(filepath.Join(dir, "queue"), 0o755), os.Mkdir(filepath.Join(dir, "data"), 0o700),
		os.Chown(filepath.Join(dir, "data"), uid, -1),
		os.WriteFile(filepath.Join(conf, "main.cf"), fmt.Appendf(nil, mainCF, dir, lmtp), 0o644),
		os.WriteFile(filepath.Join(conf, "master.cf"), fmt.Appendf(nil, masterCF, address), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	server := exec.Command("postfix", "-c", conf, "start-fg")
	server.Stdout, server.Stderr = &out, &out
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if text, err := exec.Command("postfix", "-c", conf, "stop").CombinedOutput(); err != nil {
			t.Errorf("stop: %v\n%s", err, text)
		}
		_ = server.Wait() // ended by the signal of stop
		if log, _ := os.ReadFile(filepath.Join(dir, "log")); t.Failed() {
			t.Logf("%s\n%s", out.Bytes(), log)
		}
	})
	for deadline := time.Now().Add(postfixPatience); ; {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return address
		}
		if time.Now().After(deadline) {
			t.Fatalf("the mail server does not answer: %v", err)
		}
		<-time.After(50 * time.Millisecond)
	}
}

func smtpSend(t *testing.T, address, from, to, mail string) {
	t.Helper()
	c, err := smtp.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = errors.Join(c.Hello("client.example"), c.Mail(from, nil), c.Rcpt(to, nil))
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, mail); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// A real mail server delivers; what the log refuses it keeps and delivers later.
func TestPostfix(t *testing.T) {
	ln := loopback(t)
	m := newMailroom(t, ln)
	engine := &attempts{m.engine, make(chan error, 100)}
	m.lmtp.opts.Service.Engine = engine
	mx := startPostfix(t, ln.Addr().String())

	plus := "Replies+" + m.token(1) + "@acme.example"
	for _, tc := range []struct {
		name, from, to, mail string
		actor                event.Actor
		reason               string
	}{
		{"in reply to", "bob@example.com", "replies@acme.example", message("1", "In-Reply-To: "+m.parent(1)), event.Human, ""},
		{"plus-address, case kept", "bob@example.com", plus, message("2"), event.Human, ""},
		{"bounce", "", "replies@acme.example", message("3", "In-Reply-To: "+m.parent(1)), event.Bot, reply.ReasonNullReturnPath},
		{"large", "bob@example.com", "replies@acme.example", message("4", "In-Reply-To: "+m.parent(1)) + strings.Repeat("0123456789abcdef0123456789abcdef\r\n", 8<<20/34), event.Human, ""},
	} {
		smtpSend(t, mx, tc.from, tc.to, tc.mail)
		if err := engine.next(t); err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if rows := engine.taken(); len(rows) != 1 || rows[0].Source != event.LMTP || rows[0].Actor != tc.actor || rows[0].Reason != tc.reason || rows[0].Recipient != 1 {
			t.Errorf("%s: %+v", tc.name, rows)
		}
	}
	engine.fail(wal.ErrFull)
	smtpSend(t, mx, "bob@example.com", "replies@acme.example", message("5", "In-Reply-To: "+m.parent(1)))
	for range 2 { // the first attempt, and one from the queue
		if err := engine.next(t); !errors.Is(err, wal.ErrFull) {
			t.Fatal(err)
		}
	}
	engine.fail(nil)
	for err := engine.next(t); err != nil; err = engine.next(t) {
	}
	if rows := engine.taken(); len(rows) != 1 {
		t.Errorf("%d rows after the log took it", len(rows))
	}
}
