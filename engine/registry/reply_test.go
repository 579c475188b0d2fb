package registry

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailwake/engine/event"
)

func replyID(t *testing.T, r *Registry, org event.OrgID, messageID string) ReplyID {
	t.Helper()
	id, err := r.ReplyID(t.Context(), org, messageID)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func claim(t *testing.T, r *Registry, id ReplyID, want ReplyState) {
	t.Helper()
	seen, err := r.ReplySeen(t.Context(), id)
	if err != nil || seen != want {
		t.Errorf("seen %q, %v; want %q", seen, err, want)
	}
	if state, err := r.ClaimReply(t.Context(), id); err != nil || state != want {
		t.Errorf("claim %q, %v; want %q", state, err, want)
	}
}

func TestReplyIDs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.db")
	r := open(t, path)
	acme, other := org(t, r, "acme"), org(t, r, "other")
	id := replyID(t, r, acme, "<a@example.com>")
	if id.EventID() >= 0 {
		t.Errorf("event id %d, want a negative one", id.EventID())
	}
	for what, same := range map[string]ReplyID{
		"another message":      replyID(t, r, acme, "<A@example.com>"),
		"another organisation": replyID(t, r, other, "<a@example.com>"),
	} {
		if same.EventID() == id.EventID() {
			t.Errorf("%s has the same event id", what)
		}
	}
	claim(t, r, id, ReplyNew)
	r.Close()
	r = open(t, path)
	if again := replyID(t, r, acme, "<a@example.com>"); again != id {
		t.Errorf("after a restart the id is %v, was %v", again, id)
	}
	if _, err := r.ReplyID(t.Context(), 99, "<a@example.com>"); err == nil {
		t.Error("an unknown organisation has reply ids")
	}
	r.Close()
	if raw, err := os.ReadFile(path); err != nil || bytes.Contains(raw, []byte("a@example.com")) {
		t.Errorf("the file holds the Message-ID (%v)", err)
	}
}

func TestReplyStates(t *testing.T) {
	clock := newClock()
	r := fresh(t, func(o *Options) { o.Clock = clock.Now })
	acme, other := org(t, r, "acme"), org(t, r, "other")
	id := replyID(t, r, acme, "<a@example.com>")
	claim(t, r, id, ReplyNew)
	claim(t, r, id, ReplyPending)
	claim(t, r, replyID(t, r, other, "<a@example.com>"), ReplyNew)
	if err := r.ReleaseReply(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	claim(t, r, id, ReplyNew)
	if err := r.SettleReply(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := r.ReleaseReply(t.Context(), id); err != nil { // a settled one stays
		t.Fatal(err)
	}
	claim(t, r, id, ReplySettled)
	clock.advance(ReplyMemory)
	claim(t, r, id, ReplySettled)
	clock.advance(time.Microsecond)
	if seen, err := r.ReplySeen(t.Context(), id); err != nil || seen != ReplyNew {
		t.Errorf("after its time: %q, %v", seen, err)
	}
	claim(t, r, replyID(t, r, acme, "<b@example.com>"), ReplyNew)
	var rows int
	if err := r.reader.NewRaw("SELECT count(*) FROM replies WHERE org_id = ?", acme).Scan(t.Context(), &rows); err != nil || rows != 1 {
		t.Errorf("%d rows, %v: what is past its time stays", rows, err)
	}
}

func TestOneClaimWins(t *testing.T) {
	r := fresh(t)
	acme := org(t, r, "acme")
	var won atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			id, err := r.ReplyID(t.Context(), acme, "<a@example.com>")
			if err != nil {
				t.Error(err)
				return
			}
			state, err := r.ClaimReply(t.Context(), id)
			if err != nil {
				t.Error(err)
			}
			if state == ReplyNew {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d claims were the first", won.Load())
	}
}

func TestReplier(t *testing.T) {
	r := fresh(t)
	acme, other := org(t, r, "acme"), org(t, r, "other")
	first := register(t, r, acme, mail("bob@example.com", "cy@example.com"))
	register(t, r, acme, mail("dan@example.com"))
	register(t, r, other, mail("eve@example.com"))
	bob, cy, dan := first.Recipients[0].ID, first.Recipients[1].ID, event.RecipientID(3)
	for _, tc := range []struct {
		name      string
		org       event.OrgID
		email     event.EmailID
		recipient event.RecipientID
		address   string
		want      Replier
	}{
		{"the recipient", acme, 1, bob, "BOB@example.com", Replier{Known: true, Recipient: bob, GotEmail: true}},
		{"another recipient", acme, 1, bob, "cy@example.com", Replier{Known: true, Recipient: cy, GotEmail: true}},
		{"a recipient of another email", acme, 1, bob, "dan@example.com", Replier{Known: true, Recipient: dan}},
		{"a colleague", acme, 1, bob, "fay@example.com", Replier{Known: true}},
		{"a person of another organisation", acme, 1, bob, "eve@example.com", Replier{Known: true}},
		{"the sender", acme, 1, bob, "ANN@example.com", Replier{Known: true, IsSender: true}},
		{"no address", acme, 1, bob, "", Replier{Known: true}},
		{"not an address", acme, 1, bob, "a\r\nb", Replier{Known: true}},
		{"a copy that was not sent", acme, 1, dan, "dan@example.com", Replier{Recipient: dan}},
		{"no such email", acme, 99, bob, "bob@example.com", Replier{}},
		{"another organisation's email", other, 2, bob, "bob@example.com", Replier{}},
	} {
		got, err := r.Replier(t.Context(), tc.org, tc.email, tc.recipient, tc.address)
		if err != nil || got != tc.want {
			t.Errorf("%s: %+v, %v; want %+v", tc.name, got, err, tc.want)
		}
	}
	if a, err := r.RecipientAddress(t.Context(), acme, cy); err != nil || a != "cy@example.com" {
		t.Errorf("address %q, %v", a, err)
	}
	if _, err := r.RecipientAddress(t.Context(), other, cy); err == nil {
		t.Error("the address of another organisation's recipient is told")
	}
}

func TestRecentEmailsTo(t *testing.T) {
	clock := newClock()
	r := fresh(t, func(o *Options) { o.Clock = clock.Now })
	acme, other := org(t, r, "acme"), org(t, r, "other")
	for range 3 {
		register(t, r, acme, mail("bob@example.com", "cy@example.com"))
		register(t, r, other, mail("bob@example.com"))
		clock.advance(time.Hour)
	}
	register(t, r, acme, mail("cy@example.com"))
	since := event.At(clock.Now().Add(-2 * time.Hour))
	recipient, emails, err := r.RecentEmailsTo(t.Context(), acme, "Bob@Example.com", since)
	if err != nil || recipient != 1 || len(emails) != 2 || emails[0].ID != 3 || emails[1].ID != 2 || emails[0].Subject != "Hello" {
		t.Errorf("recipient %d, %+v, %v", recipient, emails, err)
	}
	for _, address := range []string{"nobody@example.com", "", "no address"} {
		if recipient, emails, err := r.RecentEmailsTo(t.Context(), acme, address, since); err != nil || recipient != 0 || emails != nil {
			t.Errorf("%q: %d, %v, %v", address, recipient, emails, err)
		}
	}
}
