package query

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// attack is what somebody sees who wants to know whether one more person did it,
// all else being known.
type attack struct {
	name string
	// sees is what is seen under a secret when one is 1, or 0.
	sees func(m *many, r *rand.Rand, one int64) string
	// step: one sight in k tells that somebody did it, and no more than one.
	step bool
}

// shown is a figure as text.
func shownText(m *many, group, figure string, n, all int64) string {
	v, ok := m.figure(group, figure, n, all, 1)
	return fmt.Sprint(v, ok)
}

var differencing = []attack{
	{name: "what is left of all", sees: func(m *many, _ *rand.Rand, one int64) string {
		return shownText(m, "email_id=1", "openers_unique", 56+one, 57)
	}},
	{name: "everybody of few", sees: func(m *many, _ *rand.Rand, one int64) string {
		return shownText(m, "email_id=1", "openers_unique", 20+one, 21)
	}},
	{name: "the limit", sees: func(m *many, _ *rand.Rand, one int64) string {
		return shownText(m, "email_id=1", "openers_unique", 10+one, 500)
	}},
	{name: "all emails less one", sees: func(m *many, _ *rand.Rand, one int64) string {
		return shownText(m, "", "openers_unique", 340+one, 400) + shownText(m, "email_id=1", "openers_unique", 340, 399)
	}},
	{name: "all emails less many", sees: func(m *many, r *rand.Rand, one int64) string {
		sum, rest := 0.0, int64(0)
		for email := range 20 {
			n := 30 + r.Int64N(100)
			rest += n
			v, ok := m.figure(fmt.Sprint("email_id=", email), "openers_unique", n, 200, 1)
			if !ok {
				v = 10
			}
			sum += float64(v)
		}
		v, _ := m.figure("", "openers_unique", rest+one, math.MaxInt64, 1)
		return fmt.Sprint(float64(v) - sum)
	}},
	{name: "machines: by anyone less by people", sees: func(m *many, _ *rand.Rand, one int64) string {
		return shownText(m, "email_id=1", "openers_unique", 73+one, 100) + shownText(m, "email_id=1", "openers_human", 73, 100)
	}},
	{name: "one device", sees: func(m *many, _ *rand.Rand, one int64) string {
		return shownText(m, "by=device\x00name=mobile", "people", 42+one, math.MaxInt64) + shownText(m, "email_id=7\x00by=device\x00name=mobile", "people", 42, math.MaxInt64)
	}},
	{name: "before and after", step: true, sees: func(m *many, _ *rand.Rand, one int64) string {
		return shownText(m, "email_id=1", "openers_unique", 47, 100) + shownText(m, "email_id=1", "openers_unique", 47+one, 100)
	}},
}

// Whoever knows all but one person, and asks for figures whose difference is that
// person, guesses hardly better than by a coin.
func TestDifferencing(t *testing.T) {
	const k, secrets = 10, 20_000
	for _, a := range differencing {
		seen := map[string][2]float64{}
		for i := range uint64(secrets) {
			m := &many{least: k, secret: fmt.Append(nil, i)}
			for one := range int64(2) {
				sight := a.sees(m, rand.New(rand.NewPCG(i, 1)), one)
				counts := seen[sight]
				counts[one]++
				seen[sight] = counts
			}
		}
		// The best guess is right in half of the cases and this much more.
		advantage := 0.0
		for sight, counts := range seen {
			advantage += math.Abs(counts[0]-counts[1]) / secrets / 4
			// What is only ever seen if the person did it, or only if not, is no guess.
			if surely := counts[0] == 0 || counts[1] == 0; surely && counts[0]+counts[1] > 1.5*secrets/k/k && !a.step {
				t.Errorf("%s: %q tells it for sure: %v", a.name, sight, counts)
			}
		}
		t.Logf("%s: %.1f %% right, %d sights", a.name, 50+100*advantage, len(seen))
		if advantage > 1.0/k*0.55+0.02 {
			t.Errorf("%s: a guess is right in %.1f %%", a.name, 50+100*advantage)
		}
	}
}

// Figures are right on average, and whoever asks again sees them again.
func TestFiguresAreFair(t *testing.T) {
	for _, n := range []int64{30, 57, 431} {
		sum := 0.0
		for i := range 20_000 {
			m := &many{least: 10, secret: fmt.Append(nil, i)}
			v, ok := m.figure("g", "f", n, unbounded, 1)
			if again, _ := m.figure("g", "f", n, unbounded, 1); !ok || again != v {
				t.Fatalf("%d is %d, then %d", n, v, again)
			}
			sum += float64(v)
		}
		if mean := sum / 20_000; math.Abs(mean-float64(n)) > 0.2 {
			t.Errorf("%d is %.2f on average", n, mean)
		}
	}
	m := &many{least: 10, secret: []byte("s")}
	for n := range int64(10) {
		if v, ok := m.figure("g", "f", n, unbounded, 1); ok {
			t.Errorf("%d of few is shown as %d", n, v)
		}
	}
	one := &many{least: 1}
	if v, ok := one.figure("g", "f", 1, 1, 1); v != 1 || !ok {
		t.Errorf("with k = 1 it is %d, %v", v, ok)
	}
}
