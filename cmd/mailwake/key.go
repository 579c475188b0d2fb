package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"text/tabwriter"
	"time"

	"mailwake/ingest"
)

type keyCmd struct {
	Create keyCreateCmd `cmd:"" help:"Create an API key and print it, once."`
	List   keyListCmd   `cmd:"" help:"List the API keys."`
	Revoke keyRevokeCmd `cmd:"" help:"Revoke an API key for good."`
}

type keyCreateCmd struct {
	clientFlags
	Role    string `help:"admin, sender, ingest, analyst or aggregate_analyst." enum:"admin,sender,ingest,analyst,aggregate_analyst" required:"" env:"-"`
	Name    string `help:"What the key is for." placeholder:"TEXT"`
	AllOrgs bool   `help:"For all organisations instead of one." env:"-"`
}

// Help shows examples.
func (keyCreateCmd) Help() string {
	return `Examples:
  mailwake key create --org acme --role sender --name 'campaign mailer'
  mailwake key create --all-orgs --role admin`
}

// Run creates one key. Only the key goes to standard output, for scripts.
func (k *keyCreateCmd) Run(ctx context.Context, e *env) error {
	c, err := k.client()
	if err != nil {
		return err
	}
	want := ingest.NewKey{Name: k.Name, Role: k.Role, Org: k.Org, AllOrgs: k.AllOrgs}
	if k.AllOrgs {
		want.Org = ""
	}
	var key ingest.CreatedKey
	if err := c.get(ctx, http.MethodPost, "/v1/keys", nil, want, &key); err != nil {
		return err
	}
	fmt.Fprintf(e.err, "key %d, %s, for %s; it is shown only now:\n", key.ID, key.Role, scopeOf(key.Key))
	fmt.Fprintln(e.out, key.Secret)
	return nil
}

func scopeOf(k ingest.Key) string {
	if k.Org == "" {
		return "all organisations"
	}
	return k.Org
}

type keyListCmd struct{ serverFlags }

// Run lists all keys.
func (k *keyListCmd) Run(ctx context.Context, e *env) error {
	c, err := k.client()
	if err != nil {
		return err
	}
	var keys []ingest.Key
	if err := c.get(ctx, http.MethodGet, "/v1/keys", nil, nil, &keys); err != nil {
		return err
	}
	t := tabwriter.NewWriter(e.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tROLE\tFOR\tSTATE\tCREATED\tLAST USED\tNAME")
	for _, k := range keys {
		state := "valid"
		if k.RevokedAt != nil {
			state = "revoked"
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Role, scopeOf(k), state, minute(&k.CreatedAt), minute(k.LastUsed), k.Name)
	}
	return t.Flush()
}

type keyRevokeCmd struct {
	serverFlags
	ID int64 `arg:"" help:"Number of the key, as listed."`
}

// Run revokes one key.
func (k *keyRevokeCmd) Run(ctx context.Context, e *env) error {
	if k.ID < 1 {
		return errors.New("keys are numbered from 1; see mailwake key list")
	}
	c, err := k.client()
	if err != nil {
		return err
	}
	r, err := c.call(ctx, http.MethodDelete, fmt.Sprintf("/v1/keys/%d", k.ID), nil, nil)
	if err != nil {
		return err
	}
	defer r.Close()
	fmt.Fprintf(e.out, "key %d is revoked\n", k.ID)
	return nil
}

// second is a time as logs show it, in UTC.
func second(t time.Time) string { return t.UTC().Format(time.DateTime) }

// minute is a time as tables show it, in UTC.
func minute(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04")
}
