package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/mail"
	"os"
	"path/filepath"
)

// followRequest and followResponse are the API's documents as this client sends
// and reads them.
type followRequest struct {
	From     string            `json:"from"`
	To       []followRecipient `json:"to"`
	Subject  string            `json:"subject,omitempty"`
	HTML     string            `json:"html"`
	Template string            `json:"template,omitempty"`
	Follow   string            `json:"follow"`
}

type followRecipient struct {
	Address string `json:"address"`
	Name    string `json:"name,omitempty"`
}

type followResponse struct {
	EmailID     int64    `json:"email_id"`
	FollowState string   `json:"follow_state"`
	Reasons     []string `json:"reasons"`
	Messages    []struct {
		RecipientID int64  `json:"recipient_id"`
		Address     string `json:"address"`
		HTML        string `json:"html"`
	} `json:"messages"`
}

type followCmd struct {
	clientFlags
	From     string   `help:"Sender." required:"" placeholder:"ADDRESS"`
	To       []string `help:"Recipients, repeatable." required:"" placeholder:"ADDRESS" sep:"none"`
	Subject  string   `help:"Subject." placeholder:"TEXT"`
	Template string   `help:"Name of the template the mail was made from." placeholder:"NAME"`
	Follow   string   `help:"required, if_allowed or no." enum:"required,if_allowed,no" default:"required"`
	Out      string   `help:"Folder for one HTML file per recipient; without it the answer is printed as JSON." type:"path" placeholder:"DIR"`
	HTML     string   `arg:"" help:"HTML file, or - for standard input." type:"path" name:"html"`
}

// Help shows examples.
func (followCmd) Help() string {
	return `Examples:
  mailwake follow --from sales@acme.example --to jo@customer.example --subject Offer --out ./out offer.html
  mailwake follow --from a@acme.example --to 'Jo <jo@customer.example>' --to kim@customer.example - < mail.html`
}

// Run registers the mail and writes the instrumented copies.
func (f *followCmd) Run(ctx context.Context, e *env) error {
	html, err := readInput(f.HTML)
	if err != nil {
		return fmt.Errorf("read mail: %w", err)
	}
	req := followRequest{From: f.From, Subject: f.Subject, Template: f.Template, Follow: f.Follow, HTML: string(html)}
	for _, to := range f.To {
		a, err := mail.ParseAddress(to)
		if err != nil {
			return fmt.Errorf("recipient %q: %w", to, err)
		}
		req.To = append(req.To, followRecipient{Address: a.Address, Name: a.Name})
	}
	c, err := f.client()
	if err != nil {
		return err
	}
	var resp followResponse
	if err := c.get(ctx, http.MethodPost, f.orgPath("/emails"), nil, req, &resp); err != nil {
		return err
	}
	if f.Out == "" {
		enc := json.NewEncoder(e.out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(resp)
	}
	if err := os.MkdirAll(f.Out, 0o700); err != nil {
		return err
	}
	for i, m := range resp.Messages {
		name := filepath.Join(f.Out, fmt.Sprintf("email-%d-recipient-%d.html", resp.EmailID, max(m.RecipientID, int64(i+1))))
		if err := os.WriteFile(name, []byte(m.HTML), 0o600); err != nil {
			return err
		}
	}
	fmt.Fprintf(e.out, "email %d: follow state %s, %d messages in %s\n", resp.EmailID, resp.FollowState, len(resp.Messages), f.Out)
	return nil
}

// readInput reads a file, or standard input for "-".
func readInput(path string) ([]byte, error) {
	if filepath.Base(path) == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(path)
}
