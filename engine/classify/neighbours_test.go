package classify

import (
	"math/rand/v2"
	"slices"
	"testing"

	"mailwake/engine/event"
)

const second = event.Micros(1_000_000)

// click is a person's click on a link at a second.
func click(at event.Micros, link int32) Hit {
	return Hit{At: at * second, Kind: event.Click, Component: link, Actor: event.Human}
}

func TestReclassify(t *testing.T) {
	from := func(h Hit, network string) Hit { h.Network = network; return h }
	gateway := func(h Hit) Hit { h.Reason = ReasonProbableGateway; return h }
	bot := Hit{At: 2 * second, Kind: event.Click, Component: 9, Actor: event.Bot, Reason: "listed_user_agent"}
	for _, tc := range []struct {
		name string
		hits []Hit
		want []string // reasons afterwards; "" stays a person's
	}{
		{"a person", []Hit{click(0, 1), click(5, 2), click(60, 3)}, []string{"", "", ""}},
		{"the same link", []Hit{click(0, 1), click(1, 1), click(2, 1), click(3, 1)}, []string{"", "", "", ""}},
		{"a burst", []Hit{click(0, 1), click(5, 2), click(10, 3)}, []string{"burst", "burst", "burst"}},
		{"too slow", []Hit{click(0, 1), click(5, 2), click(11, 3)}, []string{"", "", ""}},
		{"a burst, then a person", []Hit{click(0, 1), click(1, 2), click(2, 3), click(300, 1)}, []string{"burst", "burst", "burst", ""}},
		{"a burst that moves on", []Hit{click(0, 1), click(9, 2), click(10, 3), click(19, 4)}, []string{"burst", "burst", "burst", "burst"}},
		{"known machines keep their label", []Hit{click(0, 1), click(1, 2), bot}, []string{"burst", "burst", "listed_user_agent"}},
		{"networks", []Hit{from(click(0, 1), "a"), from(click(50, 1), "b"), from(click(120, 1), "c")}, []string{"many_networks", "many_networks", "many_networks"}},
		{"networks, slowly", []Hit{from(click(0, 1), "a"), from(click(50, 1), "b"), from(click(121, 1), "c")}, []string{"", "", ""}},
		{"no networks", []Hit{click(0, 1), click(50, 1), click(51, 1)}, []string{"", "", ""}},
		{"gateway at delivery", []Hit{{Kind: event.Sent, At: 1}, gateway(click(300, 1)), gateway(click(302, 1))}, []string{"", "gateway_at_delivery", "probable_gateway"}},
		{"gateway without delivery", []Hit{gateway(click(30, 1))}, []string{"probable_gateway"}},
	} {
		hits := slices.Clone(tc.hits)
		changed := Reclassify(hits)
		for i, h := range hits {
			if h.Reason != tc.want[i] {
				t.Errorf("%s: hit %d has reason %q, want %q", tc.name, i, h.Reason, tc.want[i])
			}
			if relabelled := h.Reason != tc.hits[i].Reason; relabelled != (h.Actor == event.Scanner) {
				t.Errorf("%s: hit %d is %s for %q", tc.name, i, h.Actor, h.Reason)
			}
		}
		if changed == slices.Equal(hits, tc.hits) {
			t.Errorf("%s: changed = %v", tc.name, changed)
		}
		if Reclassify(hits) {
			t.Errorf("%s: a second time it changes again", tc.name)
		}
	}
}

// TestReclassifyOnlyAdds: what a part of the hits shows, all of them show as well.
func TestReclassifyOnlyAdds(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		all := make([]Hit, 2+r.IntN(12))
		for i := range all {
			all[i] = click(event.Micros(r.IntN(40)), int32(r.IntN(5)))
			all[i].Network = []string{"", "a", "b", "c"}[r.IntN(4)]
		}
		slices.SortFunc(all, func(a, b Hit) int { return int(a.At - b.At) })
		part := slices.Clone(all[r.IntN(len(all)):])
		Reclassify(part)
		both := slices.Clone(all)
		Reclassify(both)
		for i, h := range part {
			if h.Actor == event.Scanner && both[len(all)-len(part)+i].Actor != event.Scanner {
				t.Fatalf("seed %d: hit %d is a scanner's only among fewer neighbours", seed, i)
			}
		}
	}
}
