package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
	"mailwake/ingest/token"
)

const (
	// fileTime bounds a whole download: 25 MB at 128 kbit/s. Within it, writeTimeout
	// bounds the wait for the client to take the next piece.
	fileTime = 30 * time.Minute
	// maxRanges is how many ranges of a request are looked at; a viewer asks for a few.
	maxRanges = 16

	gonePage        = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>File not found</title><p>This file is not available any more.</p></html>\n"
	unavailablePage = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Try again</title><p>This file cannot be read now. Please try again in a minute.</p></html>\n"
)

// FileSource finds and opens the attachments of sent emails. A file that is no
// more is the problem attachment_not_found.
type FileSource interface {
	Find(ctx context.Context, org event.OrgID, email event.EmailID, ordinal int32) (registry.Attachment, error)
	Open(ctx context.Context, a registry.Attachment, off, n int64) (io.ReadCloser, error)
}

// file serves an attachment. What follows the token in the path is there for
// people; the name and the type that a browser gets are those of the upload.
func (p *Public) file(c *fasthttp.RequestCtx, text []byte) {
	if p.opts.Files == nil {
		notFound(c)
		return
	}
	p.counts.files.Add(1)
	if i := bytes.IndexByte(text, '/'); i >= 0 {
		text = text[:i]
	}
	r := requests.Get().(*request)
	defer requests.Put(r)
	if p.opts.Tokens.Open(token.KindAttachment, text, &r.claims) != nil {
		p.counts.invalid.Add(1)
		notFound(c)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), fileTime)
	a, err := p.opts.Files.Find(ctx, r.claims.Org, r.claims.Email, r.claims.Component)
	if err != nil {
		cancel()
		p.noFile(c, err)
		return
	}
	rng, ok := rangeOf(peek(&c.Request.Header, "Range"), peek(&c.Request.Header, "If-Range"), a.Size)
	if !ok {
		cancel()
		neverCached(c)
		c.SetStatusCode(fasthttp.StatusRequestedRangeNotSatisfiable)
		c.Response.Header.Set("Content-Range", "bytes */"+strconv.FormatInt(a.Size, 10))
		return
	}
	var content io.ReadCloser
	if !c.IsHead() {
		if content, err = p.opts.Files.Open(ctx, a, rng.first, rng.length); err != nil {
			cancel()
			p.noFile(c, err)
			return
		}
	}
	if rng.first == 0 { // the rest of a file that is being viewed is no other view
		p.fill(r, c, event.AttachmentView, event.Redirect)
		p.record(r)
	}
	describeFile(c, a, rng)
	if content == nil {
		cancel()
		c.Response.SkipBody = true
		c.Response.Header.SetContentLength(int(rng.length))
		return
	}
	c.SetBodyStream(&download{content: content, cancel: cancel, conn: c.Conn(), stopping: c.Done(), end: time.Now().Add(fileTime)}, int(rng.length))
}

// noFile answers for a file that cannot be had.
func (p *Public) noFile(c *fasthttp.RequestCtx, err error) {
	neverCached(c)
	c.Response.Header.SetContentType("text/html; charset=utf-8")
	if problem.Of(err).Code == "attachment_not_found" {
		c.SetStatusCode(fasthttp.StatusNotFound)
		c.SetBodyString(gonePage)
		return
	}
	p.opts.Logger.Error("an attachment is not served", "error", err)
	c.Response.Header.Set("Retry-After", "60")
	c.SetStatusCode(fasthttp.StatusServiceUnavailable)
	c.SetBodyString(unavailablePage)
}

// describeFile writes the header of an answer. The file is never shown inside
// this origin: browsers save it, do not guess its type, and run nothing in it.
func describeFile(c *fasthttp.RequestCtx, a registry.Attachment, rng fileRange) {
	neverCached(c)
	h := &c.Response.Header
	h.SetContentType(a.ContentType)
	h.Set("Content-Disposition", contentDisposition(a.Name))
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Accept-Ranges", "bytes")
	if rng.partial {
		c.SetStatusCode(fasthttp.StatusPartialContent)
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", rng.first, rng.first+rng.length-1, a.Size))
	}
}

