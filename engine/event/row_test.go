package event

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// corners are the values at which encodings of integers go wrong.
var corners = []int64{0, 1, -1, 2, 63, 64, 127, 128, 255, 256, 16_383, 16_384, math.MaxInt32, math.MinInt32, math.MaxUint32, math.MaxInt64, math.MinInt64}

func anyInt(r *rand.Rand) int64 {
	if r.IntN(2) == 0 {
		return corners[r.IntN(len(corners))]
	}
	return int64(r.Uint64() >> r.IntN(64))
}

// natural is anyInt without the sign and below limit.
func natural(r *rand.Rand, limit uint64) uint64 { return uint64(anyInt(r)) % limit }

func anyText(r *rand.Rand) string {
	alphabets := []string{"a", "Mozilla/5.0 (;)", "äöü€", "日本語", "👩‍💻", "\x00\n\"\\"}
	alphabet := []rune(alphabets[r.IntN(len(alphabets))])
	lengths := []int{0, 0, 1, 2, 127, 128, 1000}
	var b strings.Builder
	for range lengths[r.IntN(len(lengths))] {
		b.WriteRune(alphabet[r.IntN(len(alphabet))])
	}
	return b.String()
}

// anyInteraction is every struct that Append lets through, and more.
func anyInteraction(r *rand.Rand) Interaction {
	return Interaction{
		Org: OrgID(natural(r, 1<<32)), ID: anyInt(r),
		OccurredAt: Micros(anyInt(r)), ReceivedAt: Micros(anyInt(r)),
		Kind: Kind(r.IntN(256)), Email: EmailID(natural(r, 1<<63)), Recipient: RecipientID(natural(r, 1<<63)),
		Component: int32(natural(r, 1<<31)),
		Actor:     Actor(r.IntN(256)), Reason: anyText(r), Device: Device(r.IntN(256)),
		Client: anyText(r), OS: anyText(r), Source: Source(r.IntN(256)),
		UserAgent: anyText(r), Network: anyText(r),
	}
}

func TestRowRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 20_000 {
		want := anyInteraction(r)
		row := AppendRow(nil, &want)
		got := anyInteraction(r) // every field must be overwritten
		if err := DecodeRow(row, &got); err != nil {
			t.Fatalf("case %d: %v\n%+v", i, err, want)
		}
		if got != want {
			t.Fatalf("case %d:\ngot  %+v\nwant %+v", i, got, want)
		}
		if org, err := RowOrg(row); err != nil || org != want.Org {
			t.Fatalf("case %d: RowOrg = %d, %v, want %d", i, org, err, want.Org)
		}
	}
}

func TestRowAppendsToWhatIsThere(t *testing.T) {
	in := Interaction{Org: 7, Kind: Open, Email: 1, Recipient: 2, Client: "Gmail"}
	row := AppendRow([]byte("before"), &in)
	var got Interaction
	if string(row[:6]) != "before" {
		t.Fatalf("the bytes before the row are now %q", row[:6])
	}
	if err := DecodeRow(row[6:], &got); err != nil || got != in {
		t.Fatalf("decoded %+v, %v", got, err)
	}
}

// The format is written to disk: a change of it must be deliberate and keep
// reading this.
func TestRowFormat(t *testing.T) {
	in := Interaction{
		Org: 300, ID: -2, OccurredAt: 1000, ReceivedAt: 1001, Kind: Click, Email: 1, Recipient: 2, Component: 3,
		Actor: Human, Reason: "r", Device: Mobile, Client: "c", OS: "o", Source: Redirect, UserAgent: "ua", Network: "n",
	}
	const want = "\x01\x02\x01\x02\x02" + "\xac\x02" + "\x03" + "\xd0\x0f" + "\x02" + "\x01" + "\x02" + "\x03" +
		"\x01r" + "\x01c" + "\x01o" + "\x02ua" + "\x01n"
	if got := string(AppendRow(nil, &in)); got != want {
		t.Fatalf("row is\n%q, want\n%q", got, want)
	}
}

func TestRowCutsLongTexts(t *testing.T) {
	for _, tc := range []struct{ name, unit string }{{"one byte", "x"}, {"two bytes", "ä"}, {"three bytes", "€"}, {"four bytes", "👍"}} {
		t.Run(tc.name, func(t *testing.T) {
			for shift := range 4 {
				text := strings.Repeat("-", shift) + strings.Repeat(tc.unit, maxString)
				var got Interaction
				if err := DecodeRow(AppendRow(nil, &Interaction{UserAgent: text, Network: "n"}), &got); err != nil {
					t.Fatal(err)
				}
				n := len(got.UserAgent)
				if n > maxString || n <= maxString-utf8.UTFMax || !strings.HasPrefix(text, got.UserAgent) || got.Network != "n" {
					t.Errorf("shift %d: %d bytes are left", shift, n)
				}
				if !utf8.ValidString(got.UserAgent) {
					t.Errorf("shift %d: the cut goes through a character, which no Parquet text may contain", shift)
				}
			}
		})
	}
}

