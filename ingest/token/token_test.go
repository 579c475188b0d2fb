package token_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwake/ingest/token"
)

var made = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func newRing(t testing.TB) *token.Ring {
	t.Helper()
	r, err := token.NewRing(made)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var claimCases = map[string]token.Claims{
	"pixel":       {Org: 1, Email: 2, Recipient: 3},
	"largest":     {Org: math.MaxUint32, Email: math.MaxInt64, Recipient: math.MaxInt64, Component: math.MaxInt32},
	"varint edge": {Org: 127, Email: 128, Recipient: 16383, Component: 16384},
	"link":        {Org: 7, Email: 4_000_000, Recipient: 12, Component: 3, Target: "https://example.com/a?b=1&c=%20#x(y)[z]"},
	"full":        {Org: math.MaxUint32, Email: math.MaxInt64, Recipient: math.MaxInt64, Component: math.MaxInt32, Target: strings.Repeat("ü", token.MaxTarget/2)},
}

func TestRoundTrip(t *testing.T) {
	ring := newRing(t)
	for name, want := range claimCases {
		t.Run(name, func(t *testing.T) {
			for kind := token.KindOpen; kind <= token.KindReply; kind++ {
				text := ring.Seal(nil, kind, want)
				if len(text) > token.MaxLen || (want.Target == "" && len(text) > token.PixelLen) {
					t.Errorf("%d bytes, over the limit", len(text))
				}
				if i := bytes.IndexFunc(text, func(c rune) bool {
					return !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", c)
				}); i >= 0 {
					t.Errorf("byte %q in a token", text[i])
				}
				var got token.Claims
				if err := ring.Open(kind, text, &got); err != nil || got != want {
					t.Errorf("Open = %+v, %v; want %+v", got, err, want)
				}
			}
		})
	}
}

func TestSealAppendsAndNeverRepeats(t *testing.T) {
	ring := newRing(t)
	one := string(ring.Seal([]byte("https://x/o/"), token.KindOpen, claimCases["pixel"]))
	two := string(ring.Seal([]byte("https://x/o/"), token.KindOpen, claimCases["pixel"]))
	if !strings.HasPrefix(one, "https://x/o/") || one == two {
		t.Errorf("Seal = %q, then %q", one, two)
	}
}

func TestSealPanicsOutsideTheFormat(t *testing.T) {
	ring := newRing(t)
	for name, seal := range map[string]func(){
		"target":    func() { ring.Seal(nil, token.KindClick, token.Claims{Target: strings.Repeat("x", token.MaxTarget+1)}) },
		"kind":      func() { ring.Seal(nil, token.KindInvalid, token.Claims{}) },
		"email":     func() { ring.Seal(nil, token.KindOpen, token.Claims{Email: -1}) },
		"component": func() { ring.Seal(nil, token.KindOpen, token.Claims{Component: -1}) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("sealed")
				}
			}()
			seal()
		})
	}
}

// rejected fails the test when text opens; c must stay as it was.
func rejected(t *testing.T, ring *token.Ring, kind token.Kind, text []byte, what string) {
	t.Helper()
	before := token.Claims{Org: 99, Target: "untouched"}
	c := before
	if err := ring.Open(kind, text, &c); !errors.Is(err, token.ErrInvalid) {
		t.Fatalf("%s: Open = %v for %q", what, err, text)
	}
	if c != before {
		t.Fatalf("%s: claims changed to %+v", what, c)
	}
}

func TestKindsAreSeparate(t *testing.T) {
	ring := newRing(t)
	for sealed := token.KindOpen; sealed <= token.KindReply; sealed++ {
		text := ring.Seal(nil, sealed, claimCases["link"])
		for asked := token.KindInvalid; asked <= token.KindReply+1; asked++ {
			if asked != sealed {
				rejected(t, ring, asked, text, "other kind")
			}
		}
	}
}

