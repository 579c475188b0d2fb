package classify_test

import (
	"encoding/csv"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"mailwake/engine/classify"
	"mailwake/engine/event"
)

const (
	chrome   = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
	webView  = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
	office   = "Mozilla/4.0 (compatible; ms-office; MSOffice 16)"
	gmail    = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
	prefetch = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
)

func readCSV(t testing.TB, path string) [][]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows[1:]
}

func TestUserAgentFixtures(t *testing.T) {
	c := classify.New(classify.Options{})
	doors := map[string][]event.Kind{"open": {event.Open}, "click": {event.Click, event.AttachmentView}, "both": {event.Open, event.Click}}
	rows := readCSV(t, "testdata/user-agents.csv")
	if len(rows) < 75 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, row := range rows {
		agent, class, family, device := row[0], row[1], row[2], row[3]
		for _, kind := range doors[row[4]] {
			t.Run(family+"/"+kind.String(), func(t *testing.T) {
				if strings.Contains(row[5], "UA alone looks human") {
					// Safe Links disguises itself as Chrome; one request shows no more than its
					// network, which also carries people: a reason, not a verdict.
					r := c.ClassifyString(kind, agent, netip.MustParseAddr("40.94.89.7"))
					if r.Actor != event.Human || r.Reason != classify.ReasonProbableGateway {
						t.Errorf("got %v, %q from the scanner's network", r.Actor, r.Reason)
					}
					return
				}
				r := c.ClassifyString(kind, agent, netip.Addr{})
				if r.Actor.String() != class || r.Client != family || r.Device.String() != device || r.UserAgent != agent {
					t.Errorf("%q\n got %v, %q, %v\nwant %s, %q, %s", agent, r.Actor, r.Client, r.Device, class, family, device)
				}
				if again := c.Classify(kind, []byte(agent), netip.Addr{}); again != r {
					t.Errorf("a second look gives %+v, not %+v", again, r)
				}
			})
		}
	}
}

