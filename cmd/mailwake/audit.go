package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"mailwake/ingest"
)

type orgAuditCmd struct {
	oneOrg
	Limit  int    `help:"Reads at most." default:"100"`
	Format string `help:"table or json." enum:"table,json" default:"table" short:"f"`
}

// Run shows the changes, oldest first, and then the reads, newest first.
func (o *orgAuditCmd) Run(ctx context.Context, e *env) error {
	c, err := o.client()
	if err != nil {
		return err
	}
	var audit ingest.Audit
	if err := c.get(ctx, http.MethodGet, o.path("/audit"), url.Values{"limit": {strconv.Itoa(o.Limit)}}, nil, &audit); err != nil {
		return err
	}
	if o.Format == "json" {
		enc := json.NewEncoder(e.out)
		enc.SetIndent("", "  ")
		return enc.Encode(audit)
	}
	t := tabwriter.NewWriter(e.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "CHANGED\tBY\tACTION\tFROM\tTO")
	for _, ch := range audit.Changes {
		by := ch.By
		if ch.KeyID != 0 {
			by += " " + strconv.FormatInt(ch.KeyID, 10)
		}
		from, to := ch.From, ch.To
		if ch.Action == "policy" {
			from, to = policyChange(ch.From, ch.To)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", second(ch.At), by, ch.Action, from, to)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(t, "READ\tBY\tWHAT\tWHOSE")
	for _, r := range audit.Reads {
		fmt.Fprintf(t, "%s\tkey %d\t%s\t%s\n", second(r.At), r.KeyID, r.What, whose(r))
	}
	return t.Flush()
}

// policyChange keeps of two policies what differs.
func policyChange(from, to string) (string, string) {
	var before, after map[string]any
	if json.Unmarshal([]byte(from), &before) != nil || json.Unmarshal([]byte(to), &after) != nil {
		return from, to
	}
	var was, is []string
	for _, field := range slices.Sorted(maps.Keys(after)) {
		if before[field] != after[field] {
			was = append(was, fmt.Sprint(field, " ", before[field]))
			is = append(is, fmt.Sprint(field, " ", after[field]))
		}
	}
	return strings.Join(was, ", "), strings.Join(is, ", ")
}

// whose names what a read was about.
func whose(r ingest.Read) string {
	var about []string
	switch {
	case r.ExternalID != "":
		about = append(about, r.Kind+" "+r.ExternalID)
	case r.PersonID != 0:
		about = append(about, "person "+strconv.FormatInt(r.PersonID, 10))
	}
	if r.Recipient != 0 {
		about = append(about, "recipient "+strconv.FormatInt(r.Recipient, 10))
	}
	if r.Email != 0 {
		about = append(about, "email "+strconv.FormatInt(r.Email, 10))
	}
	return strings.Join(about, ", ")
}
