package classify

import (
	"strconv"
	"strings"

	"mailwake/engine/event"
)

// client is the program and device behind a user agent that is no known machine.
type client struct {
	name      string // "" is not recognised
	device    event.Device
	os        string
	appleMail bool // Apple Mail, or another program that shows mail in a web view of Apple's
	probes    bool // fetches links before its user follows them
}

// mark recognises a client by parts of its user agent, all of which must occur.
// The first mark that fits counts, so specific ones stand first. Device and os
// override what the platform part of the user agent says.
type mark struct {
	parts  []string
	name   string
	device event.Device
	os     string
	probes bool
	byOS   bool // the name gets the operating system added
}

// mailMarks are mail clients.
var mailMarks = []mark{
	{parts: []string{"Outlook-iOS/"}, name: "Outlook (iOS)", device: event.Mobile, os: "iOS"},
	{parts: []string{"Outlook-Android/"}, name: "Outlook (Android)", os: "Android"},
	{parts: []string{"Android-Gmail/"}, name: "Gmail (Android)", os: "Android"},
	{parts: []string{"MacOutlook/"}, name: "Outlook (Mac)", device: event.Desktop, os: "macOS"},
	{parts: []string{"Microsoft Outlook Mail "}, name: "Outlook Mail (Windows 10)", device: event.Desktop, os: "Windows"},
	{parts: []string{"Microsoft Outlook "}, name: "Outlook (Windows)", device: event.Desktop, os: "Windows"},
	{parts: []string{"Microsoft Office Outlook "}, name: "Outlook (Windows)", device: event.Desktop, os: "Windows"},
	{parts: []string{"ms-office", "MSOffice "}, name: "Outlook/Office (Windows)", device: event.Desktop, os: "Windows", probes: true},
	{parts: []string{"MSOffice "}, name: "Outlook (Windows)", device: event.Desktop, os: "Windows"},
	{parts: []string{"Mailbird/"}, name: "Mailbird", device: event.Desktop},
	{parts: []string{"BlueMail/"}, name: "BlueMail"},
	{parts: []string{"eM Client/"}, name: "eM Client", device: event.Desktop},
	{parts: []string{"eMClient/"}, name: "eM Client", device: event.Desktop},
	{parts: []string{"MailMaster/"}, name: "NetEase MailMaster", byOS: true},
	{parts: []string{"mailapp/"}, name: "mail.com/GMX app", byOS: true},
	{parts: []string{"MailBar/"}, name: "MailBar", device: event.Desktop, os: "macOS"},
	{parts: []string{"Thunderbird/"}, name: "Thunderbird"},
	{parts: []string{"Postbox/"}, name: "Postbox", device: event.Desktop},
	{parts: []string{"K-9 Mail"}, name: "K-9 Mail", os: "Android"},
	{parts: []string{"YahooMobileMail/"}, name: "Yahoo Mail (app)", device: event.Mobile},
	{parts: []string{"Airmail"}, name: "Airmail"},
}

// browserMarks are browsers; those that contain another's name stand before it.
var browserMarks = []mark{
	{parts: []string{"Edg/"}, name: "Edge"},
	{parts: []string{"Edge/"}, name: "Edge"},
	{parts: []string{"EdgA/"}, name: "Edge (Android)"},
	{parts: []string{"EdgiOS/"}, name: "Edge (iOS)"},
	{parts: []string{"OPR/"}, name: "Opera"},
	{parts: []string{"Vivaldi/"}, name: "Vivaldi"},
	{parts: []string{"YaBrowser/"}, name: "Yandex Browser"},
	{parts: []string{"SamsungBrowser/"}, name: "Samsung Internet"},
	{parts: []string{"DuckDuckGo/"}, name: "DuckDuckGo"},
	{parts: []string{"FBAN/"}, name: "Facebook app"},
	{parts: []string{"Instagram "}, name: "Instagram app"},
	{parts: []string{"LinkedInApp"}, name: "LinkedIn app"},
	{parts: []string{"FxiOS/"}, name: "Firefox (iOS)"},
	{parts: []string{"CriOS/"}, name: "Chrome (iOS)"},
	{parts: []string{"GSA/", "AppleWebKit/"}, name: "Google app (iOS)"},
	{parts: []string{"Firefox/"}, name: "Firefox"},
	{parts: []string{"Chrome/", "; wv)"}, name: "Android WebView"},
	{parts: []string{"Chrome/"}, name: "Chrome"},
	{parts: []string{"Version/", "Safari/"}, name: "Safari"},
	{parts: []string{"Trident/"}, name: "Internet Explorer", device: event.Desktop},
	{parts: []string{"MSIE "}, name: "Internet Explorer", device: event.Desktop},
}

