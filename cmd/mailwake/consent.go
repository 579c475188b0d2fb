package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"

	"mailwake/ingest"
)

type consentCmd struct {
	Show   consentShowCmd   `cmd:"" help:"Show whose interactions may be collected, and why."`
	Set    consentSetCmd    `cmd:"" help:"Record a preference with its proof."`
	Import consentImportCmd `cmd:"" help:"Record many preferences from a file: all of them or none."`
	Export consentExportCmd `cmd:"" help:"Export the preferences, or the ledger of how they came about."`
	Verify consentVerifyCmd `cmd:"" help:"Verify the consent ledger; damage is named by its entry."`
}

// subjectArg says whose preference: KIND/ID of a contact, lead, account or
// recipient, or an address.
type subjectArg struct {
	Subject string `arg:"" help:"contact/ID, lead/ID, account/ID, recipient/NUMBER, or an address."`
}

func (s *subjectArg) parse() (kind, id string) {
	for _, kind := range []string{"contact", "lead", "account", "recipient"} {
		if id, ok := strings.CutPrefix(s.Subject, kind+"/"); ok {
			return kind, id
		}
	}
	return "address", s.Subject
}

type consentShowCmd struct {
	clientFlags
	subjectArg
	Format string `help:"table or json." enum:"table,json" default:"table" short:"f"`
}

// Help shows examples.
func (consentShowCmd) Help() string {
	return `Examples:
  mailwake consent show jo@customer.example
  mailwake consent show contact/c-17 --org acme`
}

// Run shows one subject's preferences.
func (s *consentShowCmd) Run(ctx context.Context, e *env) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	var p ingest.Preferences
	switch kind, id := s.parse(); kind {
	case "address":
		err = c.get(ctx, http.MethodPost, s.orgPath("/preferences/lookup"), nil, ingest.LookUp{Address: id}, &p)
	case "recipient":
		err = c.get(ctx, http.MethodGet, s.orgPath("/preferences"), url.Values{"kind": {kind}, "recipient_id": {id}}, nil, &p)
	default:
		err = c.get(ctx, http.MethodGet, s.orgPath("/preferences"), url.Values{"kind": {kind}, "external_id": {id}}, nil, &p)
	}
	if err != nil {
		return err
	}
	if s.Format == "json" {
		enc := json.NewEncoder(e.out)
		enc.SetIndent("", "  ")
		return enc.Encode(p)
	}
	return printPreferences(e.out, p)
}

func printPreferences(w io.Writer, p ingest.Preferences) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "WHOSE\tOPEN\tCLICK\tATTACHMENT\tREPLY\tCOLLECTED NOW")
	row := func(whose string, a ingest.Answers, collected string) {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", whose, a.Open, a.Click, a.Attachment, a.Reply, collected)
	}
	row(subjectName(p.SubjectRef)+" itself", p.Own, "")
	for _, a := range p.Addresses {
		for _, b := range a.Because {
			row("  from "+subjectName(b.SubjectRef), b.Answers, "")
		}
		collected := strings.Join(a.Collected, ", ")
		if len(a.Reasons) > 0 {
			collected = strings.TrimPrefix(collected+"; not the others: "+strings.Join(a.Reasons, ", "), "; not the others: ")
		}
		row(fmt.Sprintf("%s (recipient %d)", a.Address, a.RecipientID), a.Effective, collected)
	}
	return t.Flush()
}

func subjectName(s ingest.SubjectRef) string {
	if s.ExternalID != "" {
		return s.Kind + " " + s.ExternalID
	}
	return "recipient " + strconv.FormatInt(s.RecipientID, 10)
}

// proofFlags say what shows that preferences were given so.
type proofFlags struct {
	Source      string `help:"Where the preference was given." default:"${source}" placeholder:"TEXT" env:"-"`
	FormVersion string `help:"Version of the form." placeholder:"TEXT" env:"-"`
	Text        string `help:"Exactly what was shown." placeholder:"TEXT" env:"-"`
	Locale      string `help:"Language of the text, such as de." placeholder:"TAG" env:"-"`
	Evidence    string `help:"For example the Message-ID of a double opt-in." placeholder:"TEXT" env:"-"`
}

type consentSetCmd struct {
	clientFlags
	subjectArg
	Follow     string `help:"Follow Email, for all four purposes: unknown, allowed or denied." placeholder:"STATE" env:"-"`
	Open       string `help:"Opens only." placeholder:"STATE" env:"-"`
	Click      string `help:"Link clicks only." placeholder:"STATE" env:"-"`
	Attachment string `help:"Attachment views only." placeholder:"STATE" env:"-"`
	Reply      string `help:"Replies only." placeholder:"STATE" env:"-"`
	proofFlags `set:"source=command line"`
}

// Help shows examples.
func (consentSetCmd) Help() string {
	return `Examples:
  mailwake consent set contact/c-17 --follow denied --source 'phone call'
  mailwake consent set jo@customer.example --follow allowed --open denied --source 'signup form' --form-version 3`
}

// Run records one preference.
func (s *consentSetCmd) Run(ctx context.Context, e *env) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	p := ingest.NewPreference{Follow: s.Follow, Open: s.Open, Click: s.Click, Attachment: s.Attachment, Reply: s.Reply}
	switch kind, id := s.parse(); kind {
	case "address":
		p.Address = id
	case "recipient":
		if p.RecipientID, err = strconv.ParseInt(id, 10, 64); err != nil {
			return fmt.Errorf("recipient %q: the number is a whole number", id)
		}
	default:
		p.Kind, p.ExternalID = kind, id
	}
	in := ingest.PreferenceChanges{Changes: []ingest.NewPreference{p}, Proof: ingest.Proof{
		Source: s.Source, FormVersion: s.FormVersion, Text: s.Text, Locale: s.Locale, Evidence: s.Evidence,
	}}
	var head ingest.LedgerHead
	if err := c.get(ctx, http.MethodPost, s.orgPath("/preferences"), nil, in, &head); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "recorded; the ledger has %d entries\n", head.Entries)
	return nil
}

type consentVerifyCmd struct{ clientFlags }

// Run verifies the ledger.
func (v *consentVerifyCmd) Run(ctx context.Context, e *env) error {
	c, err := v.client()
	if err != nil {
		return err
	}
	var ok ingest.Verified
	if err := c.get(ctx, http.MethodGet, v.orgPath("/consent/verify"), nil, nil, &ok); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "intact: %d entries, head %s\n", ok.Entries, ok.Hash)
	return nil
}
