package token_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwake/ingest/token"
)

func TestRotate(t *testing.T) {
	ring := newRing(t)
	first := ring.Seal(nil, token.KindOpen, claimCases["pixel"])
	if err := ring.Rotate(made.Add(time.Hour), nil); err != nil {
		t.Fatal(err)
	}
	second := ring.Seal(nil, token.KindOpen, claimCases["pixel"])
	if ring.Active() != 2 {
		t.Errorf("active key is %d after one rotation", ring.Active())
	}
	var c token.Claims
	for _, text := range [][]byte{first, second} {
		if err := ring.Open(token.KindOpen, text, &c); err != nil || c != claimCases["pixel"] {
			t.Errorf("Open = %+v, %v", c, err)
		}
	}

	// A ring that never heard of the second key, and one with other keys.
	older, err := token.ParseRing(strings.SplitAfter(string(ring.Text()), "\n")[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := older.Open(token.KindOpen, first, &c); err != nil {
		t.Errorf("Open of an old token = %v", err)
	}
	rejected(t, older, token.KindOpen, second, "unknown key id")
	rejected(t, newRing(t), token.KindOpen, first, "same id, other key")
}

func TestRotateBeyondAllIDs(t *testing.T) {
	ring := newRing(t)
	var tokens [][]byte
	for range 256 {
		tokens = append(tokens, ring.Seal(nil, token.KindOpen, claimCases["pixel"]))
		if err := ring.Rotate(made, nil); err != nil {
			t.Fatal(err)
		}
	}
	rejected(t, ring, token.KindOpen, tokens[0], "token of the key that fell out")
	for i, text := range tokens[1:] {
		var c token.Claims
		if err := ring.Open(token.KindOpen, text, &c); err != nil {
			t.Fatalf("token %d: %v", i+1, err)
		}
	}
}

func TestRotateStoresFirst(t *testing.T) {
	ring := newRing(t)
	full := errors.New("disk full")
	err := ring.Rotate(made, func([]byte) error { return full })
	if !errors.Is(err, full) || ring.Active() != 1 {
		t.Errorf("Rotate = %v, active %d; want the old key after an error", err, ring.Active())
	}
	var stored string
	err = ring.Rotate(made, func(text []byte) error {
		if ring.Active() != 1 {
			t.Error("the new key is active before it is stored")
		}
		stored = string(text)
		return nil
	})
	if err != nil || stored != string(ring.Text()) {
		t.Errorf("Rotate = %v, stored %d bytes, keys are %d", err, len(stored), len(ring.Text()))
	}
}

func TestRotateWhileInUse(t *testing.T) {
	ring := newRing(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				var c token.Claims
				if err := ring.Open(token.KindClick, ring.Seal(nil, token.KindClick, claimCases["link"]), &c); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			if err := ring.Rotate(made, nil); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token.keys")
	if _, err := token.LoadRing(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("LoadRing of no file = %v", err)
	}
	ring, err := token.OpenRing(path, made)
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Rotate(made, func(text []byte) error { return token.WriteFile(path, text) }); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	again, err := token.OpenRing(path, made)
	if err != nil {
		t.Fatal(err)
	}
	var c token.Claims
	if err := again.Open(token.KindOpen, ring.Seal(nil, token.KindOpen, claimCases["pixel"]), &c); err != nil || again.Active() != 2 {
		t.Errorf("after reload: %v, active %d", err, again.Active())
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("%d files left, %v", len(left), err)
	}

	if err := os.Chmod(path, 0o604); err != nil {
		t.Fatal(err)
	}
	if _, err := token.OpenRing(path, made); err == nil || !strings.Contains(err.Error(), "open to everyone") {
		t.Errorf("OpenRing of a public file = %v", err)
	}
	if err := token.WriteFile(filepath.Join(path, "x", "y"), nil); err == nil {
		t.Error("WriteFile below a file succeeded")
	}
}

func TestParseRing(t *testing.T) {
	const (
		good  = "7 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8= 2026-05-01T12:00:00Z"
		other = "0 /////////////////////////////////////////7M= 2026-05-01T12:00:00+02:00"
	)
	for name, test := range map[string]struct{ text, want string }{
		"one":         {good, ""},
		"comments":    {"# keys\n\n" + good + "\r\n", ""},
		"semicolons":  {other + ";" + good + ";", ""},
		"empty":       {"", "no keys"},
		"same id":     {good + "\n" + good, "key id 7 appears twice"},
		"id":          {"256" + good[1:], "entry 1: the id is not a number"},
		"negative id": {other + "\n-1" + good[1:], "entry 2: the id is not a number"},
		"fields":      {good + " x", "entry 1: 4 fields"},
		"short key":   {"7 AAEC 2026-05-01T12:00:00Z", "not 32 bytes"},
		"loose bits":  {strings.Replace(good, "Hh8=", "Hh9=", 1), "not 32 bytes"},
		"time":        {strings.Replace(good, "2026-05", "2026-15", 1), "not RFC 3339"},
	} {
		t.Run(name, func(t *testing.T) {
			ring, err := token.ParseRing(test.text)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "AAEC") {
					t.Fatalf("ParseRing = %v, want %q and no key material", err, test.want)
				}
				return
			}
			if err != nil || ring.Active() != 7 {
				t.Fatalf("ParseRing = %v, %v", ring, err)
			}
			again, err := token.ParseRing(string(ring.Text()))
			if err != nil || string(again.Text()) != string(ring.Text()) {
				t.Errorf("text does not survive a round trip: %v", err)
			}
		})
	}
}

func TestRingPrintsNoSecrets(t *testing.T) {
	ring := newRing(t)
	secret := strings.Fields(string(ring.Text()))[1]
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(verb, ring); strings.Contains(s, secret) || !strings.HasPrefix(s, "token.Ring(1 keys") {
			t.Errorf("%s prints %q", verb, s)
		}
	}
}