// checkDamaged requires that b is refused, or decodes to something that encodes
// again, and that RowOrg and Columns never contradict DecodeRow.
func checkDamaged(t *testing.T, b []byte) {
	t.Helper()
	var in, again Interaction
	org, errOrg := RowOrg(b)
	if errOrg != nil && !errors.Is(errOrg, ErrInvalid) {
		t.Fatalf("RowOrg(%q): %v", b, errOrg)
	}
	errColumns := new(Columns).AddRow(b, 1)
	if errColumns != nil && !errors.Is(errColumns, ErrInvalid) {
		t.Fatalf("AddRow(%q): %v", b, errColumns)
	}
	if err := DecodeRow(b, &in); err != nil {
		if !errors.Is(err, ErrInvalid) {
			t.Fatalf("DecodeRow(%q): %v", b, err)
		}
		return
	}
	if errOrg != nil || org != in.Org {
		t.Fatalf("RowOrg(%q) = %d, %v; DecodeRow says %d", b, org, errOrg, in.Org)
	}
	if errColumns != nil {
		t.Fatalf("AddRow(%q): %v; DecodeRow takes it", b, errColumns)
	}
	err := DecodeRow(AppendRow(nil, &in), &again)
	for _, text := range []*string{&in.Reason, &in.Client, &in.OS, &in.UserAgent, &in.Network} {
		if !utf8.ValidString(*text) { // need not come back as it is
			in.Reason, in.Client, in.OS, in.UserAgent, in.Network = again.Reason, again.Client, again.OS, again.UserAgent, again.Network
		}
	}
	if err != nil || again != in {
		t.Fatalf("%q decodes to %+v, which comes back as %+v, %v", b, in, again, err)
	}
}

func TestDamagedRows(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for range 300 {
		in := anyInteraction(r)
		in.UserAgent, in.Client = strings.Repeat("u", r.IntN(40)), strings.Repeat("c", r.IntN(3))
		in.Reason, in.OS, in.Network = "", "iOS", ""
		row := AppendRow(nil, &in)
		for n := range len(row) {
			var got Interaction
			if err := DecodeRow(row[:n:n], &got); !errors.Is(err, ErrInvalid) {
				t.Fatalf("%d of %d bytes: %v, want ErrInvalid", n, len(row), err)
			}
			checkDamaged(t, row[:n:n])
		}
		for bit := range len(row) * 8 {
			row[bit/8] ^= 1 << (bit % 8)
			checkDamaged(t, row)
			row[bit/8] ^= 1 << (bit % 8)
		}
		checkDamaged(t, append(row, 0))
		if err := DecodeRow(append(row, 0), &in); !errors.Is(err, ErrInvalid) {
			t.Fatalf("a byte after the row: %v, want ErrInvalid", err)
		}
	}
}

func TestRowsOfOtherVersionsAreRefused(t *testing.T) {
	row := AppendRow(nil, &Interaction{Org: 1, Kind: Open})
	for _, v := range []byte{0, backRow + 1, 255} {
		row[0] = v
		var in Interaction
		if err := DecodeRow(row, &in); !errors.Is(err, ErrInvalid) {
			t.Errorf("DecodeRow of version %d: %v", v, err)
		}
		if _, err := RowOrg(row); !errors.Is(err, ErrInvalid) {
			t.Errorf("RowOrg of version %d: %v", v, err)
		}
		if err := new(Columns).AddRow(row, 1); !errors.Is(err, ErrInvalid) {
			t.Errorf("AddRow of version %d: %v", v, err)
		}
	}
}

func FuzzDecodeRow(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 3))
	for range 20 {
		in := anyInteraction(r)
		f.Add(AppendRow(nil, &in))
	}
	f.Fuzz(func(t *testing.T, b []byte) { checkDamaged(t, b) })
}

func TestRowCodecDoesNotAllocate(t *testing.T) {
	in := typical(1, time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC))[0]
	var out Interaction
	row := AppendRow(nil, &in)
	if n := testing.AllocsPerRun(100, func() {
		row = AppendRow(row[:0], &in)
		if err := DecodeRow(row, &out); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per row", n)
	}
}