func TestEveryBitFlipIsRejected(t *testing.T) {
	ring := newRing(t)
	for _, name := range []string{"pixel", "link"} {
		text := ring.Seal(nil, token.KindClick, claimCases[name])
		for i := range len(text) * 8 { // of the text
			m := bytes.Clone(text)
			m[i/8] ^= 1 << (i % 8)
			rejected(t, ring, token.KindClick, m, "bit of the text")
		}
		raw, err := base64.RawURLEncoding.DecodeString(string(text))
		if err != nil {
			t.Fatal(err)
		}
		for i := range len(raw) * 8 { // of the bytes
			m := bytes.Clone(raw)
			m[i/8] ^= 1 << (i % 8)
			rejected(t, ring, token.KindClick, []byte(base64.RawURLEncoding.EncodeToString(m)), "bit of the bytes")
		}
	}
}

func TestOtherTextsOfATokenAreRejected(t *testing.T) {
	ring := newRing(t)
	// Sizes with 0, 1 and 2 spare base64 characters.
	for n := range 3 {
		text := string(ring.Seal(nil, token.KindClick, token.Claims{Org: 1, Target: strings.Repeat("x", n)}))
		for i := range len(text) {
			rejected(t, ring, token.KindClick, []byte(text[:i]), "truncation")
			rejected(t, ring, token.KindClick, []byte(text[i+1:]), "front cut off")
			rejected(t, ring, token.KindClick, []byte(text[:i]+"\n"+text[i:]), "line end inside")
			rejected(t, ring, token.KindClick, []byte(text[:i]+"\r\n"+text[i:]), "line ends inside")
		}
		for _, more := range []string{"=", "==", "\n", "\r", "\r\n", "A", "AA", "AAAA", "\x00", " ", "%3D"} {
			rejected(t, ring, token.KindClick, []byte(text+more), "suffix")
		}
		// The last character may have unused bits: of all 64 only one is the token.
		accepted := 0
		for _, last := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/" {
			var c token.Claims
			if ring.Open(token.KindClick, []byte(text[:len(text)-1]+string(last)), &c) == nil {
				accepted++
			}
		}
		if accepted != 1 {
			t.Errorf("%d last characters are accepted", accepted)
		}
		if std := strings.NewReplacer("-", "+", "_", "/").Replace(text); std != text {
			rejected(t, ring, token.KindClick, []byte(std), "standard alphabet")
		}
	}
	rejected(t, ring, token.KindClick, nil, "empty")
	rejected(t, ring, token.KindClick, bytes.Repeat([]byte("A"), token.MaxLen), "longest")
	rejected(t, ring, token.KindClick, bytes.Repeat([]byte("A"), 1<<20), "too long")
	full := ring.Seal(nil, token.KindClick, claimCases["full"])
	rejected(t, ring, token.KindClick, append(full, full...), "too long, starting with a token")
}

// One organisation's token with the bytes of another's spliced in, at every place.
func TestSwappedOrganisation(t *testing.T) {
	ring := newRing(t)
	decode := func(c token.Claims) []byte {
		raw, err := base64.RawURLEncoding.DecodeString(string(ring.Seal(nil, token.KindClick, c)))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	mine, theirs := claimCases["link"], claimCases["link"]
	theirs.Org++
	a, b := decode(mine), decode(theirs)
	if len(a) != len(b) {
		t.Fatal("the two tokens differ in length")
	}
	for from := range len(a) {
		for to := from + 1; to <= len(a); to++ {
			m := bytes.Clone(a)
			copy(m[from:to], b[from:to])
			if bytes.Equal(m, a) || bytes.Equal(m, b) {
				continue
			}
			rejected(t, ring, token.KindClick, []byte(base64.RawURLEncoding.EncodeToString(m)), "splice")
		}
	}
	// Exactly the organisation's byte turned into the other's by its known difference.
	m := bytes.Clone(a)
	m[2+12] ^= byte(mine.Org) ^ byte(theirs.Org)
	rejected(t, ring, token.KindClick, []byte(base64.RawURLEncoding.EncodeToString(m)), "malleated organisation")
}

func TestNoMutationIsAccepted(t *testing.T) {
	total := 1_000_000
	if testing.Short() {
		total = 50_000
	}
	ring := newRing(t)
	var valid [][]byte
	for _, c := range claimCases {
		if len(c.Target) < 100 {
			valid = append(valid, ring.Seal(nil, token.KindOpen, c))
		}
	}
	workers := runtime.GOMAXPROCS(0)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			var m []byte
			for range total / workers {
				base := valid[rng.IntN(len(valid))]
				m = mutate(rng, append(m[:0], base...))
				var c token.Claims
				if !bytes.Equal(m, base) && ring.Open(token.KindOpen, m, &c) == nil {
					t.Errorf("accepted %q, a mutation of %q", m, base)
					return
				}
			}
		})
	}
	wg.Wait()
}

