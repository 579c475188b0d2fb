package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"

	"mailwake/ingest"
)

type orgCmd struct {
	Create      orgCreateCmd      `cmd:"" help:"Provision an organisation: from then on its emails can be followed."`
	Show        orgShowCmd        `cmd:"" help:"Show an organisation: state, purge date, policy."`
	List        orgListCmd        `cmd:"" help:"List the organisations."`
	Enable      orgEnableCmd      `cmd:"" help:"Switch following on again; everything collected before is readable again."`
	Disable     orgDisableCmd     `cmd:"" help:"Switch following off: nothing is recorded or readable; links go on working, data stays."`
	Terminate   orgTerminateCmd   `cmd:"" help:"End the subscription: as disabled, and after 90 days everything is deleted."`
	Resubscribe orgResubscribeCmd `cmd:"" help:"Take an ended subscription up again before its purge date."`
	Policy      orgPolicyCmd      `cmd:"" help:"Show or change how consent and age are dealt with."`
	Audit       orgAuditCmd       `cmd:"" help:"Show who changed the organisation and who looked at data about persons."`
}

type orgCreateCmd struct {
	serverFlags
	Name  string `arg:"" help:"Lower-case letters, digits and hyphens, at most 63."`
	Title string `help:"Name as people write it."`
}

// Run creates one organisation.
func (o *orgCreateCmd) Run(ctx context.Context, e *env) error {
	c, err := o.client()
	if err != nil {
		return err
	}
	var org ingest.Org
	if err := c.get(ctx, http.MethodPost, "/v1/orgs", nil, ingest.NewOrg{Name: o.Name, Title: o.Title}, &org); err != nil {
		return err
	}
	return printOrgs(e.out, org)
}

type orgListCmd struct{ serverFlags }

// Run lists all organisations.
func (o *orgListCmd) Run(ctx context.Context, e *env) error {
	c, err := o.client()
	if err != nil {
		return err
	}
	var orgs []ingest.Org
	if err := c.get(ctx, http.MethodGet, "/v1/orgs", nil, nil, &orgs); err != nil {
		return err
	}
	return printOrgs(e.out, orgs...)
}

// oneOrg names an organisation as an argument or by --org.
type oneOrg struct {
	clientFlags
	Name string `arg:"" optional:"" help:"Organisation; the same as --org."`
}

func (o *oneOrg) path(rest string) string {
	if o.Name != "" {
		o.Org = o.Name
	}
	return "/v1/orgs/" + url.PathEscape(o.Org) + rest
}

type orgShowCmd struct {
	oneOrg
	Format string `help:"table or json." enum:"table,json" default:"table" short:"f"`
}

// Run shows one organisation.
func (o *orgShowCmd) Run(ctx context.Context, e *env) error {
	c, err := o.client()
	if err != nil {
		return err
	}
	var org ingest.Org
	if err := c.get(ctx, http.MethodGet, o.path(""), nil, nil, &org); err != nil {
		return err
	}
	if o.Format == "json" {
		enc := json.NewEncoder(e.out)
		enc.SetIndent("", "  ")
		return enc.Encode(org)
	}
	t := tabwriter.NewWriter(e.out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "name\t%s\ntitle\t%s\nstate\t%s\ncreated\t%s\n", org.Name, org.Title, org.State, minute(&org.CreatedAt))
	if org.PurgeAt != nil {
		fmt.Fprintf(t, "terminated\t%s\npurged from\t%s\n", minute(org.TerminatedAt), minute(org.PurgeAt))
	}
	printPolicy(t, org.Policy)
	return t.Flush()
}

// changeOrg takes an organisation to its next state and shows it.
func changeOrg(ctx context.Context, e *env, o *oneOrg, verb string) error {
	c, err := o.client()
	if err != nil {
		return err
	}
	var org ingest.Org
	if err := c.get(ctx, http.MethodPost, o.path(":"+verb), nil, nil, &org); err != nil {
		return err
	}
	return printOrgs(e.out, org)
}

