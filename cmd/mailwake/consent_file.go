package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"mailwake/engine/problem"
	"mailwake/ingest"
)

type consentImportCmd struct {
	clientFlags
	Format     string `help:"csv or ndjson; default is what the file's name ends in, or csv." enum:"csv,ndjson,auto" default:"auto" short:"f"`
	DryRun     bool   `help:"Only check the file." env:"-"`
	File       string `arg:"" help:"File, or - for standard input; at most 16 MiB." type:"path"`
	proofFlags `set:"source=import"`
}

// Help shows the format.
func (consentImportCmd) Help() string {
	return `One line a subject. Columns, in any order: kind and external_id (of a contact, lead or account), or address, or recipient_id;
follow for all purposes, or open, click, attachment, reply: unknown, allowed, denied, or empty to leave it as it is; evidence.

  kind,external_id,address,follow,open
  contact,c-17,,denied,
  ,,jo@customer.example,allowed,denied

Examples:
  mailwake consent import --org acme --source 'crm export 2026-11' preferences.csv
  mailwake consent import --dry-run preferences.ndjson`
}

// Run sends the file; a line at fault is printed with its number.
func (i *consentImportCmd) Run(ctx context.Context, e *env) error {
	c, err := i.client()
	if err != nil {
		return err
	}
	file, size := os.Stdin, int64(0)
	if filepath.Base(i.File) != "-" {
		if file, err = os.Open(i.File); err != nil {
			return fmt.Errorf("open import: %w", err)
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return fmt.Errorf("open import: %w", err)
		}
		size = info.Size()
	}
	media := "text/csv"
	if i.Format == "ndjson" || i.Format == "auto" && strings.HasSuffix(i.File, "json") {
		media = "application/x-ndjson"
	}
	query := url.Values{"source": {i.Source}}
	for name, value := range map[string]string{"form_version": i.FormVersion, "text": i.Text, "locale": i.Locale, "evidence": i.Evidence} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if i.DryRun {
		query.Set("dry_run", "true")
	}
	answer, err := c.send(ctx, http.MethodPost, i.orgPath("/consent/import"), query, media, &progress{r: file, w: e.err, size: size, began: time.Now()})
	if err != nil {
		printFaults(e.err, err)
		return err
	}
	defer answer.Close()
	var done ingest.Imported
	if err := json.NewDecoder(answer).Decode(&done); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	verb := "imported"
	if i.DryRun {
		verb = "checked, nothing imported:"
	}
	fmt.Fprintf(e.out, "%s %d lines, %d changes; the ledger has %d entries\n", verb, done.Lines, done.Changes, done.Ledger.Entries)
	return nil
}

// printFaults lists the lines at fault that a refusal tells of.
func printFaults(w io.Writer, err error) {
	p, ok := errors.AsType[*problem.Error](err)
	if !ok || p.Members["faults"] == nil {
		return
	}
	text, err := json.Marshal(p.Members["faults"])
	if err != nil {
		return
	}
	var faults []ingest.LineFault
	if json.Unmarshal(text, &faults) != nil {
		return
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "LINE\tFIELD\tCODE\tWHAT IS WRONG")
	for _, f := range faults {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\n", f.Line, f.Field, f.Code, f.Message)
	}
	_ = t.Flush()
}

// progress tells of a long upload, each second at most.
type progress struct {
	r           io.Reader
	w           io.Writer
	size, sent  int64
	began, told time.Time
}

func (p *progress) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.sent += int64(n)
	const quick = 1 << 20 // not worth a word
	now := time.Now()
	switch {
	case p.sent < quick:
	case err == io.EOF:
		fmt.Fprintf(p.w, "sent %.1f MB in %.1f s; the server checks and stores them\n", float64(p.sent)/1e6, now.Sub(p.began).Seconds())
	case now.Sub(p.told) >= time.Second:
		p.told = now
		fmt.Fprintf(p.w, "sent %.1f of %.1f MB\n", float64(p.sent)/1e6, float64(max(p.size, p.sent))/1e6)
	}
	return n, err
}

type consentExportCmd struct {
	clientFlags
	Format string `help:"csv or ndjson; the ledger is always ndjson." enum:"csv,ndjson" default:"csv" short:"f"`
	Ledger bool   `help:"The ledger instead: every entry with its proof and hash."`
	Output string `help:"File to write; default is the terminal." short:"o" type:"path" placeholder:"FILE"`
}

// Run writes what the server streams.
func (x *consentExportCmd) Run(ctx context.Context, e *env) error {
	c, err := x.client()
	if err != nil {
		return err
	}
	path, query := "/consent/export", url.Values{"format": {x.Format}}
	if x.Ledger {
		path, query = "/consent/ledger", nil
	}
	lines, err := c.call(ctx, http.MethodGet, x.orgPath(path), query, nil)
	if err != nil {
		return err
	}
	defer lines.Close()
	return (&rowFlags{Output: x.Output}).write(e, lines)
}
