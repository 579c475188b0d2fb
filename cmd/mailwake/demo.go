package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"mailwake/ingest"
)

type demoCmd struct {
	storeFlags
	sqlFlags
	listenFlags
	ExitAfter time.Duration `help:"End by itself after this time; default is at Ctrl-C." placeholder:"15s"`
	Keep      bool          `help:"Keep the data folder. Without --data it is a fresh temporary one, removed at the end."`
}

// Help shows examples.
func (demoCmd) Help() string {
	return `Examples:
  mailwake demo
  mailwake demo --exit-after 15s
  mailwake demo --keep --data ./demo-data`
}

// demoOrg is the organisation that the demo provisions, the default of all
// client commands.
const demoOrg = "default"

// Run shows the whole way: followed mails, mail clients, KPIs.
func (d *demoCmd) Run(ctx context.Context, e *env) error {
	if d.ExitAfter > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, d.ExitAfter)
		defer stop()
	}
	cleanup, err := d.folder()
	if err != nil {
		return err
	}
	defer cleanup()
	d.TrustedProxy = append(d.TrustedProxy, netip.MustParsePrefix("127.0.0.0/8")) // the demo's clients say where they come from
	d.Public, d.Private = freeAddress(d.Public), freeAddress(d.Private)

	ready := make(chan addresses, 1)
	s := &server{store: d.storeFlags, sql: d.sqlFlags, listen: d.listenFlags, logger: slog.New(slog.DiscardHandler), out: io.Discard,
		started: func(at addresses) { ready <- at }}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.run(gctx) })
	g.Go(func() error {
		select {
		case at := <-ready:
			return d.show(gctx, e, at)
		case <-gctx.Done():
			return nil
		}
	})
	err = g.Wait()
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		err = nil
	}
	if err == nil {
		fmt.Fprintln(e.out, "\nThe demo has ended cleanly.")
	}
	return err
}

// folder chooses the data folder: a fresh temporary one unless the user named one.
func (d *demoCmd) folder() (cleanup func(), err error) {
	if _, named := os.LookupEnv("MAILWAKE_DATA"); d.Keep || named || !strings.HasSuffix(d.Data, "mailwake-data") {
		return func() {}, nil
	}
	dir, err := os.MkdirTemp("", "mailwake-demo-")
	if err != nil {
		return nil, fmt.Errorf("create data folder: %w", err)
	}
	d.storeFlags.Data, d.storeFlags.Storage, d.storeFlags.Registry, d.storeFlags.Catalog = dir, "", "", ""
	return func() { os.RemoveAll(dir) }, d.AfterApply()
}

// freeAddress returns addr, or a free port of its host if the port is taken.
func freeAddress(addr string) string {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		host, _, _ := net.SplitHostPort(addr)
		return net.JoinHostPort(host, "0")
	}
	ln.Close()
	return addr
}

// show follows the mails, lets the clients loose and prints the KPIs as they move.
func (d *demoCmd) show(ctx context.Context, e *env, at addresses) error {
	flags := clientFlags{serverFlags: serverFlags{URL: at.Private, Data: d.Data}, Org: demoOrg}
	c, err := flags.client()
	if err != nil {
		return err
	}
	var org ingest.Org
	if err := c.get(ctx, http.MethodPost, "/v1/orgs", nil, ingest.NewOrg{Name: demoOrg, Title: "Demo"}, &org); err != nil {
		return err
	}
	mails, err := followDemoMails(ctx, c, &flags, at.Public)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.out, `mailwake demo: %d emails to %d people are followed, mail clients are at work.

  API      %s  (API description: /openapi.json)
  key      %s/%s
  try      mailwake sql --data %s "select kind, actor, count(*) from interactions group by all"

`, len(demoMails), len(mails), at.Private, d.Data, keyFile, d.Data)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return mailClients(gctx, mails) })
	g.Go(func() error { return watch(gctx, e, c, &flags) })
	return g.Wait()
}

// watch prints the KPIs every second: in place on a terminal, else as blocks.
func watch(ctx context.Context, e *env, c *client, flags *clientFlags) error {
	out, _ := e.out.(*os.File)
	live := out != nil && isTerminal(out)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	lines := 0
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !live && n%3 != 1 {
			continue
		}
		text, err := demoTables(ctx, c, flags)
		if err != nil {
			return err
		}
		if live && lines > 0 {
			fmt.Fprintf(e.out, "\x1b[%dA\x1b[J", lines)
		}
		lines = strings.Count(text, "\n")
		fmt.Fprint(e.out, text)
	}
}

// demoTables asks for what the demo shows: a summary and a line per email.
func demoTables(ctx context.Context, c *client, flags *clientFlags) (string, error) {
	var b strings.Builder
	for _, statement := range []string{
		`select count(*) as interactions, count(*) filter (where kind = 'open' and actor in ('human', 'proxy')) as opens_human,
		 count(*) filter (where kind = 'open' and actor in ('prefetch', 'scanner', 'bot')) as opens_machine,
		 count(*) filter (where kind = 'click' and actor in ('human', 'proxy')) as clicks_human,
		 count(*) filter (where kind = 'click' and actor in ('prefetch', 'scanner', 'bot')) as clicks_machine from interactions`,
		`select e.email_id as email, e.subject, count(*) filter (where kind = 'sent') as sent,
		 count(distinct i.recipient_id) filter (where kind = 'open' and actor in ('human', 'proxy')) as opened,
		 count(distinct i.recipient_id) filter (where kind = 'click' and actor in ('human', 'proxy')) as clicked,
		 max(occurred_at) filter (where kind = 'open' and actor in ('human', 'proxy')) as last_opened_at
		 from interactions i join emails e using (email_id) group by all order by 1`,
	} {
		rows, err := c.call(ctx, http.MethodPost, flags.orgPath("/sql"), url.Values{"format": {"table"}}, map[string]any{"sql": statement})
		if ctx.Err() != nil {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		_, err = io.Copy(&b, rows)
		rows.Close()
		if err != nil && ctx.Err() == nil {
			return "", err
		}
		b.WriteByte('\n')
	}
	return b.String(), nil
}
