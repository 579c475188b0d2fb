package ingest

import (
	"bytes"
	"fmt"

	"mailwake/engine/classify"
	"mailwake/engine/event"
	"mailwake/ingest/token"
)

// The answers to plain requests are those that fasthttp writes, to the byte.
var (
	imageAnswer    = answerOf("200 OK", "image/gif", gif)
	notFoundAnswer = answerOf("404 Not Found", "text/html; charset=utf-8", []byte(notFoundPage))
	foundStart     = bytes.TrimSuffix(answerOf("302 Found", "", nil), []byte("\r\n"))
)

func answerOf(status, contentType string, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %s\r\n", status)
	if contentType != "" {
		fmt.Fprintf(&b, "Content-Type: %s\r\n", contentType)
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	for _, h := range private {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

// plainly answers pixels and links on c without ever waiting, and reports whether q
// asks for one. r is working memory.
func (p *Public) plainly(c *conn, q *plain, r *request) bool {
	route, text := routeOf(q.path)
	if route == nil {
		return false
	}
	switch route.kind {
	case token.KindOpen:
		p.counts.pixels.Add(1)
		if p.opts.Tokens.Open(token.KindOpen, text, &r.claims) != nil {
			p.counts.invalid.Add(1)
			c.say(imageAnswer)
			return true
		}
		r.kind, r.source = event.Open, event.Pixel
		r.answer = append(r.answer[:0], imageAnswer...)
	case token.KindClick:
		p.counts.clicks.Add(1)
		if p.opts.Tokens.Open(token.KindClick, text, &r.claims) != nil {
			p.counts.invalid.Add(1)
			c.say(notFoundAnswer)
			return true
		}
		r.kind, r.source = event.Click, event.Redirect
		r.answer = append(append(append(r.answer[:0], foundStart...), "Location: "...), location(r.claims.Target)...)
		r.answer = append(r.answer, "\r\n\r\n"...)
	default:
		return false
	}
	r.userAgent = q.values[plainUserAgent]
	r.remote = p.remote(c.peer, stringOf(q.values[plainForwarded]))
	r.prefetched = classify.Prefetched(q.values[plainPurpose], q.values[plainSecPurpose], q.values[plainXMoz])
	if !p.judge(r) {
		c.say(r.answer)
		return true
	}
	if !c.hold(r.answer) {
		return true // not recorded either: the client has no answer and may ask again
	}
	if err := p.opts.Engine.Post(r.events[:], c); err != nil {
		c.Done(err)
	}
	return true
}
