package registry

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a settable time for one test.
type clock struct{ atomic.Int64 }

func (c *clock) Now() time.Time          { return event.Micros(c.Load()).Time() }
func (c *clock) advance(d time.Duration) { c.Add(d.Microseconds()) }

func newClock() *clock {
	c := new(clock)
	c.Store(int64(event.At(time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC))))
	return c
}

func dsn(path string) string { return (&url.URL{Scheme: "sqlite", Path: path}).String() }

// open opens the registry at path and closes it with the test, if nothing did before.
func open(t testing.TB, path string, opts ...func(*Options)) *Registry {
	t.Helper()
	o := Options{DSN: dsn(path), Clock: newClock().Now}
	for _, f := range opts {
		f(&o)
	}
	r, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func fresh(t testing.TB, opts ...func(*Options)) *Registry {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "registry.db"), opts...)
}

func org(t testing.TB, r *Registry, name string) event.OrgID {
	t.Helper()
	o, err := r.CreateOrg(t.Context(), NewOrg{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return o.ID
}

// mail is a valid email to these addresses, to be followed.
func mail(to ...string) NewEmail {
	in := NewEmail{From: "Ann <ann@example.com>", Subject: "Hello", Wish: true, Links: []string{"https://example.com/a?b=c&d=%zz[1]#e"}}
	for _, a := range to {
		in.Recipients = append(in.Recipients, NewRecipient{Address: a})
	}
	return in
}

func register(t testing.TB, r *Registry, org event.OrgID, in NewEmail) EmailDetail {
	t.Helper()
	e, err := r.RegisterEmail(t.Context(), org, in)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func person(t testing.TB, r *Registry, org event.OrgID, in Person) Person {
	t.Helper()
	p, err := r.PutPerson(t.Context(), org, in)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// prefer sets preferences with a valid proof.
func prefer(t testing.TB, r *Registry, org event.OrgID, changes ...PreferenceChange) {
	t.Helper()
	if err := r.SetPreferences(t.Context(), org, changes, Proof{Source: "test", Text: "May we?\nYes.", Locale: "en", FormVersion: "3", Actor: ByKey(1), Evidence: "id 1"}); err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	p, ok := errors.AsType[*problem.Error](err)
	if !ok || p.Code != code {
		t.Fatalf("error %v, want code %s", err, code)
	}
}

func TestDSN(t *testing.T) {
	for _, bad := range []string{"", "registry.db", "postgres://u:s3cret@h/db", "sqlite://registry.db", "sqlite:registry.db", "sqlite:///x?mode=memory", "sqlite://\x00s3cret"} {
		_, err := Open(t.Context(), Options{DSN: bad})
		wantCode(t, err, "registry_dsn")
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the error repeats the DSN: %v", err)
		}
	}
	dir := filepath.Join(t.TempDir(), "a b#c?d%20é")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	org(t, open(t, filepath.Join(dir, "registry.db")), "acme")
	if _, err := Open(t.Context(), Options{DSN: dsn(filepath.Join(dir, "no", "registry.db"))}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing folder: %v", err)
	}
}

func TestFilesArePrivateAndDurable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.db")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r := open(t, path)
	org(t, r, "acme")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", suffix, info.Mode(), err)
		}
	}
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
		var got string
		if err := r.writer.NewRaw("PRAGMA "+pragma).Scan(t.Context(), &got); err != nil || got != want {
			t.Errorf("%s is %s, %v; want %s", pragma, got, err, want)
		}
	}
	if _, err := r.reader.ExecContext(t.Context(), "DELETE FROM organisations"); err == nil {
		t.Error("the read pool can write")
	}
}

func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.db")
	r := open(t, path)
	acme, beta := org(t, r, "acme"), org(t, r, "beta")
	first := register(t, r, acme, mail("a@example.com", "b@example.com"))
	if _, err := r.ChangeOrg(t.Context(), beta, OrgDisable, BySystem()); err != nil {
		t.Fatal(err)
	}
	key, _, err := r.BootstrapAdmin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	orgs := fmt.Sprint(r.Orgs())
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}

	r = open(t, path)
	if got := fmt.Sprint(r.Orgs()); got != orgs {
		t.Errorf("organisations %s, were %s", got, orgs)
	}
	if v := r.Decide(beta, 1, event.Open); v.Allow || v.Reasons != OrganisationDisabled {
		t.Errorf("disabled organisation after restart: %+v", v)
	}
	if p, err := r.Authenticate(t.Context(), key); err != nil || !p.May(RoleAdmin, 0) {
		t.Errorf("key after restart: %+v, %v", p, err)
	}
	next := register(t, r, acme, mail("B@EXAMPLE.com", "c@example.com"))
	if next.ID != first.ID+1 || next.Recipients[0].ID != 2 || next.Recipients[1].ID != 3 {
		t.Errorf("ids after restart: %+v", next)
	}
	if o := org(t, r, "gamma"); o != 3 {
		t.Errorf("organisation id %d after restart, want 3", o)
	}
}

func TestMigrationsAreAppliedOnceAlsoByRivals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.db")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			r, err := Open(t.Context(), Options{DSN: dsn(path)})
			if err != nil {
				t.Error(err)
				return
			}
			r.Close()
		})
	}
	wg.Wait()
	r := open(t, path)
	var names []string
	if err := r.reader.NewRaw("SELECT name FROM bun_migrations").Scan(t.Context(), &names); err != nil || len(names) != len(migrationNames(t)) {
		t.Errorf("applied migrations %v, %v", names, err)
	}
}

func TestMigrationIsAllOrNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.db")
	// A table in the way makes the migration fail after its first statements.
	if err := createPrivate(path); err != nil {
		t.Fatal(err)
	}
	raw, err := openSQLite(path, time.Second, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := raw.ExecContext(t.Context(), "CREATE TABLE api_keys (x)"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{DSN: dsn(path)}); err == nil {
		t.Fatal("opened over a foreign table")
	}
	var tables []string
	if err := raw.NewRaw("SELECT name FROM sqlite_schema WHERE type = 'table'").Scan(t.Context(), &tables); err != nil || len(tables) != 1 {
		t.Errorf("left behind: %v, %v", tables, err)
	}
	if _, err := raw.ExecContext(t.Context(), "DROP TABLE api_keys"); err != nil {
		t.Fatal(err)
	}
	raw.Close()
	org(t, open(t, path), "acme")
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.db")
	r := open(t, path)
	if _, err := r.writer.ExecContext(t.Context(), "INSERT INTO bun_migrations (name, group_id) VALUES ('9999', 2)"); err != nil {
		t.Fatal(err)
	}
	r.Close()
	_, err := Open(t.Context(), Options{DSN: dsn(path)})
	wantCode(t, err, "registry_too_new")
	if !strings.Contains(err.Error(), "9999") {
		t.Errorf("the error does not name the version: %v", err)
	}
}

func TestCorruptFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), Options{DSN: dsn(path)})
	wantCode(t, err, "registry_corrupt")
	if !strings.Contains(err.Error(), path) {
		t.Errorf("the error does not name the file: %v", err)
	}
}
