package registry

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailwake/engine/event"
)

func TestMay(t *testing.T) {
	roles := []Role{RoleAdmin, RoleSender, RoleIngest, RoleAnalyst, RoleAggregateAnalyst, "", "root"}
	for _, has := range roles {
		for _, want := range roles {
			may := has.known() && want.known() &&
				(has == want || has == RoleAdmin || has == RoleAnalyst && want == RoleAggregateAnalyst)
			one, all := Principal{Role: has, Org: 2}, Principal{Role: has, AllOrgs: true}
			if one.May(want, 2) != may || all.May(want, 2) != may || all.May(want, 0) != may {
				t.Errorf("%q as %q: one %v, all %v, want %v", has, want, one.May(want, 2), all.May(want, 2), may)
			}
			if one.May(want, 1) || one.May(want, 0) {
				t.Errorf("%q of organisation 2 reaches another one or the server", has)
			}
		}
	}
	if (Principal{}).May("", 0) || (Principal{Role: RoleAdmin}).May(RoleAdmin, 0) {
		t.Error("a principal without a scope may do something")
	}
}

func TestKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.db")
	r := open(t, path)
	acme := org(t, r, "acme")
	for _, tc := range []struct {
		in   NewKey
		code string
	}{
		{NewKey{Role: "root", AllOrgs: true}, "key_role_invalid"},
		{NewKey{AllOrgs: true}, "key_role_invalid"},
		{NewKey{Role: RoleAdmin}, "key_scope_invalid"},
		{NewKey{Role: RoleAdmin, Org: acme, AllOrgs: true}, "key_scope_invalid"},
		{NewKey{Role: RoleAdmin, Org: 9}, "org_not_found"},
		{NewKey{Role: RoleAdmin, Org: acme, Name: "a\x1b"}, "key_name_invalid"},
	} {
		_, _, err := r.CreateKey(t.Context(), tc.in)
		wantCode(t, err, tc.code)
	}
	text, key, err := r.CreateKey(t.Context(), NewKey{Name: "mailer", Role: RoleSender, Org: acme})
	if err != nil || !strings.HasPrefix(text, "mw_") || len(text) != 46 {
		t.Fatalf("key %d bytes, %v", len(text), err)
	}
	other, _, err := r.CreateKey(t.Context(), NewKey{Role: RoleAdmin, AllOrgs: true})
	if err != nil || other == text {
		t.Fatal("keys are not random", err)
	}
	if p, err := r.Authenticate(t.Context(), text); err != nil || p != key.Principal || p != (Principal{1, "mailer", RoleSender, acme, false}) {
		t.Errorf("%+v, %v", p, err)
	}
	flipped := []byte(text)
	flipped[10] ^= 1
	for _, bad := range []string{"", "mw_", text[1:], text + "A", "xx_" + text[3:], string(flipped), strings.ToUpper(text)} {
		_, err := r.Authenticate(t.Context(), bad)
		wantCode(t, err, "key_invalid")
	}
	if err := r.RevokeKey(t.Context(), key.KeyID); err != nil {
		t.Fatal(err)
	}
	if _, err = r.Authenticate(t.Context(), text); err == nil || strings.Contains(err.Error(), text) {
		t.Errorf("revoked key: %v", err)
	}
	if err := r.RevokeKey(t.Context(), key.KeyID); err != nil {
		t.Errorf("again: %v", err)
	}
	wantCode(t, r.RevokeKey(t.Context(), 9), "key_not_found")
	wantCode(t, r.RevokeKey(t.Context(), 2), "key_last_admin")
	if p, err := r.Authenticate(t.Context(), other); err != nil || !p.AllOrgs || p.Org != 0 {
		t.Errorf("the last admin key is gone: %+v, %v", p, err)
	}
	r.Close()
	r = open(t, path)
	_, err = r.Authenticate(t.Context(), text)
	wantCode(t, err, "key_invalid")
	if list, err := r.Keys(t.Context()); err != nil || len(list) != 2 || list[0].RevokedAt == 0 || list[1].RevokedAt != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	for _, name := range []string{path, path + "-wal"} {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), text[3:]) || strings.Contains(string(raw), hex.EncodeToString([]byte(text))) {
			t.Errorf("%s holds a key in plain text", name)
		}
	}
}

func TestBootstrapAdminOnce(t *testing.T) {
	r := fresh(t)
	var created atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			text, ok, err := r.BootstrapAdmin(t.Context())
			if err != nil {
				t.Error(err)
			}
			if !ok {
				if text != "" {
					t.Error("a key that was not created")
				}
				return
			}
			created.Add(1)
			if p, err := r.Authenticate(t.Context(), text); err != nil || !p.May(RoleAdmin, 0) {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
	wg.Wait()
	if created.Load() != 1 {
		t.Errorf("%d admin keys", created.Load())
	}
}

func TestLastUsed(t *testing.T) {
	c := newClock()
	r := fresh(t, func(o *Options) { o.Clock = c.Now })
	text, _, err := r.BootstrapAdmin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	use := func() event.Micros {
		t.Helper()
		if _, err := r.Authenticate(t.Context(), text); err != nil {
			t.Fatal(err)
		}
		list, err := r.Keys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return list[0].LastUsedAt
	}
	first := event.At(c.Now())
	if got := use(); got != first {
		t.Errorf("first use noted as %d", got)
	}
	c.advance(59 * time.Second)
	if got := use(); got != first {
		t.Error("written twice within a minute")
	}
	c.advance(time.Second)
	if got := use(); got != event.At(c.Now()) {
		t.Error("not written after a minute")
	}
	c.advance(-time.Hour)
	if got := use(); got != event.At(c.Now()) {
		t.Error("not written after the clock jumped back")
	}
	// With the writer taken the key is still good.
	c.advance(time.Hour)
	r.turn <- struct{}{}
	stale := event.At(c.Now().Add(-time.Hour))
	if got := use(); got != stale {
		t.Errorf("written past the writer: %d", got)
	}
	<-r.turn
}