// mutate changes b in one to four places; mostly it stays in the alphabet.
func mutate(rng *rand.Rand, b []byte) []byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for range 1 + rng.IntN(4) {
		i := rng.IntN(len(b))
		switch rng.IntN(6) {
		case 0:
			b[i] = byte(rng.IntN(256))
		case 1:
			b = append(b[:i], b[i+1:]...)
		case 2:
			b = append(b, alphabet[rng.IntN(64)])
		case 3:
			j := rng.IntN(len(b))
			b[i], b[j] = b[j], b[i]
		default:
			b[i] = alphabet[rng.IntN(64)]
		}
	}
	return b
}

func FuzzOpen(f *testing.F) {
	ring := newRing(f)
	for _, c := range claimCases {
		for kind := token.KindOpen; kind <= token.KindReply; kind++ {
			f.Add(byte(kind), ring.Seal(nil, kind, c))
		}
	}
	f.Add(byte(token.KindOpen), []byte(""))
	f.Add(byte(token.KindClick), []byte("AQEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))
	f.Fuzz(func(t *testing.T, kind byte, text []byte) {
		var c token.Claims
		if err := ring.Open(token.Kind(kind), text, &c); err == nil {
			// Every process has its own keys, so only this one's seeds can open,
			// and they must mean what one of the cases says.
			for _, want := range claimCases {
				if c == want {
					return
				}
			}
			t.Fatalf("forged %+v with %q", c, text)
		} else if !errors.Is(err, token.ErrInvalid) || c != (token.Claims{}) {
			t.Fatalf("Open = %v, claims %+v", err, c)
		}
	})
}

func TestOpenPixelDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		return // the race detector makes sync.Pool drop items at random
	}
	ring := newRing(t)
	good := ring.Seal(nil, token.KindOpen, claimCases["largest"])
	bad := bytes.Clone(good)
	bad[20] ^= 1
	buf := make([]byte, 0, token.MaxLen)
	var c token.Claims
	for name, f := range map[string]func(){
		"good": func() { _ = ring.Open(token.KindOpen, good, &c) },
		"bad":  func() { _ = ring.Open(token.KindOpen, bad, &c) },
		"seal": func() { buf = ring.Seal(buf[:0], token.KindOpen, c) },
	} {
		// A collection may empty the pool once in a while, hence not exactly 0.
		if n := testing.AllocsPerRun(1000, f); n >= 0.5 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	ring := newRing(b)
	pixel := ring.Seal(nil, token.KindOpen, claimCases["pixel"])
	link := ring.Seal(nil, token.KindOpen, claimCases["link"])
	bad := bytes.Clone(pixel)
	bad[10] ^= 1
	unknown := bytes.Clone(pixel)
	unknown[2] ^= 3
	for _, bench := range []struct {
		name string
		text []byte
	}{{"pixel", pixel}, {"link", link}, {"forged", bad}, {"unknown key", unknown}, {"not base64", bytes.Repeat([]byte("%"), len(pixel))}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			var c token.Claims
			for b.Loop() {
				_ = ring.Open(token.KindOpen, bench.text, &c)
			}
		})
	}
}

func BenchmarkSeal(b *testing.B) {
	ring := newRing(b)
	for _, name := range []string{"pixel", "link"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			buf := make([]byte, 0, token.MaxLen)
			for b.Loop() {
				buf = ring.Seal(buf[:0], token.KindClick, claimCases[name])
			}
		})
	}
}
