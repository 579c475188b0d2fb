package main

import (
	"context"
	"embed"
	"encoding/csv"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// demoFiles are the demo's mails and the user agents of its clients.
//
//go:embed demo
var demoFiles embed.FS

// demoMails are the mails, with how many people they go to.
var demoMails = []struct {
	file, subject, from, template string
	people                        int
}{
	{"newsletter.html", "Harbour notes: what moved in November", "news@acme.example", "newsletter", 60},
	{"sales.html", "Your offer for the new berths", "sales@acme.example", "offer", 12},
	{"invoice.html", "Invoice 2026-1187", "billing@acme.example", "", 5},
	{"reply.html", "Re: Thursday at ten?", "jo@acme.example", "", 1},
}

// sentMail is one recipient's copy: where its pixel and links point.
type sentMail struct {
	pixel string
	links []string
}

// trackedURL finds what mailwake put into a mail: the kind, o or c, and the token.
var trackedURL = regexp.MustCompile(`/([oc])/([A-Za-z0-9_-]{40,})(\.gif)?`)

// trackedIn returns the addresses below base in an instrumented mail.
func trackedIn(text, base string) sentMail {
	var m sentMail
	for _, at := range trackedURL.FindAllStringSubmatchIndex(text, -1) {
		path := text[at[0]:at[1]]
		switch own := strings.HasSuffix(text[:at[0]], base); {
		case own && text[at[2]:at[3]] == "o":
			m.pixel = base + path
		case own:
			m.links = append(m.links, base+path)
		}
	}
	return m
}

// followDemoMails registers the mails and returns all copies.
func followDemoMails(ctx context.Context, c *client, flags *clientFlags, base string) ([]sentMail, error) {
	var all []sentMail
	for _, m := range demoMails {
		html, err := demoFiles.ReadFile("demo/" + m.file)
		if err != nil {
			return nil, err
		}
		req := followRequest{From: m.from, Subject: m.subject, Template: m.template, HTML: string(html), Follow: "required"}
		for i := range m.people {
			req.To = append(req.To, followRecipient{Address: fmt.Sprintf("person%02d@customer.example", i+1), Name: fmt.Sprintf("Person %d", i+1)})
		}
		var resp followResponse
		if err := c.get(ctx, http.MethodPost, flags.orgPath("/emails"), nil, req, &resp); err != nil {
			return nil, fmt.Errorf("follow %s: %w", m.file, err)
		}
		for _, msg := range resp.Messages {
			all = append(all, trackedIn(msg.HTML, base))
		}
	}
	return all, nil
}

// agent is a mail client of the fixtures.
type agent struct{ userAgent, class string }

func demoAgents() (byClass map[string][]agent, err error) {
	f, err := demoFiles.Open("demo/user-agents.csv")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, err
	}
	byClass = map[string][]agent{}
	for _, r := range rows[1:] {
		byClass[r[1]] = append(byClass[r[1]], agent{r[0], r[1]})
	}
	return byClass, nil
}

// mailClients lets people, proxies and machines loose on the mails, until ctx ends.
func mailClients(ctx context.Context, mails []sentMail) error {
	agents, err := demoAgents()
	if err != nil {
		return err
	}
	hc := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Timeout: 5 * time.Second}
	g, gctx := errgroup.WithContext(ctx)
	for range 4 {
		g.Go(func() error {
			for gctx.Err() == nil {
				m := mails[rand.IntN(len(mails))]
				if err := behave(gctx, hc, m, agents); err != nil && gctx.Err() == nil {
					return err
				}
				select {
				case <-gctx.Done():
				case <-time.After(time.Duration(20+rand.IntN(180)) * time.Millisecond):
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// behave does what one client does with one mail: most people open and some
// click; a proxy opens; a prefetcher opens unread mail; a gateway clicks everything.
func behave(ctx context.Context, hc *http.Client, m sentMail, agents map[string][]agent) error {
	pick := func(class string) agent { return agents[class][rand.IntN(len(agents[class]))] }
	home := fmt.Sprintf("198.51.100.%d", 1+rand.IntN(250))
	switch n := rand.IntN(100); {
	case n < 55:
		a := pick("human")
		if err := fetch(ctx, hc, m.pixel, a, home); err != nil || len(m.links) == 0 || rand.IntN(3) > 0 {
			return err
		}
		return fetch(ctx, hc, m.links[rand.IntN(len(m.links))], a, home)
	case n < 75:
		return fetch(ctx, hc, m.pixel, pick("proxy"), "66.249.84.10")
	case n < 90:
		return fetch(ctx, hc, m.pixel, pick("prefetch"), "17.58.6.40")
	default:
		for _, l := range m.links {
			if err := fetch(ctx, hc, l, pick("scanner"), "40.92.11.7"); err != nil {
				return err
			}
		}
		return nil
	}
}

func fetch(ctx context.Context, hc *http.Client, address string, a agent, from string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", a.userAgent)
	req.Header.Set("X-Forwarded-For", from)
	resp, err := hc.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
