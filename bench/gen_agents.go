package bench

// worldAgents are user agents as they were seen in the wild, of those who open
// and click mails. A group is a run of them.
var worldAgents = []string{
	// prefetchers
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0",
	"Mozilla/5.0",
	// scanners
	"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/74.0.3729.169 Safari/537.36",
	"Microsoft Exchange/15.20 (Windows NT 10.0; Win64; x64)",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/101.0.4951.54 Safari/537.36",
	// readers of mail
	"Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
	"YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
	"Microsoft Office/16.0 (Microsoft Outlook 16.0.12329; Pro), Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
	"Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 6.1; Trident/6.0; Microsoft Outlook 15.0.4420)",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)",
	"Outlook-iOS/709.2042344.prod.iphone (3.21.0)",
	"Android-Gmail/64562652 (sw411dp; 420dpi) (r7 TP1A.220624.014)",
	"MacOutlook/16.46.21021202 (Intelx64 Mac OS X 11.2.2 (Build 20D80))",
	"Mozilla/5.0 (X11; Linux x86_64; rv:24.0) Gecko/20100101 Thunderbird/24.4.0 Lightning/2.6.4",
	"eMClient/9.3.6041.0",
	// browsers
	"Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.7.2 Mobile/15E148 Safari/604.1",
	"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/147.0.0.0 Mobile Safari/537.36",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:109.0) Gecko/20100101 Firefox/121.0",
	"Mozilla/5.0 (iPad; CPU OS 13_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/13.0 Mobile/15E148 Safari/604.1",
}

// agentGroup is a run of worldAgents.
type agentGroup struct{ from, count int }

var (
	prefetchers = agentGroup{0, 2}
	scanners    = agentGroup{2, 3}
	readers     = agentGroup{5, 10}
	browsers    = agentGroup{15, 5}
)

// worldActors are the actors that rows say themselves; of all others the server
// judges by user agent.
var worldActors = []string{"human", "scanner"}

const (
	actorHuman   int8 = 0
	actorScanner int8 = 1
)

// pick takes one of the group; the first ones are the most frequent.
func (g agentGroup) pick(dice uint64) int8 {
	a, b := dice&0xff*uint64(g.count)>>8, dice>>8&0xff*uint64(g.count)>>8
	return int8(g.from + int(min(a, b))) //nolint:gosec // some twenty agents
}

// of takes the person's own client three times of four, else any.
func (g agentGroup) of(person int64, dice uint64) int8 {
	if dice&3 == 0 {
		return g.pick(dice >> 2 * 0x9e3779b9)
	}
	return g.pick(uint64(person) * 0x9e3779b97f4a7c15 >> 40) //nolint:gosec // no id is negative
}
