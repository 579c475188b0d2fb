package main

import (
	"context"
	"net/http"
	"net/url"
)

type exportCmd struct {
	clientFlags
	Format string `help:"ndjson or parquet." enum:"ndjson,parquet" default:"ndjson" short:"f"`
	Output string `help:"File to write; default is the terminal." short:"o" type:"path" placeholder:"FILE"`
}

// Help shows examples.
func (exportCmd) Help() string {
	return `All interactions that may be shown, in no particular order. A terminated
organisation's can be exported until they are purged.

Examples:
  mailwake export --org acme --output acme.ndjson
  mailwake export --org acme --format parquet --output acme.parquet`
}

// Run copies an export to where it belongs.
func (x *exportCmd) Run(ctx context.Context, e *env) error {
	c, err := x.client()
	if err != nil {
		return err
	}
	rows, err := c.call(ctx, http.MethodGet, x.orgPath("/export"), url.Values{"format": {x.Format}}, nil)
	if err != nil {
		return err
	}
	defer rows.Close()
	return (&rowFlags{Format: x.Format, Output: x.Output}).write(e, rows)
}
