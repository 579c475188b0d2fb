package follow

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"mailwake/engine/problem"
	"mailwake/engine/registry"
	"mailwake/ingest/message"
	"mailwake/ingest/token"
)

// writer makes the copies of one request.
type writer struct {
	service *Service
	doc     *document
	req     *Request
	base    Base
	files   []registry.EmailAttachment
	encoded map[registry.AttachmentID]message.File // as copies hold them, once asked for
	size    int                                    // of all copies so far
	buf     []byte
}

// message makes the copy of one recipient, of whom allowed may be collected.
func (w *writer) message(ctx context.Context, c token.Claims, to Recipient, allowed registry.Purposes) (Message, error) {
	if err := ctx.Err(); err != nil {
		return Message{}, fmt.Errorf("follow: %w", err)
	}
	m := Message{RecipientID: int64(c.Recipient), Address: to.Address, Purposes: append([]string{}, allowed.Names()...)}
	if c.Recipient != 0 {
		m.Preferences = w.service.Tokens.PreferenceURL(w.base.text, c.Org, c.Recipient)
	}
	if allowed.Has(registry.PurposeReply) {
		m.MessageID = w.service.Tokens.MessageID(c, w.base.host())
	}
	links, rest := w.split(c, allowed)
	rendering := w.rendering(c, allowed, links)
	if w.doc.message == nil {
		m.HTML = w.doc.html
		if allowed != 0 {
			w.buf = w.doc.parts[0].template.Render(w.buf[:0], rendering)
			m.HTML = string(w.buf)
		}
		for _, a := range rest {
			m.Attach = append(m.Attach, FileOut{ID: int64(a.ID), Name: a.Name, ContentType: a.ContentType, Size: a.Size})
		}
		return m, w.count(len(m.HTML))
	}
	out := message.Copy{MessageID: m.MessageID}
	if w.req.MIME == nil { // composed here, without what differs
		out.Header = append(out.Header, strings.TrimRight(message.Header("To", message.Address(to.Name, to.Address)), "\r\n"))
		if out.MessageID == "" {
			out.MessageID = "<" + rand.Text() + "@" + w.base.host() + ">"
		}
	}
	if allowed != 0 {
		out.Bodies = w.bodies(rendering, c)
	}
	for _, a := range rest {
		f, err := w.file(ctx, a)
		if err != nil {
			return Message{}, err
		}
		out.Files = append(out.Files, f)
	}
	m.MIME = w.doc.message.AppendCopy(nil, out)
	return m, w.count(len(m.MIME))
}

// count holds all copies together to the limit that bound should have kept.
func (w *writer) count(size int) error {
	w.size += size
	if w.size > 2*MaxOutput {
		return fmt.Errorf("follow: copies of %d bytes are over their bound", w.size)
	}
	return nil
}

// split parts the attachments into those that the recipient gets as links and
// those that go with the mail itself.
func (w *writer) split(c token.Claims, allowed registry.Purposes) (links []FileLink, rest []registry.EmailAttachment) {
	for _, a := range w.files {
		if !a.Followed || !allowed.Has(registry.PurposeAttachment) {
			rest = append(rest, a)
			continue
		}
		c.Component = a.Ordinal
		links = append(links, FileLink{Name: a.Name, URL: w.base.file(w.service.Tokens, c, a.Name), Size: a.Size})
	}
	return links, rest
}

func (w *writer) rendering(c token.Claims, allowed registry.Purposes, files []FileLink) Copy {
	r := Copy{Files: files}
	if allowed.Has(registry.PurposeOpen) {
		r.Pixel = w.base.pixel(w.service.Tokens, c)
	}
	if allowed.Has(registry.PurposeClick) {
		r.Link = w.linker(c, 0)
	}
	return r
}

func (w *writer) linker(c token.Claims, first int32) func([]byte, int32, string) []byte {
	return func(dst []byte, ordinal int32, target string) []byte {
		c.Component, c.Target = first+ordinal, target
		return w.base.appendLink(dst, w.service.Tokens, c)
	}
}

// bodies makes the HTML parts of a mail.
func (w *writer) bodies(r Copy, c token.Claims) (all []message.Replaced) {
	for i := range w.doc.parts {
		p := &w.doc.parts[i]
		if i > 0 {
			r.Pixel, r.Files = "", nil
		}
		if r.Link != nil {
			r.Link = w.linker(c, p.first)
		}
		edits := p.template.editsFor(r.shape())
		body, ok := p.bodies[r.shape()]
		if !ok {
			var bounds []int
			for _, e := range edits {
				bounds = append(bounds, e.start, e.end)
			}
			body = p.text.At(bounds)
			p.bodies[r.shape()] = body
		}
		replaced := message.Replaced{Body: body}
		for _, e := range edits {
			replaced.With = append(replaced.With, p.template.replacement(nil, e, r))
		}
		if len(edits) > 0 {
			all = append(all, replaced)
		}
	}
	return all
}

// file returns an attachment as it stands in a copy.
func (w *writer) file(ctx context.Context, a registry.EmailAttachment) (message.File, error) {
	if f, ok := w.encoded[a.ID]; ok {
		return f, nil
	}
	content, err := w.read(ctx, a)
	if err != nil {
		return message.File{}, problem.New(503, "storage_unavailable", "An attachment cannot be read from the storage now; try again later.").Because(err)
	}
	f := w.doc.message.File(a.Name, a.ContentType, content)
	if w.encoded == nil {
		w.encoded = map[registry.AttachmentID]message.File{}
	}
	w.encoded[a.ID] = f
	return f, nil
}

func (w *writer) read(ctx context.Context, a registry.EmailAttachment) (content []byte, err error) {
	if w.service.Files == nil {
		return nil, errors.New("follow: no store for attachments")
	}
	r, err := w.service.Files.Get(ctx, a.Key, 0, -1)
	if err != nil {
		return nil, fmt.Errorf("follow: open attachment: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	content = make([]byte, a.Size)
	if _, err := io.ReadFull(r, content); err != nil {
		return nil, fmt.Errorf("follow: read attachment: %w", err)
	}
	return content, nil
}

// host is what the addresses in Message-IDs end in.
func (b Base) host() string {
	u, err := url.Parse(b.text)
	if err != nil {
		return "localhost" // ParseBase has let it through
	}
	if host := u.Hostname(); !strings.Contains(host, ":") {
		return host
	}
	return "[IPv6:" + u.Hostname() + "]"
}
