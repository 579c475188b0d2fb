package ingest

import (
	"context"
	"strconv"

	"github.com/valyala/fasthttp"

	"mailwake/engine/problem"
	"mailwake/ingest/token"
)

// pageHeaders go with every answer below /p/, beside those of neverCached.
var pageHeaders = [][2]string{
	{"Content-Security-Policy", pagePolicy},
	{"X-Frame-Options", "DENY"},
	{"X-Robots-Tag", "noindex, nofollow"},
	{"Cross-Origin-Opener-Policy", "same-origin"},
}

// preference answers GET, HEAD and POST for a preference page.
func (p *Public) preference(c *fasthttp.RequestCtx, text []byte) {
	p.counts.preferences.Add(1)
	neverCached(c)
	for _, h := range pageHeaders {
		c.Response.Header.Set(h[0], h[1])
	}
	c.Response.Header.SetContentType("text/html; charset=utf-8")
	accept := string(c.Request.Header.Peek("Accept-Language"))
	t := textFor(accept, "")
	c.Response.Header.Set("Content-Language", t.Locale)
	var claims token.Claims
	if p.pages == nil || p.opts.Tokens.Open(token.KindPreference, text, &claims) != nil {
		p.counts.invalid.Add(1)
		tell(c, fasthttp.StatusNotFound, t, t.NotFound)
		return
	}
	leave := p.pages.enter()
	if leave == nil {
		tell(c, fasthttp.StatusServiceUnavailable, t, t.Busy)
		return
	}
	defer leave()
	key := pageKey{claims.Org, claims.Recipient}
	if c.IsPost() {
		p.savePreference(c, key, t)
		return
	}
	p.showPreference(c, key, fasthttp.StatusOK, func(pg *page) {
		if c.QueryArgs().Has("saved") {
			pg.Notice = pg.Text.Saved
		}
	})
}

// showPreference answers with the page.
func (p *Public) showPreference(c *fasthttp.RequestCtx, key pageKey, status int, change func(*page)) {
	pg, err := p.pages.show(context.Background(), key, string(c.Request.Header.Peek("Accept-Language")))
	if err != nil {
		p.preferenceFailed(c, err)
		return
	}
	change(pg)
	c.SetStatusCode(status)
	c.SetBody(pg.render())
}

// savePreference takes a posted form. After a form that was saved the browser
// gets the page anew, so that a reload posts nothing.
func (p *Public) savePreference(c *fasthttp.RequestCtx, key pageKey, t pageText) {
	switch string(c.Request.Header.Peek("Sec-Fetch-Site")) {
	case "", "same-origin", "none":
	default:
		tell(c, fasthttp.StatusForbidden, t, t.Stale)
		return
	}
	f := posted(c)
	result, err := p.pages.save(context.Background(), key, f)
	switch {
	case err != nil:
		p.preferenceFailed(c, err)
	case result == savedTooOften:
		c.Response.Header.Set("Retry-After", strconv.Itoa(int(changeSpan.Seconds())))
		tell(c, fasthttp.StatusTooManyRequests, t, t.Busy)
	case result == savedStale:
		p.showPreference(c, key, fasthttp.StatusConflict, func(pg *page) { pg.Notice = pg.Text.Stale })
	case result == savedNothing:
		p.showPreference(c, key, fasthttp.StatusUnprocessableEntity, func(pg *page) { pg.Notice = pg.Text.Incomplete })
	case f.oneClick():
		tell(c, fasthttp.StatusOK, t, t.Saved)
	default:
		c.Response.Header.Set("Location", "?saved=1") // relative: a proxy may have a prefix of its own
		c.SetStatusCode(fasthttp.StatusSeeOther)
	}
}

// posted returns the form's values, however it is encoded: RFC 8058 allows both ways.
func posted(c *fasthttp.RequestCtx) form {
	if multi, err := c.MultipartForm(); err == nil {
		return func(name string) string {
			if values := multi.Value[name]; len(values) > 0 {
				return values[0]
			}
			return ""
		}
	}
	args := c.PostArgs()
	return func(name string) string { return string(args.Peek(name)) }
}

// preferenceFailed answers for an organisation or recipient that is gone as for a
// bad token, and otherwise asks for patience.
func (p *Public) preferenceFailed(c *fasthttp.RequestCtx, err error) {
	t := textFor(string(c.Request.Header.Peek("Accept-Language")), "")
	if problem.Of(err).Status == fasthttp.StatusNotFound {
		tell(c, fasthttp.StatusNotFound, t, t.NotFound)
		return
	}
	p.opts.Logger.Error("a preference page could not be answered", "error", err)
	c.Response.Header.Set("Retry-After", "60")
	tell(c, fasthttp.StatusServiceUnavailable, t, t.Busy)
}

// tell answers with a page of one sentence.
func tell(c *fasthttp.RequestCtx, status int, t pageText, sentence string) {
	c.SetStatusCode(status)
	c.SetBody(notice(t, sentence))
}