func TestOneRequest(t *testing.T) {
	const (
		none    = ""
		eop     = "52.101.1.2"
		eop6    = "2a01:111:f403::1"
		safe    = "40.94.29.84"
		apple   = "17.58.1.1"
		relay   = "::ffff:104.28.30.1"
		weak    = "146.112.1.1"
		someone = "192.0.2.7"
		proof   = "148.163.200.9"
	)
	c := classify.New(classify.Options{})
	for name, test := range map[string]struct {
		kind        event.Kind
		agent, addr string
		actor       event.Actor
		reason      string
	}{
		"plain":                      {event.Open, chrome, someone, event.Human, ""},
		"no address":                 {event.Click, chrome, none, event.Human, ""},
		"empty":                      {event.Open, "", someone, event.Bot, classify.ReasonEmptyUserAgent},
		"blank":                      {event.Click, " \t", apple, event.Bot, classify.ReasonEmptyUserAgent},
		"mpp":                        {event.Open, "Mozilla/5.0", apple, event.Prefetch, classify.ReasonAppleMPP},
		"mpp by relay":               {event.Open, "Mozilla/5.0", relay, event.Prefetch, classify.ReasonAppleMPP},
		"mpp agent":                  {event.Open, "Mozilla/5.0", someone, event.Prefetch, classify.ReasonAppleMPPUserAgent},
		"bare click":                 {event.Click, "Mozilla/5.0", apple, event.Bot, classify.ReasonBareUserAgent},
		"bare view":                  {event.AttachmentView, "Mozilla/5.0", someone, event.Bot, classify.ReasonBareUserAgent},
		"nearly bare":                {event.Open, "Mozilla/5.0 ", apple, event.Human, ""},
		"bare from gateway":          {event.Open, "Mozilla/5.0", eop, event.Scanner, classify.ReasonGatewayNetwork},
		"Apple Mail from Apple":      {event.Open, webView, apple, event.Human, classify.ReasonSuspectAppleMPP},
		"web view clicks from Apple": {event.Click, webView, apple, event.Human, ""},
		"gmail prefetch":             {event.Open, prefetch, "66.249.93.73", event.Prefetch, classify.ReasonGmailPrefetch},
		"gmail prefetch, not exact":  {event.Open, prefetch + " ", someone, event.Human, ""},
		"gmail":                      {event.Open, gmail, "66.249.93.73", event.Proxy, classify.ReasonImageProxy},
		"image proxy clicks":         {event.Click, gmail, someone, event.Bot, classify.ReasonImageProxyFollowed},
		"certain gateway":            {event.Click, chrome, eop, event.Scanner, classify.ReasonGatewayNetwork},
		"certain gateway v6":         {event.Open, chrome, eop6, event.Scanner, classify.ReasonGatewayNetwork},
		"scanner at gateway":         {event.Click, "TwinWaveScanner", eop, event.Scanner, classify.ReasonListedUserAgent},
		"bot at gateway":             {event.Click, "curl/8.0", eop, event.Bot, classify.ReasonListedUserAgent},
		"probable, clicks":           {event.Click, chrome, safe, event.Human, classify.ReasonProbableGateway},
		"probable, clicks, view":     {event.AttachmentView, chrome, safe, event.Human, classify.ReasonProbableGateway},
		"probable, clicks, opened":   {event.Open, chrome, safe, event.Human, ""},
		"probable, all, opened":      {event.Open, chrome, proof, event.Human, classify.ReasonProbableGateway},
		"weak":                       {event.Click, chrome, weak, event.Human, ""},
		"office image":               {event.Open, office, someone, event.Human, ""},
		"office probe":               {event.Click, office, someone, event.Scanner, classify.ReasonOfficeLinkProbe},
		"declared":                   {event.Click, "Mozilla/5.0 (compatible; Thing/1; +https://thing.example/about)", someone, event.Bot, classify.ReasonDeclaredRobot},
		"unknown browser":            {event.Open, "Mozilla/5.0 (Plan 9) Mothra/1.0", someone, event.Human, ""},
		"unknown program":            {event.Open, "Foo/1.0", someone, event.ActorUnknown, classify.ReasonUnrecognised},
		"unknown at gateway":         {event.Open, "Foo/1.0", eop, event.Scanner, classify.ReasonGatewayNetwork},
		"unknown, probable":          {event.Open, "Foo/1.0", proof, event.ActorUnknown, classify.ReasonProbableGateway},
		"Cubot phone":                {event.Open, "Mozilla/5.0 (Linux; Android 10; CUBOT X30) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36", someone, event.Human, ""},
		"Abbott":                     {event.Open, "Mozilla/5.0 (Windows NT 10.0; Abbott) Gecko/20100101 Firefox/121.0", someone, event.Human, ""},
		"Zscaler":                    {event.Click, chrome + " Zscaler/6.1", someone, event.Human, ""},
		"a bot by word":              {event.Click, "Mozilla/5.0 (compatible; some-bot/2)", someone, event.Bot, classify.ReasonListedUserAgent},
		"a reply":                    {event.Reply, "", someone, event.ActorUnknown, ""},
		"a delivery by a robot":      {event.Delivered, "curl/8.0", eop, event.ActorUnknown, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var addr netip.Addr
			if test.addr != none {
				addr = netip.MustParseAddr(test.addr)
			}
			r := c.ClassifyString(test.kind, test.agent, addr)
			if r.Actor != test.actor || r.Reason != test.reason {
				t.Errorf("got %v, %q; want %v, %q", r.Actor, r.Reason, test.actor, test.reason)
			}
		})
	}
	r := c.ClassifyString(event.Click, chrome, netip.MustParseAddr(eop))
	if r.Client != "Microsoft 365 EOP" || r.Device != event.DeviceUnknown || r.OS != "" {
		t.Errorf("a disguised scanner keeps %q, %v, %q", r.Client, r.Device, r.OS)
	}
}

