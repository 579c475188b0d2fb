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
	"strings"
	"text/tabwriter"

	"mailwake/query"
)

// rowFlags say how rows are written.
type rowFlags struct {
	Format string `help:"table, json, ndjson, csv, arrow or parquet." enum:"table,json,ndjson,csv,arrow,parquet" default:"table" short:"f"`
	Output string `help:"File to write; default is the terminal." short:"o" type:"path" placeholder:"FILE"`
}

// write copies rows to where they belong. A file appears only when it is whole.
func (f *rowFlags) write(e *env, rows io.Reader) error {
	if f.Output == "" {
		if out, ok := e.out.(*os.File); ok && (f.Format == "arrow" || f.Format == "parquet") && isTerminal(out) {
			return errors.New("the format is binary; name a file with --output, or pipe it")
		}
		_, err := io.Copy(e.out, rows)
		return err
	}
	part := f.Output + ".part"
	out, err := os.Create(part)
	if err != nil {
		return err
	}
	defer os.Remove(part)
	_, err = io.Copy(out, rows)
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("write %s: %w", f.Output, err)
	}
	return os.Rename(part, f.Output)
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

type kpiCmd struct {
	clientFlags
	rowFlags
	Name   string            `arg:"" optional:"" help:"Name of a KPI; without one, the KPIs are listed." default:"list"`
	Params map[string]string `arg:"" optional:"" help:"Parameters, as name=value."`
}

// Help shows examples.
func (kpiCmd) Help() string {
	return `Examples:
  mailwake kpi
  mailwake kpi organisation_summary
  mailwake kpi email_timeline email=1 bucket=hour
  mailwake kpi recipient_activity --format csv --output activity.csv`
}

// Run asks the server for one KPI, or for the list of them.
func (k *kpiCmd) Run(ctx context.Context, e *env) error {
	c, err := k.client()
	if err != nil {
		return err
	}
	if k.Name == "list" {
		return k.list(ctx, e, c)
	}
	path := k.orgPath("/kpis/" + url.PathEscape(k.Name))
	params := url.Values{"format": {k.Format}}
	for name, value := range k.Params {
		params.Set(name, value)
	}
	rows, err := c.call(ctx, http.MethodGet, path, params, nil)
	if err != nil {
		return err
	}
	defer rows.Close()
	return k.write(e, rows)
}

// list prints the catalogue.
func (k *kpiCmd) list(ctx context.Context, e *env, c *client) error {
	var kpis []query.KPI
	if err := c.get(ctx, http.MethodGet, k.orgPath("/kpis"), nil, nil, &kpis); err != nil {
		return err
	}
	if k.Format == "json" {
		return json.NewEncoder(e.out).Encode(kpis)
	}
	t := tabwriter.NewWriter(e.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tPARAMETERS\tTITLE")
	for _, kpi := range kpis {
		var params []string
		for _, p := range kpi.Params {
			params = append(params, p.Name)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", kpi.Name, strings.Join(params, ", "), kpi.Title)
	}
	return t.Flush()
}
