package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"

	"mailwake/ingest"
)

type orgCmd struct {
	Create orgCreateCmd `cmd:"" help:"Provision an organisation: from then on its emails can be followed."`
	List   orgListCmd   `cmd:"" help:"List the organisations."`
}

type orgCreateCmd struct {
	clientFlags
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
	printOrgs(e.out, []ingest.Org{org})
	return nil
}

type orgListCmd struct{ clientFlags }

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
	printOrgs(e.out, orgs)
	return nil
}

func printOrgs(w io.Writer, orgs []ingest.Org) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tSTATE\tCREATED\tTITLE")
	for _, o := range orgs {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", o.Name, o.State, o.CreatedAt.Format("2006-01-02 15:04"), o.Title)
	}
	_ = t.Flush()
}