// clientOf recognises mail clients, browsers and programs that use the network
// library of a phone or Mac.
func clientOf(ua string) client {
	c := platformOf(ua)
	if m := find(mailMarks, ua); m != nil {
		c.take(m)
		if strings.Contains(ua, "Outlook-iOS/") && strings.Contains(ua, ".ipad") {
			c.device, c.os = event.Tablet, "iPadOS"
		}
		return c
	}
	if m := find(browserMarks, ua); m != nil {
		c.take(m)
		c.name = c.variant(m.name, ua)
		return c
	}
	switch {
	case strings.Contains(ua, "AppleWebKit/") && c.apple():
		c.appleMail = true
		c.name = "Apple Mail (" + c.os + ") / WebKit view"
	case strings.HasPrefix(ua, "Mozilla/"):
		c.name = "Browser"
	case strings.Contains(ua, "CFNetwork/") && strings.Contains(ua, "Darwin/"):
		c.name = "Apple app"
	case strings.HasPrefix(ua, "Dalvik/"):
		c.name, c.device = "Android app", event.DeviceUnknown // its agent never says Mobile
	}
	return c
}

func find(marks []mark, ua string) *mark {
next:
	for i := range marks {
		for _, p := range marks[i].parts {
			if !strings.Contains(ua, p) {
				continue next
			}
		}
		return &marks[i]
	}
	return nil
}

func (c *client) take(m *mark) {
	c.name, c.probes = m.name, m.probes
	if m.device != event.DeviceUnknown {
		c.device = m.device
	}
	if m.os != "" {
		c.os = m.os
	}
	if m.byOS && c.os != "" {
		c.name += " (" + c.os + ")"
	}
}

func (c *client) apple() bool { return c.os == "iOS" || c.os == "iPadOS" || c.os == "macOS" }

// variant tells the platforms of a browser apart where people do.
func (c *client) variant(name, ua string) string {
	switch {
	case name == "Samsung Internet" && c.device == event.Tablet:
		return "Samsung Internet (tablet)"
	case name == "Chrome" && c.os == "Android" && c.device == event.Tablet:
		return "Chrome (Android tablet)"
	case name == "Chrome" && strings.Contains(ua, "Android 10; K)"):
		return "Chrome (Android, reduced UA)"
	case name == "Chrome" && (c.os == "Android" || c.os == "Linux" || c.os == "ChromeOS"):
		return "Chrome (" + c.os + ")"
	case name == "Firefox" && c.os == "Android":
		return "Firefox (Android)"
	case name == "Safari" && c.os == "iPadOS":
		if majorAfter(ua, "CPU OS ") >= 13 { // since then iPads call themselves Macs unless asked for the mobile site
			return "Safari (iPadOS, mobile mode)"
		}
		return "Safari (iPad)"
	case name == "Safari" && (c.os == "iOS" || c.os == "macOS"):
		return "Safari (" + c.os + ")"
	}
	return name
}

// platformOf reads device and operating system.
func platformOf(ua string) client {
	has := func(s string) bool { return strings.Contains(ua, s) }
	switch {
	case has("Windows Phone"):
		return client{device: event.Mobile, os: "Windows"}
	case has("iPad"):
		return client{device: event.Tablet, os: "iPadOS"}
	case has("iPhone"), has("iPod"):
		return client{device: event.Mobile, os: "iOS"}
	case has("Android"):
		return client{device: androidDevice(ua), os: "Android"}
	case has("CrOS "):
		return client{device: event.Desktop, os: "ChromeOS"}
	case has("Windows"):
		return client{device: event.Desktop, os: "Windows"}
	case has("Macintosh"), has("Mac OS X"), has("macOS"):
		return client{device: event.Desktop, os: "macOS"}
	case has("Linux"), has("X11;"):
		return client{device: event.Desktop, os: "Linux"}
	}
	return client{}
}

// androidDevice goes by the word Mobile, which tablets leave out, and where an
// app gives it, by the smallest width: tablets begin at 600 dp.
func androidDevice(ua string) event.Device {
	if i := strings.Index(ua, "(sw"); i >= 0 {
		if width := majorAfter(ua[i:], "(sw"); width >= 600 {
			return event.Tablet
		}
		return event.Mobile
	}
	if strings.Contains(ua, "Mobile") {
		return event.Mobile
	}
	return event.Tablet
}

// majorAfter reads the number behind prefix, 0 when there is none; of one too
// large it only matters that it is large.
func majorAfter(ua, prefix string) int {
	_, rest, _ := strings.Cut(ua, prefix)
	end := 0
	for end < len(rest) && '0' <= rest[end] && rest[end] <= '9' {
		end++
	}
	n, _ := strconv.Atoi(rest[:end])
	return n
}