func TestClients(t *testing.T) {
	c := classify.New(classify.Options{})
	for _, test := range []struct {
		agent, client, os string
		device            event.Device
	}{
		{chrome, "Chrome", "Windows", event.Desktop},
		{webView, "Apple Mail (macOS) / WebKit view", "macOS", event.Desktop},
		{"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148", "Apple Mail (iOS) / WebKit view", "iOS", event.Mobile},
		{"Outlook-iOS/709.2042344.prod.ipad (3.21.0)", "Outlook (iOS)", "iPadOS", event.Tablet},
		{"Android-Gmail/64562652 (sw800dp; 320dpi) (r7 X)", "Gmail (Android)", "Android", event.Tablet},
		{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Safari/605.1.15", "Safari (macOS)", "macOS", event.Desktop},
		{"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36", "Chrome (ChromeOS)", "ChromeOS", event.Desktop},
		{"Mozilla/5.0 (Android 14; Mobile; rv:121.0) Gecko/121.0 Firefox/121.0", "Firefox (Android)", "Android", event.Mobile},
		{"Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko", "Internet Explorer", "Windows", event.Desktop},
		{"Spark/3.1 CFNetwork/1490.0.4 Darwin/23.2.0", "Apple app", "", event.DeviceUnknown},
		{"Dalvik/2.1.0 (Linux; U; Android 9; Pixel)", "Android app", "Android", event.DeviceUnknown},
		{"Mozilla/5.0 (Plan 9) Mothra/1.0", "Browser", "", event.DeviceUnknown},
		{"macOS/13.4 (22F66) dataaccessd/1.0", "macOS account daemon", "macOS", event.Desktop},
	} {
		if r := c.ClassifyString(event.Open, test.agent, netip.Addr{}); r.Client != test.client || r.OS != test.os || r.Device != test.device {
			t.Errorf("%q\n got %q, %q, %v\nwant %q, %q, %v", test.agent, r.Client, r.OS, r.Device, test.client, test.os, test.device)
		}
	}
}

func TestLongAndBrokenAgents(t *testing.T) {
	c := classify.New(classify.Options{})
	r := c.Classify(event.Open, []byte("Mozilla/5.0 \xff\xfe"+strings.Repeat("ü", 2000)), netip.Addr{})
	if !utf8.ValidString(r.UserAgent) || len(r.UserAgent) > classify.MaxUserAgent+6 || r.Actor != event.Human {
		t.Errorf("%d bytes, valid %v, %v", len(r.UserAgent), utf8.ValidString(r.UserAgent), r.Actor)
	}
	// The caller may reuse its buffer.
	buf := []byte(chrome)
	first := c.Classify(event.Open, buf, netip.Addr{})
	clear(buf)
	if again := c.ClassifyString(event.Open, chrome, netip.Addr{}); first.UserAgent != chrome || again != first {
		t.Errorf("after reuse: %+v, %+v", first, again)
	}
}

func TestPrefetched(t *testing.T) {
	for _, test := range []struct {
		purpose, sec, moz string
		want              bool
	}{
		{"", "", "", false}, {"prefetch", "", "", true}, {"", "prefetch", "", true}, {"", "", "prefetch", true},
		{"", "prefetch;prerender", "", true}, {"", "prefetch; anonymous-client-ip", "", true}, {"Preview", "", "", true},
		{"", "", "Prefetch", true}, {"none", "navigate", "x", false}, {"notprefetch", "", "", false},
	} {
		if got := classify.Prefetched(test.purpose, test.sec, test.moz); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
		if got := classify.Prefetched([]byte(test.purpose), []byte(test.sec), []byte(test.moz)); got != test.want {
			t.Errorf("%+v as bytes: %v", test, got)
		}
	}
}

func TestNetwork(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.77": "192.0.2.0/24", "::ffff:192.0.2.77": "192.0.2.0/24", "2001:db8:1:2::3": "2001:db8:1::/48", "fe80::1%eth0": "fe80::/48",
	} {
		if got := classify.Network(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
	if got := classify.Network(netip.Addr{}); got != "" {
		t.Errorf("no address: %q", got)
	}
}

func FuzzClassify(f *testing.F) {
	for _, row := range readCSV(f, "testdata/user-agents.csv") {
		f.Add(byte(event.Open), row[0], []byte{40, 94, 1, 1})
	}
	f.Add(byte(event.Click), "\xff", []byte("0123456789abcdef"))
	c := classify.New(classify.Options{CacheEntries: 64})
	actors := []event.Actor{event.ActorUnknown, event.Human, event.Proxy, event.Prefetch, event.Scanner, event.Bot}
	f.Fuzz(func(t *testing.T, kind byte, agent string, ip []byte) {
		addr, _ := netip.AddrFromSlice(ip)
		r := c.ClassifyString(event.Kind(kind), agent, addr)
		if !utf8.ValidString(r.UserAgent) || !utf8.ValidString(r.Client) || !slices.Contains(actors, r.Actor) {
			t.Fatalf("%q: %+v", agent, r)
		}
		if again := c.Classify(event.Kind(kind), []byte(agent), addr); again != r {
			t.Fatalf("%q: %+v, then %+v", agent, r, again)
		}
	})
}

func BenchmarkClassify(b *testing.B) {
	c := classify.New(classify.Options{})
	agent, addr := []byte(chrome), netip.MustParseAddr("192.0.2.7")
	b.Run("known", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.Classify(event.Open, agent, addr)
		}
	})
	b.Run("known, parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				c.Classify(event.Open, agent, addr)
			}
		})
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		agent := []byte(chrome)
		for i := 0; b.Loop(); i++ {
			for j, n := len(agent)-1, i; j > 20; j, n = j-1, n/10 {
				agent[j] = byte('0' + n%10)
			}
			c.Classify(event.Open, agent, addr)
		}
	})
}
