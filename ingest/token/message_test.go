package token_test

import (
	"errors"
	"net/mail"
	"strings"
	"testing"

	"mailwake/ingest/token"
)

func TestMessageID(t *testing.T) {
	ring := newRing(t)
	want := token.Claims{Org: 3, Email: 70_000, Recipient: 12}
	id := ring.MessageID(want, "t.example.com")
	if !strings.HasPrefix(id, "<") || !strings.HasSuffix(id, "@t.example.com>") {
		t.Fatalf("Message-ID %q", id)
	}
	if _, err := mail.ParseAddress(id); err != nil {
		t.Errorf("not a dot-atom: %v", err)
	}
	for _, text := range []string{id, strings.Trim(id, "<>"), " " + id + "\r\n", strings.Replace(id, "t.example.com", "relay.example", 1)} {
		var got token.Claims
		if err := ring.OpenMessageID(text, &got); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	pixel := string(ring.Seal(nil, token.KindOpen, want))
	for _, text := range []string{"", "<>", "@", "<@t.example.com>", strings.TrimSuffix(strings.Trim(id, "<>"), "@t.example.com"), "<" + pixel + "@t.example.com>", strings.ToUpper(id), "<x" + id[1:]} {
		if err := ring.OpenMessageID(text, new(token.Claims)); !errors.Is(err, token.ErrInvalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
