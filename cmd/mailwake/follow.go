package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/mail"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"mailwake/engine/problem"
	"mailwake/ingest"
	"mailwake/ingest/follow"
)

// followRequest and followResponse are the API's documents as this client sends
// and reads them.
type followRequest struct {
	From        string            `json:"from"`
	To          []followRecipient `json:"to"`
	Subject     string            `json:"subject,omitempty"`
	HTML        string            `json:"html"`
	Text        string            `json:"text,omitempty"`
	Template    string            `json:"template,omitempty"`
	Follow      string            `json:"follow"`
	Unsubscribe []string          `json:"list_unsubscribe,omitempty"`
	Pixel       string            `json:"pixel,omitempty"`
	Attachments []follow.FileRef  `json:"attachments,omitempty"`
	Output      string            `json:"output,omitempty"`
	Retry       int64             `json:"retry,omitempty"`
}

type followRecipient struct {
	Address string `json:"address"`
	Name    string `json:"name,omitempty"`
}

type followResponse struct {
	EmailID     int64            `json:"email_id"`
	FollowState string           `json:"follow_state"`
	Reasons     []string         `json:"reasons"`
	Blockers    []follow.Blocker `json:"blockers,omitempty"`
	Messages    []struct {
		RecipientID int64            `json:"recipient_id"`
		Address     string           `json:"address"`
		Purposes    []string         `json:"purposes"`
		HTML        string           `json:"html,omitempty"`
		MIME        []byte           `json:"mime,omitempty"`
		MessageID   string           `json:"message_id,omitempty"`
		Attach      []follow.FileOut `json:"attach,omitempty"`
	} `json:"messages"`
}

type followCmd struct {
	clientFlags
	From         string   `help:"Sender. Required with an HTML file." placeholder:"ADDRESS"`
	To           []string `help:"Recipients, repeatable. Required with an HTML file; with --eml the mail's own by default." placeholder:"ADDRESS" sep:"none"`
	Subject      string   `help:"Subject." placeholder:"TEXT"`
	Text         string   `help:"File with the plain text alternative." type:"existingfile" placeholder:"FILE"`
	Template     string   `help:"Name of the template the mail was made from." placeholder:"NAME"`
	Follow       string   `help:"required: follow or fail. if_allowed: hand back plain mails when recipients do not allow it. no: do not follow." enum:"required,if_allowed,no" default:"required"`
	Pixel        string   `help:"Place of the pixel: top or bottom; by itself what suits the mail's length." enum:"top,bottom," default:""`
	Unsubscribe  []string `help:"List-Unsubscribe targets; links to them are never wrapped." placeholder:"URL" sep:"none"`
	Attach       []string `help:"File to attach and follow, repeatable: a link for those who allow it." type:"existingfile" placeholder:"FILE" sep:"none"`
	AttachDirect []string `help:"File to attach and not to follow, repeatable." type:"existingfile" placeholder:"FILE" sep:"none"`
	EML          string   `help:"A whole mail (RFC 5322) instead of an HTML file, or - for standard input." name:"eml" placeholder:"FILE"`
	MIME         bool     `help:"Make whole mails, ready to be sent. Always so with --eml." name:"mime"`
	Retry        int64    `help:"Number of a blocked email that was never sent: evaluate it anew." placeholder:"EMAIL"`
	Out          string   `help:"Folder for one file per recipient; without it the answer is printed: the mail itself when there is one, else JSON." type:"path" placeholder:"DIR"`
	HTML         string   `arg:"" optional:"" help:"HTML file, or - for standard input." type:"path" name:"html"`
}

// Help shows examples.
func (followCmd) Help() string {
	return `Examples:
  mailwake follow --from sales@acme.example --to jo@customer.example --subject Offer --out ./out offer.html
  mailwake follow --from a@acme.example --to 'Jo <jo@customer.example>' --to kim@customer.example - < mail.html
  mailwake follow --from a@acme.example --to jo@customer.example --subject Quote --attach quote.pdf --mime quote.html | sendmail -t
  mailwake follow --eml newsletter.eml --to jo@customer.example --to kim@customer.example --out ./out
  mailwake follow --eml - --follow if_allowed < mail.eml
  mailwake follow --retry 12 --eml mail.eml --out ./out

When recipients block an email it is kept under its number; --retry evaluates it anew after they, or the policy, have changed.`
}

// Validate implements kong's check of the command line.
func (f *followCmd) Validate() error {
	switch {
	case (f.EML == "") == (f.HTML == ""):
		return errors.New("say either an HTML file or --eml FILE")
	case f.EML != "" && (f.From != "" || f.Subject != "" || f.Text != "" || len(f.Unsubscribe) > 0):
		return errors.New("--from, --subject, --text and --unsubscribe are not for --eml: the mail's header says them")
	case f.EML == "" && (f.From == "" || len(f.To) == 0):
		return errors.New("an HTML file needs --from and --to")
	}
	return nil
}

// Run registers the mail and writes the instrumented copies.
func (f *followCmd) Run(ctx context.Context, e *env) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	req, raw, err := f.request()
	if err != nil {
		return err
	}
	if req.Attachments, err = f.upload(ctx, c); err != nil {
		return err
	}
	var resp followResponse
	if raw != nil {
		err = f.sendMail(ctx, c, &req, raw, &resp)
	} else {
		err = c.get(ctx, http.MethodPost, f.orgPath("/emails"), nil, req, &resp)
	}
	if err != nil {
		f.discard(context.WithoutCancel(ctx), c, req.Attachments)
		return f.explain(e, err)
	}
	return f.write(e, &resp)
}

