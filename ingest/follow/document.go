package follow

import (
	"context"
	"fmt"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
	"mailwake/ingest/message"
)

// document is the mail of one request and the places where copies differ.
type document struct {
	message *message.Message // nil: the answer is HTML
	html    string           // without a message
	parts   []htmlPart
	why     string // why there is nothing to follow; "" if there is
	files   []registry.Attachment
}

// htmlPart is one part that mail clients show as HTML. A mail has more than one
// when files stand between its texts.
type htmlPart struct {
	template *Template
	first    int32         // ordinals of its links come after this one
	text     *message.Text // nil: the answer is HTML
	bodies   map[shape]*message.Body
}

// document reads the mail of req. From, Subject, To and ListUnsubscribe of a
// whole message are taken into req.
func (s *Service) document(ctx context.Context, org event.OrgID, req *Request, opts Options) (*document, error) {
	d := &document{html: req.HTML}
	if err := d.readMail(req, &opts, s.now()); err != nil {
		return nil, err
	}
	if err := checkRecipients(req.To); err != nil {
		return nil, err
	}
	for i, ref := range req.Attachments {
		a, err := s.Registry.Attachment(ctx, org, registry.AttachmentID(ref.ID))
		if problem.Of(err).Code == "attachment_not_found" {
			return nil, problem.New(422, "attachment_unknown", "Attachment %d (counted from 0) does not exist; upload it first.", i)
		} else if err != nil {
			return nil, fmt.Errorf("follow: %w", err)
		}
		d.files = append(d.files, a)
	}
	if d.why != "" || req.Follow == "no" {
		return d, fits(d.bound(opts.Base), len(req.To))
	}
	if err := d.parse(req, opts); err != nil {
		return nil, err
	}
	return d, fits(d.bound(opts.Base), len(req.To))
}

// readMail finds or makes the message, and why there may be nothing to follow.
func (d *document) readMail(req *Request, opts *Options, now time.Time) (err error) {
	switch {
	case req.MIME != nil:
		if d.message, err = message.Parse(req.MIME); err != nil {
			return err
		}
		if err := takeHeader(req, d.message); err != nil {
			return err
		}
		opts.Unsubscribe = req.ListUnsubscribe
	case req.Output == "mime":
		d.message, err = message.Compose(message.Draft{
			From: req.From, Subject: req.Subject, Date: now, ListUnsubscribe: req.ListUnsubscribe, Text: req.Text, HTML: req.HTML,
		})
		if err != nil {
			return err
		}
	case req.HTML == "":
		d.why = ReasonNoHTML
	}
	if d.message == nil {
		return nil
	}
	parts, sealed := d.message.HTML()
	for _, p := range parts {
		if text, ok := d.message.Text(p); ok && text.UTF8 != "" {
			d.parts = append(d.parts, htmlPart{text: text, bodies: map[shape]*message.Body{}})
		}
	}
	switch {
	case len(d.parts) > 0:
	case sealed:
		d.why = ReasonSealed
	default:
		d.why = ReasonNoHTML
	}
	return nil
}

// takeHeader takes from the message what a request of parts says itself.
func takeHeader(req *Request, m *message.Message) error {
	req.From, req.Subject, req.ListUnsubscribe = m.Field("From"), m.Field("Subject"), m.Fields("List-Unsubscribe")
	if len(req.To) > 0 {
		return nil
	}
	all, ok := m.Addresses()
	if !ok {
		return problem.New(422, "recipients_invalid", "A field To, Cc or Bcc of the message is not a list of addresses; name the recipients in the request.")
	}
	for _, a := range all {
		req.To = append(req.To, Recipient{Address: a.Address, Name: a.Name})
	}
	if len(all) == 0 {
		return problem.New(422, "recipients_missing", "The message's header has no recipient; name them in the request.")
	}
	return nil
}

// parse finds what has to change. The pixel and the files are in the first part.
func (d *document) parse(req *Request, opts Options) error {
	if d.message == nil {
		d.parts = []htmlPart{{}}
	}
	links := 0
	for i := range d.parts {
		p := &d.parts[i]
		text, o := req.HTML, opts
		if p.text != nil {
			text, o.ASCII = p.text.UTF8, p.text.Opaque
		}
		var err error
		if p.template, err = Parse(text, o); err != nil {
			return err
		}
		p.first = int32(links)
		if links += len(p.template.Targets()); links > MaxLinks {
			return problem.New(422, "too_many_links", "The HTML has more than %d links to follow.", MaxLinks)
		}
	}
	return nil
}

func (d *document) targets() (all []string) {
	for _, p := range d.parts {
		if p.template != nil {
			all = append(all, p.template.Targets()...)
		}
	}
	return all
}

func (d *document) untracked() []Untracked {
	all := []Untracked{}
	for _, p := range d.parts {
		if p.template != nil {
			all = append(all, p.template.Untracked()...)
		}
	}
	return all[:min(len(all), MaxLinks)]
}

// bound returns how long one copy is at most, in bytes.
func (d *document) bound(base Base) int {
	size := len(d.html)
	for _, p := range d.parts {
		if p.template == nil {
			continue
		}
		size += p.template.SizeBound(base)
		if p.text != nil {
			size += 2 * p.template.SizeBound(base) // as quoted-printable, at three for one
		}
	}
	for _, f := range d.files {
		size += base.fileBound(f.Name) + len(filesHead) + len(filesTail)
		if d.message != nil {
			size += int(f.Size)*78/57 + 2*message.Overhead // base64 with line ends
		}
	}
	if d.message != nil {
		size += d.message.Size() + message.Overhead
	}
	return size
}
