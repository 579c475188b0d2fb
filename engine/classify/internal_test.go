package classify

import (
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"mailwake/engine/event"
)

// The embedded networks are those of the fixture that are CIDR ranges.
func TestEmbeddedNetworksCoverTheFixture(t *testing.T) {
	f, err := os.Open("testdata/ip-ranges.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	certainties := map[string]Certainty{"certain": Certain, "probable": Probable, "supporting": Supporting, "weak": Weak}
	scopes := map[string]Scope{"all": ScopeAll, "open": ScopeOpens, "clicks": ScopeClicks}
	networks := newTable(builtinNetworks())
	ranges := 0
	for _, row := range rows[1:] {
		p, err := netip.ParsePrefix(row[0])
		if err != nil {
			continue // an AS number or an address of a list
		}
		ranges++
		for _, addr := range []netip.Addr{p.Addr(), lastAddr(p)} {
			n := networks.lookup(addr)
			if n == nil || n.Prefix != p || n.Certainty != certainties[row[2]] || n.Scope != scopes[row[1]] {
				t.Errorf("%v of %v: %+v", addr, p, n)
			}
		}
	}
	if got := len(builtinNetworks()); got != ranges || ranges < 30 {
		t.Errorf("%d embedded networks, %d ranges in the fixture", got, ranges)
	}
}

// The table against the longest prefix found by trying all.
func TestLookupAgainstScan(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range 200 {
		var networks []Range
		for i := range rng.IntN(30) {
			addr := randomAddr(rng)
			p := netip.PrefixFrom(addr, rng.IntN(addr.BitLen()+1)).Masked()
			networks = append(networks, Range{Prefix: p, Label: fmt.Sprint(i)})
		}
		table := newTable(networks)
		probes := []netip.Addr{{}, netip.IPv6Unspecified(), netip.IPv4Unspecified()}
		for _, n := range networks {
			last := lastAddr(n.Prefix)
			probes = append(probes, n.Prefix.Addr(), n.Prefix.Addr().Prev(), last, last.Next(), randomAddr(rng))
		}
		for _, addr := range probes {
			var want *Range
			for i := range networks {
				if n := &networks[i]; n.Prefix.Contains(addr) && (want == nil || n.Prefix.Bits() >= want.Prefix.Bits()) {
					want = n
				}
			}
			if got := table.lookup(addr); label(got) != label(want) {
				t.Fatalf("round %d: %v is in %s, want %s", round, addr, label(got), label(want))
			}
		}
	}
}

func label(n *Range) string {
	if n == nil {
		return "none"
	}
	return n.Label
}

// randomAddr returns an address of few distinct bytes, so that prefixes nest.
func randomAddr(rng *rand.Rand) netip.Addr {
	b := make([]byte, 4+12*rng.IntN(2))
	for i := range b {
		b[i] = [...]byte{0, 1, 128, 255}[rng.IntN(4)]
	}
	if len(b) == 16 {
		b[0] = 0x20 | b[0]&0x9f // no IPv4 in IPv6 here: lookups undo that form
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

func TestOptionsNetworks(t *testing.T) {
	apple, err := ParseAppleEgress(strings.NewReader("172.224.224.0/31,GB,GB-EN,London,\n2a02:26f7:b000::/64,DE,DE-BE,Berlin,\n"))
	if err != nil || len(apple) != 2 {
		t.Fatal(apple, err)
	}
	own, err := ParseNetworks(strings.NewReader("prefix,scope,certainty,role,label\n40.92.0.0/15,all,weak,gateway,ours\n"))
	if err != nil {
		t.Fatal(err)
	}
	c := New(Options{Networks: append(apple, own...)})
	for _, test := range []struct {
		agent, addr, reason string
	}{
		{bareAgent, "172.224.224.1", ReasonAppleMPP},
		{bareAgent, "172.224.224.2", ReasonAppleMPPUserAgent},
		{bareAgent, "2a02:26f7:b000::9", ReasonAppleMPP},
		{"Mozilla/5.0 Firefox/1", "40.92.0.1", ""},
	} {
		if r := c.ClassifyString(event.Open, test.agent, netip.MustParseAddr(test.addr)); r.Reason != test.reason {
			t.Errorf("%s: %q, want %q", test.addr, r.Reason, test.reason)
		}
	}
	for _, bad := range []string{"", "10.0.0.0/8,all,certain,gateway,x", "prefix,a,b,c,d\n10.0.0.0/8,all,sure,gateway,x", "prefix,a,b,c,d\n10.0.0.0/99,all,certain,gateway,x", "prefix,a,b,c,d\nx"} {
		if _, err := ParseNetworks(strings.NewReader(bad)); err == nil {
			t.Errorf("ParseNetworks accepts %q", bad)
		}
	}
	if _, err := ParseAppleEgress(strings.NewReader("x,y\n")); err == nil {
		t.Error("ParseAppleEgress accepts x")
	}
}

func TestParseRulesNamesTheRow(t *testing.T) {
	const heading = "match,pattern,actor,scope,client,device,os\n"
	for _, bad := range []string{"", heading + "words,,bot,all,,,", heading + "words,x,person,all,,,", heading + "regexp,x,bot,all,,,", heading + "words,x,bot,sometimes,,,", heading + "words,x,bot,all,,watch,"} {
		if _, err := parseRules(bad); err == nil {
			t.Errorf("parseRules accepts %q", bad)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := New(Options{CacheEntries: 320})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 5000 {
				agent := fmt.Sprintf("Mozilla/5.0 Firefox/%d.%d", w, i)
				if r := c.ClassifyString(event.Open, agent, netip.Addr{}); r.UserAgent != agent {
					t.Errorf("%q came back as %q", agent, r.UserAgent)
				}
				c.ClassifyString(event.Open, "Mozilla/5.0 Chrome/1", netip.Addr{})
			}
		})
	}
	wg.Wait()
	held := 0
	for i := range c.cache.slots {
		if c.cache.slots[i].Load() != nil {
			held++
		}
	}
	if n := len(c.cache.slots); n != 512 || held < n/2 {
		t.Errorf("%d slots for 320 entries, %d in use after a flood", n, held)
	}
}

func TestKnownAgentsDoNotAllocate(t *testing.T) {
	c := New(Options{})
	agent, addr := []byte("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Firefox/121.0"), netip.MustParseAddr("40.94.1.1")
	c.Classify(event.Open, agent, addr)
	if n := testing.AllocsPerRun(100, func() { c.Classify(event.Click, agent, addr) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLookup(b *testing.B) {
	networks := newTable(builtinNetworks())
	for _, addr := range []string{"192.0.2.7", "18.133.136.97", "2001:db8::1"} {
		a := netip.MustParseAddr(addr)
		b.Run(addr, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				networks.lookup(a)
			}
		})
	}
}