// contentDisposition names a file as RFC 6266 has it: in ASCII for old programs,
// and in UTF-8 (RFC 8187) where that is not the same.
func contentDisposition(name string) string {
	var ascii, utf8 strings.Builder
	same := true
	for _, r := range name {
		if r < ' ' || r > '~' || strings.ContainsRune(`"\%`, r) {
			same = false
			ascii.WriteByte('_')
		} else {
			ascii.WriteRune(r)
		}
	}
	if same {
		return `attachment; filename="` + name + `"`
	}
	for i := range len(name) {
		if b := name[i]; 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte("!#$&+-.^_`|~", b) >= 0 {
			utf8.WriteByte(b)
		} else {
			fmt.Fprintf(&utf8, "%%%02X", b)
		}
	}
	return `attachment; filename="` + ascii.String() + `"; filename*=UTF-8''` + utf8.String()
}

// fileRange is what of a file is asked for.
type fileRange struct {
	first, length int64
	partial       bool
}

// rangeOf reads a Range header (RFC 9110, 14.2); false if nothing of it is in the
// file. What is no range of bytes is ignored, as is one under a condition: no
// validator is ever given out that could be met. Several ranges are served only
// if they are one, together; else the answer is the whole file.
func rangeOf(header, condition string, size int64) (fileRange, bool) {
	whole := fileRange{length: size}
	unit, list, ok := strings.Cut(header, "=")
	if !ok || condition != "" || !strings.EqualFold(strings.TrimSpace(unit), "bytes") {
		return whole, true
	}
	specs := strings.Split(list, ",")
	if len(specs) > maxRanges {
		return whole, true
	}
	var found []fileRange
	valid := 0
	for _, spec := range specs {
		if spec = strings.Trim(spec, " \t"); spec == "" {
			continue
		}
		r, ok := oneRange(spec, size)
		if !ok {
			return whole, true
		}
		valid++
		if r.length > 0 {
			found = append(found, r)
		}
	}
	switch {
	case valid == 0:
		return whole, true
	case len(found) == 0:
		return fileRange{}, false
	}
	one := found[0]
	for _, r := range found[1:] {
		if r.first > one.first+one.length || one.first > r.first+r.length {
			return whole, true
		}
		end := max(one.first+one.length, r.first+r.length)
		one.first = min(one.first, r.first)
		one.length = end - one.first
	}
	return one, true
}

// oneRange reads first-last, first- or -suffix. It is of length 0 beyond the end.
func oneRange(spec string, size int64) (r fileRange, ok bool) {
	from, to, ok := strings.Cut(spec, "-")
	if !ok {
		return r, false
	}
	first, okFirst := position(from, size)
	last, okLast := position(to, size)
	switch {
	case from == "" && okLast:
		n := min(last, size)
		return fileRange{size - n, n, true}, true
	case to == "" && okFirst:
		last = size - 1
	case !okFirst || !okLast || last < first:
		return r, false
	}
	if first >= size {
		return r, true
	}
	return fileRange{first, min(last, size-1) - first + 1, true}, true
}

// position reads a number of digits; numbers beyond size are as good as size.
func position(s string, size int64) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > size {
		return size, true
	}
	return n, true
}

// download is a body on its way to a slow client: each piece has its own time,
// and all of them together have theirs. A server that is shutting down gives the
// client one piece's time more.
type download struct {
	content  io.ReadCloser
	cancel   context.CancelFunc
	conn     net.Conn
	stopping <-chan struct{}
	end      time.Time
	stopped  bool
}

// Read implements io.Reader.
func (d *download) Read(p []byte) (int, error) {
	now := time.Now()
	if !d.stopped {
		select {
		case <-d.stopping:
			d.stopped = true
			d.end = now.Add(writeTimeout)
		default:
		}
	}
	deadline := now.Add(writeTimeout)
	if d.end.Before(deadline) {
		deadline = d.end
	}
	if now.After(d.end) {
		return 0, errors.New("public plane: download takes too long")
	}
	if err := d.conn.SetWriteDeadline(deadline); err != nil {
		return 0, fmt.Errorf("public plane: %w", err)
	}
	return d.content.Read(p)
}

// Close implements io.Closer.
func (d *download) Close() error {
	d.cancel()
	return d.content.Close()
}
