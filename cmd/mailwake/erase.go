package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"mailwake/engine/problem"
	"mailwake/retention"
)

// receiptKeyFile is the key that signs receipts and certificates.
const receiptKeyFile = "receipt.key"

// removals gives the Keeper what it needs to erase people and purge organisations.
func (s *server) removals() (*retention.Removals, error) {
	n, eng, db := s.stack.node, s.stack.engine, s.stack.query
	signer, err := retention.OpenSigner(filepath.Join(s.store.Data, receiptKeyFile))
	if err != nil {
		return nil, err
	}
	return &retention.Removals{
		Registry: n.registry, Store: n.store, Shred: eng.Shred, DropTail: eng.Drop, Flush: eng.Flush,
		Forget: db.Forget, Tidy: db.Tidy, Rollups: db.SearchRollups, Told: db.Told,
		Signer: signer, Dir: s.store.Data,
	}, nil
}

// whoseFlags say whom a command is about.
type whoseFlags struct {
	Person    string `help:"A person: contact/ID, lead/ID or account/ID, with the sender's own id." placeholder:"KIND/ID" env:"-"`
	Recipient int64  `help:"A recipient by number." env:"-"`
	Address   string `help:"An address; people who have it keep their records." env:"-"`
}

func (f *whoseFlags) body() (*retention.WhoseBody, error) {
	b := &retention.WhoseBody{Recipient: f.Recipient, Address: f.Address}
	if f.Person != "" {
		kind, id, ok := strings.Cut(f.Person, "/")
		if !ok {
			return nil, errors.New("--person must look like contact/ID, lead/ID or account/ID")
		}
		b.Kind, b.ExternalID = kind, id
	}
	return b, nil
}

type eraseCmd struct {
	clientFlags
	whoseFlags
	List   bool     `help:"List erasures." env:"-"`
	Purges bool     `help:"List deletions of whole organisations, with their certificates." env:"-"`
	Show   int64    `help:"Show an erasure with its receipt." placeholder:"ID" env:"-"`
	Verify string   `help:"Search everything again for what an erasure removed." placeholder:"ID|RECEIPT" env:"-"`
	Text   []string `help:"With --verify: search every byte for this too, such as the address." env:"-"`
	Format string   `help:"page (Markdown) or json." enum:"page,json" default:"page" short:"f"`
}

// Help shows examples.
func (eraseCmd) Help() string {
	return `Examples:
  mailwake erase --org acme --person contact/c-17 --format json >receipt.json
  mailwake erase --org acme --address ann@example.com
  mailwake erase --org acme --verify receipt.json --text ann@example.com
  mailwake erase --org acme --list
  mailwake erase --purges`
}

// Run erases, or shows and verifies what was erased.
func (c *eraseCmd) Run(ctx context.Context, e *env) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	var list []retention.Removal
	switch {
	case c.Verify != "":
		return c.verify(ctx, client, e.out)
	case c.Purges:
		err = client.get(ctx, http.MethodGet, "/v1/purges", nil, nil, &list)
	case c.List:
		err = client.get(ctx, http.MethodGet, c.orgPath("/erasures"), nil, nil, &list)
	default:
		var one retention.Removal
		if c.Show != 0 {
			err = client.get(ctx, http.MethodGet, c.orgPath("/erasures/"+strconv.FormatInt(c.Show, 10)), nil, nil, &one)
		} else {
			var who *retention.WhoseBody
			if who, err = c.body(); err == nil {
				err = client.get(ctx, http.MethodPost, c.orgPath("/erasures"), nil, who, &one)
			}
		}
		list = []retention.Removal{one}
	}
	if err != nil {
		return err
	}
	return c.print(e.out, list)
}

func (c *eraseCmd) print(out io.Writer, list []retention.Removal) error {
	for _, r := range list {
		switch {
		case c.Format == "json" && r.Receipt != nil:
			fmt.Fprintln(out, string(*r.Receipt))
		case c.Format == "json":
			text, err := json.Marshal(r)
			if err != nil {
				return err
			}
			fmt.Fprintln(out, string(text))
		case r.State == "running":
			fmt.Fprintf(out, "erasure %d: refused since %s; %d of %d steps are done, the server goes on with the others\n",
				r.ErasureID, r.StartedAt.Format("2006-01-02 15:04:05Z"), len(r.StepsDone), r.StepsAll)
		default:
			fmt.Fprintln(out, r.Page)
		}
	}
	return nil
}

// verify takes the number of an erasure, or a file with its receipt.
func (c *eraseCmd) verify(ctx context.Context, client *client, out io.Writer) error {
	id, err := strconv.ParseInt(c.Verify, 10, 64)
	if err != nil {
		text, err := os.ReadFile(c.Verify)
		if err != nil {
			return fmt.Errorf("read receipt: %w", err)
		}
		var signed retention.Signed
		var r retention.Receipt
		if err := errors.Join(json.Unmarshal(text, &signed), json.Unmarshal(signed.Receipt, &r)); err != nil {
			return fmt.Errorf("read receipt: %w", err)
		}
		id, c.Org = int64(r.Erasure), r.OrgName
	}
	var v retention.ErasureVerified
	path := c.orgPath("/erasures/" + strconv.FormatInt(id, 10) + "/verify")
	if err := client.get(ctx, http.MethodPost, path, nil, retention.Texts{Texts: c.Text}, &v); err != nil {
		return err
	}
	fmt.Fprintf(out, "searched %d blobs with %d rows, %d rollups, and %d files of the server, %d bytes\n", v.Blobs, v.Rows, v.Rollups, v.Files, v.Bytes)
	if v.Copies > 0 {
		fmt.Fprintf(out, "the storage account keeps %d copies that cannot be searched\n", v.Copies)
	}
	if len(v.Found) == 0 {
		fmt.Fprintln(out, "nothing is left")
		return nil
	}
	for _, where := range v.Found {
		fmt.Fprintln(out, "left in", where)
	}
	return problem.New(500, "erasure_incomplete", "Something is left in %d places; run mailwake retention run, then verify again.", len(v.Found))
}
