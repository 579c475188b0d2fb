package token_test

import (
	"strings"
	"testing"

	"mailwake/ingest/token"
)

func TestPreferenceURL(t *testing.T) {
	ring := newRing(t)
	for _, base := range []string{"https://t.example.com", "https://t.example.com/", "https://example.com/track"} {
		address := ring.PreferenceURL(base, 7, 9)
		text, ok := strings.CutPrefix(address, strings.TrimRight(base, "/")+"/p/")
		var c token.Claims
		if err := ring.Open(token.KindPreference, []byte(text), &c); !ok || err != nil || c != (token.Claims{Org: 7, Recipient: 9}) {
			t.Errorf("%s: %v, claims %+v", address, err, c)
		}
		rejected(t, ring, token.KindReply, []byte(text), "other kind")
	}
}
