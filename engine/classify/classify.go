// Package classify says who caused an open or a click, judging by what one
// request shows: user agent and network. It labels and never drops, and it is
// pure: the same lists and the same request always give the same Result.
//
// Two embedded lists hold the knowledge. agents.csv names machines by user agent
// (whole words, so that a Cubot phone and Mr Abbott stay people; no vendor that
// also inspects the browsing of people). networks.csv names networks with a scope
// (opens, clicks, all), a certainty and a role. The order of judgement:
//
//	no user agent                         bot
//	user agent on the list                scanner, bot
//	certain gateway network               scanner
//	Gmail's or Apple's prefetch agent     prefetch
//	image proxy                           proxy on opens; a bot when it follows links
//	looks like a mail client or browser   human; a probable gateway is noted as reason only
//	anything else                         unknown
//
// What needs neighbours (bursts, many networks, time since delivery) is not
// decided here. Networks known only by AS number and Apple's published egress
// list, which changes daily, are not embedded: there is no route data to resolve
// the former, and Options.Networks takes the latter from ParseAppleEgress. Until
// then a bare "Mozilla/5.0" that opens is called a prefetch on its own, with a
// reason that tells the weaker evidence apart.
//
// Invariant: every string in a Result is shared and immutable; callers keep it
// without copying.
package classify

import (
	"net/netip"
	"strings"

	"mailwake/engine/event"
)

// RuleVersion changes whenever a list or rule changes a label, so that stored
// events can be judged again.
const RuleVersion = 1

// The reasons a Result gives. They are stored; their meaning never changes. An
// unremarkable human has none.
const (
	ReasonEmptyUserAgent     = "empty_user_agent"        // bot: nothing sent
	ReasonBareUserAgent      = "bare_user_agent"         // bot: "Mozilla/5.0" following a link
	ReasonListedUserAgent    = "listed_user_agent"       // scanner, bot: on the list
	ReasonDeclaredRobot      = "declared_robot"          // bot: says so with a contact address
	ReasonOfficeLinkProbe    = "office_link_probe"       // scanner: Office looks at a link before the browser does
	ReasonGatewayNetwork     = "gateway_network"         // scanner: network of a mail gateway
	ReasonProbableGateway    = "probable_gateway"        // human so far: network that scans but also carries people
	ReasonAppleMPP           = "apple_mpp"               // prefetch: Apple Mail Privacy Protection, agent and network
	ReasonAppleMPPUserAgent  = "apple_mpp_user_agent"    // prefetch: the agent alone
	ReasonSuspectAppleMPP    = "suspect_apple_mpp"       // human so far: Apple Mail from an Apple network
	ReasonGmailPrefetch      = "gmail_prefetch"          // prefetch: Gmail fetching at delivery
	ReasonImageProxy         = "image_proxy"             // proxy: mailbox image proxy, usually a person opened
	ReasonImageProxyFollowed = "image_proxy_followed"    // bot: an image proxy following a link
	ReasonUnrecognised       = "unrecognised_user_agent" // unknown: no browser, no known client, no known machine
)

// Options configures a Classifier. The zero value is ready to use.
type Options struct {
	Networks     []Range // more networks; one with the prefix of an embedded one replaces it
	CacheEntries int     // user agents remembered, about 1 kB each; 0 means 4096
}

// Result is what a request shows about its sender.
type Result struct {
	Actor     event.Actor
	Reason    string // one of the Reason constants, or ""
	Device    event.Device
	Client    string // mail client, browser or machine; "" unknown
	OS        string // operating system family; "" unknown
	UserAgent string // as sent, cut to MaxUserAgent bytes, made valid UTF-8
}

// MaxUserAgent is how much of a user agent counts, in bytes.
const MaxUserAgent = 512

// Classifier judges requests. It is safe for concurrent use.
type Classifier struct {
	networks *table
	cache    *cache
}

// New returns a Classifier with the embedded lists and opts. It panics when an
// embedded list is malformed, which the tests exclude.
func New(opts Options) *Classifier {
	if opts.CacheEntries <= 0 {
		opts.CacheEntries = 4096
	}
	known := append(builtinNetworks(), opts.Networks...)
	return &Classifier{
		networks: newTable(known),
		cache:    newCache(opts.CacheEntries, newReader(builtinRules()).read),
	}
}

// Classify judges one request of the given kind. An unset addr is an unknown
// network. For kinds no client fetches (replies, deliveries) the actor stays
// unknown. A user agent seen before costs no allocation; userAgent is not kept.
func (c *Classifier) Classify(kind event.Kind, userAgent []byte, addr netip.Addr) Result {
	return c.judge(kind, c.cache.get(userAgent), addr)
}

// ClassifyString is Classify for a user agent held as a string.
func (c *Classifier) ClassifyString(kind event.Kind, userAgent string, addr netip.Addr) Result {
	return c.judge(kind, c.cache.getString(userAgent), addr)
}

func (c *Classifier) judge(kind event.Kind, a *agent, addr netip.Addr) Result {
	switch kind {
	case event.Open:
		if n := c.networks.lookup(addr); n != nil && n.Scope != ScopeClicks {
			return judgeNetwork(n, a.open, a.mail)
		}
		return a.open
	case event.Click, event.AttachmentView:
		if n := c.networks.lookup(addr); n != nil && n.Scope != ScopeOpens {
			return judgeNetwork(n, a.click, mailOther)
		}
		return a.click
	default:
		return a.other
	}
}

// judgeNetwork refines what the user agent alone says by the network.
func judgeNetwork(n *Range, r Result, mail mailAgent) Result {
	person := r.Actor == event.Human || r.Actor == event.ActorUnknown
	switch {
	case n.Role == RoleApple && mail == mailBare:
		r.Reason = ReasonAppleMPP
	case n.Role == RoleApple && mail == mailApple:
		r.Reason = ReasonSuspectAppleMPP
	case n.Role == RoleGateway && n.Certainty == Certain && r.Actor != event.Scanner && r.Actor != event.Bot:
		// The agent is a disguise, so what it claims about the device is void.
		r.Actor, r.Reason = event.Scanner, ReasonGatewayNetwork
		r.Client, r.Device, r.OS = n.Label, event.DeviceUnknown, ""
	case n.Role == RoleGateway && n.Certainty == Probable && person:
		r.Reason = ReasonProbableGateway
	}
	return r
}

// Prefetched reports whether the values of the Purpose, Sec-Purpose and X-Moz
// headers say that a browser fetches ahead of its reader. Such a request is
// answered and is no event.
func Prefetched[T ~string | ~[]byte](purpose, secPurpose, xMoz T) bool {
	return ahead(string(purpose)) || ahead(string(secPurpose)) || ahead(string(xMoz))
}

func ahead(header string) bool {
	for item := range strings.SplitSeq(header, ";") {
		switch item = strings.TrimSpace(item); {
		case item == "":
		case strings.EqualFold(item, "prefetch"), strings.EqualFold(item, "preview"), strings.EqualFold(item, "prerender"):
			return true
		}
	}
	return false
}

// Network returns the network of addr that may be stored: /24 for IPv4, /48
// for IPv6, "" for an unset address.
func Network(addr netip.Addr) string {
	addr = addr.Unmap()
	bits := 48
	switch {
	case !addr.IsValid():
		return ""
	case addr.Is4():
		bits = 24
	}
	p, _ := addr.Prefix(bits) // both sizes fit their family
	return p.String()
}
