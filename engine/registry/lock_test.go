package registry

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"mailwake/engine/event"
)

func TestLockedByAnotherWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.db")
	const patience = 100 * time.Millisecond
	r := open(t, path, func(o *Options) { o.BusyTimeout = patience })
	acme := org(t, r, "acme")
	patient := open(t, path)

	rival, err := openSQLite(path, time.Second, true)
	if err != nil {
		t.Fatal(err)
	}
	defer rival.Close()
	tx, err := rival.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	_, err = r.RegisterEmail(t.Context(), acme, mail("a@example.com"))
	wantCode(t, err, "registry_busy")
	if took := time.Since(begun); took < patience {
		t.Errorf("gave up after %v", took)
	}
	if _, err := r.Email(t.Context(), acme, 1); err == nil {
		t.Error("a refused email is there")
	} else {
		wantCode(t, err, "email_not_found") // reading goes on under the lock
	}

	waiting := make(chan error, 1)
	go func() {
		_, err := patient.RegisterEmail(t.Context(), acme, mail("a@example.com"))
		waiting <- err
	}()
	select {
	case err := <-waiting:
		t.Fatalf("did not wait for the lock: %v", err)
	case <-time.After(3 * patience):
	}
	tx.Rollback()
	if err := <-waiting; err != nil {
		t.Errorf("after the lock was gone: %v", err)
	}
}

func TestTurnIsBounded(t *testing.T) {
	r := fresh(t, func(o *Options) { o.BusyTimeout = 20 * time.Millisecond })
	acme := org(t, r, "acme")
	r.turn <- struct{}{}
	_, err := r.RegisterEmail(t.Context(), acme, mail("a@example.com"))
	wantCode(t, err, "registry_busy")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.ChangeOrg(ctx, acme, OrgDisable, BySystem()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	<-r.turn
	if v := r.Decide(acme, 1, event.Open); !v.Allow {
		t.Errorf("a change that did not happen is in the snapshot: %+v", v)
	}
}