type (
	orgEnableCmd      struct{ oneOrg }
	orgDisableCmd     struct{ oneOrg }
	orgTerminateCmd   struct{ oneOrg }
	orgResubscribeCmd struct{ oneOrg }
)

// Run switches following on.
func (o *orgEnableCmd) Run(ctx context.Context, e *env) error {
	return changeOrg(ctx, e, &o.oneOrg, "enable")
}

// Run switches following off.
func (o *orgDisableCmd) Run(ctx context.Context, e *env) error {
	return changeOrg(ctx, e, &o.oneOrg, "disable")
}

// Run ends the subscription.
func (o *orgTerminateCmd) Run(ctx context.Context, e *env) error {
	return changeOrg(ctx, e, &o.oneOrg, "terminate")
}

// Run takes the subscription up again.
func (o *orgResubscribeCmd) Run(ctx context.Context, e *env) error {
	return changeOrg(ctx, e, &o.oneOrg, "resubscribe")
}

type orgPolicyCmd struct {
	oneOrg
	Unknown      *string `help:"Who has not answered: opt_out follows until refused, opt_in only once allowed." placeholder:"CHOICE" env:"-"`
	OnRefusal    *string `help:"What one refusal does to an email: block, or follow_others." placeholder:"CHOICE" env:"-"`
	OnWithdrawal *string `help:"What a refusal does to what was collected before: hide, or purge." placeholder:"CHOICE" env:"-"`
	HideDays     *int    `help:"Days from hiding to purging." placeholder:"DAYS" env:"-"`
	MaxAgeDays   *int    `help:"Age at which interactions are purged; 0 is no limit." placeholder:"DAYS" env:"-"`
	Zone         *string `help:"Time zone of reports, such as Europe/Berlin." placeholder:"ZONE" env:"-"`
	SmartReplies *bool   `help:"Match replies without a token by what is in them." negatable:"" env:"-"`
}

// Help shows examples.
func (orgPolicyCmd) Help() string {
	return `Examples:
  mailwake org policy acme
  mailwake org policy acme --unknown opt_in --on-refusal follow_others
  mailwake org policy acme --on-withdrawal purge --max-age-days 730`
}

// Run changes the policy where a flag says so, and shows it.
func (o *orgPolicyCmd) Run(ctx context.Context, e *env) error {
	c, err := o.client()
	if err != nil {
		return err
	}
	patch := ingest.OrgPatch{Policy: ingest.PolicyPatch{
		Unknown: o.Unknown, OnRefusal: o.OnRefusal, OnWithdrawal: o.OnWithdrawal,
		HideDays: o.HideDays, MaxAgeDays: o.MaxAgeDays, Zone: o.Zone, SmartReplies: o.SmartReplies,
	}}
	var org ingest.Org
	if patch == (ingest.OrgPatch{}) {
		err = c.get(ctx, http.MethodGet, o.path(""), nil, nil, &org)
	} else {
		err = c.get(ctx, http.MethodPatch, o.path(""), nil, patch, &org)
	}
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(e.out, 0, 4, 2, ' ', 0)
	printPolicy(t, org.Policy)
	return t.Flush()
}

func printPolicy(w io.Writer, p ingest.Policy) {
	fmt.Fprintf(w, "unknown\t%s\non refusal\t%s\non withdrawal\t%s\nhide days\t%d\nmax age days\t%d\nzone\t%s\nsmart replies\t%v\n",
		p.Unknown, p.OnRefusal, p.OnWithdrawal, p.HideDays, p.MaxAgeDays, p.Zone, p.SmartReplies)
}

func printOrgs(w io.Writer, orgs ...ingest.Org) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tSTATE\tCREATED\tPURGED FROM\tTITLE")
	for _, o := range orgs {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", o.Name, o.State, minute(&o.CreatedAt), minute(o.PurgeAt), o.Title)
	}
	return t.Flush()
}
