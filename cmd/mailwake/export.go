package main

import (
	"context"
	"net/http"
	"net/url"
)

type exportCmd struct {
	clientFlags
	whoseFlags
	Format string `help:"ndjson or parquet." enum:"ndjson,parquet" default:"ndjson" short:"f"`
	Output string `help:"File to write; default is the terminal." short:"o" type:"path" placeholder:"FILE"`
}

// Help shows examples.
func (exportCmd) Help() string {
	return `All interactions that may be shown, in no particular order. A terminated
organisation's can be exported until they are purged. With a person, a recipient
or an address: everything held of them, as one JSON document with explanations.

Examples:
  mailwake export --org acme --output acme.ndjson
  mailwake export --org acme --format parquet --output acme.parquet
  mailwake export --org acme --person contact/c-17 --output ann.json`
}

// Run copies an export to where it belongs.
func (x *exportCmd) Run(ctx context.Context, e *env) error {
	c, err := x.client()
	if err != nil {
		return err
	}
	if x.whoseFlags != (whoseFlags{}) {
		return x.person(ctx, c, e)
	}
	rows, err := c.call(ctx, http.MethodGet, x.orgPath("/export"), url.Values{"format": {x.Format}}, nil)
	if err != nil {
		return err
	}
	defer rows.Close()
	return (&rowFlags{Format: x.Format, Output: x.Output}).write(e, rows)
}

// person copies everything held of one person.
func (x *exportCmd) person(ctx context.Context, c *client, e *env) error {
	who, err := x.body()
	if err != nil {
		return err
	}
	held, err := c.call(ctx, http.MethodPost, x.orgPath("/exports"), nil, who)
	if err != nil {
		return err
	}
	defer held.Close()
	return (&rowFlags{Format: x.Format, Output: x.Output}).write(e, held)
}
