package registry

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/uptrace/bun"

	"mailwake/engine/event"
)

// TestCrashHistories runs random histories of registrations, registrations that
// a power loss cuts off before the commit, and restarts, and holds the
// ids to a model: dense from 1, one per address, none lost.
func TestCrashHistories(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 7))
			path := filepath.Join(t.TempDir(), "registry.db")
			r := open(t, path)
			acme := org(t, r, "acme")
			emails := 0
			people := map[string]event.RecipientID{}
			refused, refusals := map[string]bool{}, int64(0)
			for range 25 {
				var to []string
				for _, n := range rng.Perm(30)[:1+rng.IntN(4)] {
					to = append(to, fmt.Sprintf("u%d@example.com", n))
				}
				switch rng.IntN(6) {
				case 5:
					if people[to[0]] == 0 {
						people[to[0]] = event.RecipientID(len(people) + 1)
					}
					refused[to[0]] = !refused[to[0]]
					prefer(t, r, acme, PreferenceChange{Address: to[0], Purposes: AllPurposes, State: map[bool]Preference{true: Denied}[refused[to[0]]]})
					refusals++
				case 0:
					image := crash(t, r, path, acme, mail(to...))
					r.Close()
					path, r = image, open(t, image)
				case 1:
					r.Close()
					r = open(t, path)
				default:
					e := register(t, r, acme, mail(to...))
					if emails++; e.ID != event.EmailID(emails) {
						t.Fatalf("email id %d, want %d", e.ID, emails)
					}
					for i, p := range e.Recipients {
						if p.Blocks != refused[to[i]] {
							t.Fatalf("%s blocks: %v", to[i], p.Blocks)
						}
						if people[to[i]] == 0 {
							people[to[i]] = event.RecipientID(len(people) + 1)
						}
						if p.ID != people[to[i]] {
							t.Fatalf("recipient id %d, want %d", p.ID, people[to[i]])
						}
					}
				}
			}
			if err := r.Check(t.Context()); err != nil {
				t.Error(err)
			}
			for a, id := range people {
				if r.Decide(acme, id, event.Open).Allow == refused[a] {
					t.Errorf("%s: refused %v, and so not decided", a, refused[a])
				}
			}
			if n, err := r.VerifyLedger(t.Context(), acme); err != nil || n != refusals {
				t.Errorf("%d entries, want %d, %v", n, refusals, err)
			}
			if list, err := r.Emails(t.Context(), acme, maxListing, 0); err != nil || len(list) != emails {
				t.Errorf("%d emails stored, want %d, %v", len(list), emails, err)
			}
		})
	}
}

// crash copies the registry's files when a registration has done all but commit,
// and returns the copy: what a machine finds that lost its power there. The small
// cache makes SQLite write uncommitted pages to its log.
func crash(t *testing.T, r *Registry, path string, org event.OrgID, in NewEmail) (image string) {
	t.Helper()
	keys, err := in.prepare()
	if err != nil {
		t.Fatal(err)
	}
	image = filepath.Join(t.TempDir(), "registry.db")
	if _, err := r.writer.ExecContext(t.Context(), "PRAGMA cache_size = 1"); err != nil {
		t.Fatal(err)
	}
	powerLoss := errors.New("power loss")
	err = r.change(t.Context(), "crash", func(tx bun.Tx, next *draft) error {
		if _, err := registerEmail(t.Context(), tx, next, org, &in, keys, 1); err != nil {
			return err
		}
		refusal := newPreference{PreferenceChange: PreferenceChange{Address: keys[0], Purposes: AllPurposes, State: Denied}, key: keys[0]}
		if err := setPreferences(t.Context(), tx, next, org, []newPreference{refusal}, Proof{Source: "test", Actor: BySystem()}, 1); err != nil {
			return err
		}
		for _, suffix := range []string{"", "-wal"} {
			b, err := os.ReadFile(path + suffix)
			if err != nil {
				return err
			}
			if err := os.WriteFile(image+suffix, b, 0o600); err != nil {
				return err
			}
		}
		return powerLoss
	})
	if !errors.Is(err, powerLoss) {
		t.Fatal(err)
	}
	return image
}

func TestCommitFailureLeavesNothing(t *testing.T) {
	r := fresh(t)
	acme := org(t, r, "acme")
	boom := errors.New("boom")
	err := r.change(t.Context(), "test", func(tx bun.Tx, next *draft) error {
		next.putOrg(Org{ID: 2, Name: "ghost", State: OrgEnabled})
		if _, err := nextID(t.Context(), tx, "organisation"); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if _, ok := r.Snapshot().OrgByName("ghost"); ok || r.Decide(2, 1, event.Open).Allow {
		t.Error("the snapshot has what was rolled back")
	}
	if id := org(t, r, "beta"); id != acme+1 {
		t.Errorf("id %d: the counter moved", id)
	}
}

// crashFolder tells TestCrashChild, in another process, where to write.
const crashFolder = "REGISTRY_CRASH_TEST_FILE"

// TestCrashChild sets preferences and registers emails until it is killed, when
// asked to by TestKill.
func TestCrashChild(t *testing.T) {
	path := os.Getenv(crashFolder)
	if path == "" {
		return
	}
	r := open(t, path)
	acme, err := r.OrgByName("acme")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		prefer(t, r, acme.ID, PreferenceChange{Address: "all@example.com", Purposes: AllPurposes, State: Preference(i % 3)})
		e := register(t, r, acme.ID, mail(fmt.Sprintf("u%d-%d@example.com", os.Getpid(), i), "all@example.com"))
		fmt.Printf("ack %d\n", e.ID)
	}
}

// TestKill kills a process amid its changes: all it acknowledged is there, the ids
// have no gap, the ledger is whole, and the registry is sound.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "registry.db")
	r := open(t, path)
	acme := org(t, r, "acme")
	r.Close()
	var entries int64
	for round := range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$")
		cmd.Env = append(os.Environ(), crashFolder+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		last, lines := event.EmailID(0), bufio.NewScanner(out)
		for n := 0; n < 5+round*7 && lines.Scan(); n++ {
			if _, err := fmt.Sscanf(lines.Text(), "ack %d", &last); err != nil {
				t.Fatalf("child says %q", lines.Text())
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			_, _ = fmt.Sscanf(lines.Text(), "ack %d", &last)
		}
		_ = cmd.Wait()
		r := open(t, path)
		if err := r.Check(t.Context()); err != nil {
			t.Error(err)
		}
		var ids []event.EmailID
		for e, err := range r.EmailsSince(t.Context(), acme, 0) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, e.ID)
		}
		if n := event.EmailID(len(ids)); last == 0 || n < last || n > last+1 || ids[n-1] != n {
			t.Errorf("acknowledged %d, stored %d up to %d", last, n, ids[n-1])
		}
		// Each child's last preference may be there without its email.
		n, err := r.VerifyLedger(t.Context(), acme)
		if err != nil || n < int64(len(ids)) || n > int64(len(ids)+round+1) || n <= entries {
			t.Errorf("%d entries of the ledger with %d emails, had %d, %v", n, len(ids), entries, err)
		}
		entries = n
		r.Close()
	}
}