// request reads the mail; raw is the whole one of --eml.
func (f *followCmd) request() (req followRequest, raw []byte, err error) {
	req = followRequest{From: f.From, Subject: f.Subject, Template: f.Template, Follow: f.Follow, Pixel: f.Pixel, Unsubscribe: f.Unsubscribe, Retry: f.Retry}
	for _, to := range f.To {
		a, err := mail.ParseAddress(to)
		if err != nil {
			return req, nil, fmt.Errorf("recipient %q: %w", to, err)
		}
		req.To = append(req.To, followRecipient{Address: a.Address, Name: a.Name})
	}
	if f.EML != "" {
		if raw, err = readInput(f.EML); err != nil {
			return req, nil, fmt.Errorf("read mail: %w", err)
		}
		return req, raw, nil
	}
	html, err := readInput(f.HTML)
	if err != nil {
		return req, nil, fmt.Errorf("read mail: %w", err)
	}
	req.HTML = string(html)
	if f.Text != "" {
		text, err := os.ReadFile(f.Text)
		if err != nil {
			return req, nil, fmt.Errorf("read text: %w", err)
		}
		req.Text = string(text)
	}
	if f.MIME {
		req.Output = "mime"
	}
	return req, nil, nil
}

// sendMail asks for a whole mail to be followed.
func (f *followCmd) sendMail(ctx context.Context, c *client, req *followRequest, raw []byte, resp *followResponse) error {
	q := url.Values{"follow": {req.Follow}}
	for name, value := range map[string]string{"template": req.Template, "pixel": req.Pixel} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for _, to := range req.To {
		q.Add("to", to.Address)
	}
	for _, a := range req.Attachments {
		q.Add("attachment", strconv.FormatInt(a.ID, 10))
	}
	if req.Retry != 0 {
		q.Set("retry", strconv.FormatInt(req.Retry, 10))
	}
	r, err := c.send(ctx, http.MethodPost, f.orgPath("/emails:mime"), q, "message/rfc822", bytes.NewReader(raw))
	if err != nil {
		return err
	}
	defer r.Close()
	if err := json.NewDecoder(r).Decode(resp); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}

// upload uploads the files to attach.
func (f *followCmd) upload(ctx context.Context, c *client) (refs []follow.FileRef, err error) {
	for i, path := range append(append([]string{}, f.Attach...), f.AttachDirect...) {
		a, err := f.uploadOne(ctx, c, path, i < len(f.Attach))
		if err != nil {
			f.discard(context.WithoutCancel(ctx), c, refs)
			return nil, fmt.Errorf("attach %s: %w", path, err)
		}
		refs = append(refs, follow.FileRef{ID: a.ID})
	}
	return refs, nil
}

func (f *followCmd) uploadOne(ctx context.Context, c *client, path string, followed bool) (a ingest.Attachment, err error) {
	file, err := os.Open(path)
	if err != nil {
		return a, err
	}
	defer file.Close()
	kind := mime.TypeByExtension(filepath.Ext(path))
	if kind == "" {
		kind = "application/octet-stream"
	}
	q := url.Values{"name": {filepath.Base(path)}, "follow": {strconv.FormatBool(followed)}}
	r, err := c.send(ctx, http.MethodPost, f.orgPath("/attachments"), q, kind, file)
	if err != nil {
		return a, err
	}
	defer r.Close()
	return a, json.NewDecoder(r).Decode(&a)
}

// discard removes files that no email took. What is left behind, the server
// removes after a month.
func (f *followCmd) discard(ctx context.Context, c *client, refs []follow.FileRef) {
	for _, ref := range refs {
		if r, err := c.call(ctx, http.MethodDelete, f.orgPath("/attachments/"+strconv.FormatInt(ref.ID, 10)), nil, nil); err == nil {
			r.Close()
		}
	}
}

// explain names the recipients who block an email.
func (f *followCmd) explain(e *env, err error) error {
	p, ok := errors.AsType[*problem.Error](err)
	if !ok || p.Code != "follow_blocked" {
		return err
	}
	var blocked problemBody
	if text, errText := json.Marshal(p.Members); errText == nil && json.Unmarshal(text, &blocked) == nil {
		for _, b := range blocked.Blockers {
			fmt.Fprintf(e.err, "blocked by %s: %v\n", b.Address, b.Reasons)
		}
	}
	return err
}

// write prints the answer, or writes one file per recipient.
func (f *followCmd) write(e *env, resp *followResponse) error {
	if f.Out == "" && len(resp.Messages) == 1 && resp.Messages[0].MIME != nil {
		_, err := e.out.Write(resp.Messages[0].MIME)
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
		content, kind := []byte(m.HTML), "html"
		if m.MIME != nil {
			content, kind = m.MIME, "eml"
		}
		name := filepath.Join(f.Out, fmt.Sprintf("email-%d-recipient-%d.%s", resp.EmailID, max(m.RecipientID, int64(i+1)), kind))
		if err := os.WriteFile(name, content, 0o600); err != nil {
			return err
		}
		for _, a := range m.Attach {
			fmt.Fprintf(e.err, "attach %s to the mail to %s yourself, or ask for --mime\n", a.Name, m.Address)
		}
	}
	for _, b := range resp.Blockers {
		fmt.Fprintf(e.err, "%s does not allow to be followed: %v\n", b.Address, b.Reasons)
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
