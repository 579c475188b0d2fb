package ingest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
	"mailwake/ingest/token"
)

// shelf is a source of one file.
type shelf struct {
	file    registry.Attachment
	content []byte
	err     error // of Open
}

func (s *shelf) Find(_ context.Context, org event.OrgID, email event.EmailID, ordinal int32) (registry.Attachment, error) {
	if email != 7 || ordinal != 2 {
		return registry.Attachment{}, problem.New(404, "attachment_not_found", "x")
	}
	return s.file, nil
}

func (s *shelf) Open(_ context.Context, _ registry.Attachment, off, n int64) (io.ReadCloser, error) {
	if s.err != nil {
		return nil, s.err
	}
	return io.NopCloser(bytes.NewReader(s.content[off : off+n])), nil
}

func withFile(t *testing.T, name, contentType string, content []byte) (*world, *shelf) {
	s := &shelf{file: registry.Attachment{Name: name, ContentType: contentType, Size: int64(len(content))}, content: content}
	return open(t, func(o *PublicOptions) { o.Files = s }), s
}

func TestFile(t *testing.T) {
	content := []byte("%PDF-1.7 0123456789")
	w, _ := withFile(t, "Angebot für Jo.pdf", "application/pdf", content)
	text := w.token(token.KindAttachment, w.claims())
	for _, path := range []string{"/a/" + text + "/Angebot.pdf", "/a/" + text, "/a/" + text + "/", "/a/" + text + "/../../../etc/passwd", "/a/" + text + "/x%0d%0aSet-Cookie:%20a=b?q#f"} {
		resp, body := w.ask("GET", path)
		if resp.StatusCode != 200 || body != string(content) || resp.ContentLength != int64(len(content)) {
			t.Errorf("%s: %d, %q", path, resp.StatusCode, body)
		}
		for name, want := range map[string]string{
			"Content-Type": "application/pdf", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox",
			"Accept-Ranges": "bytes", "Referrer-Policy": "no-referrer", "Etag": "", "Last-Modified": "", "Set-Cookie": "",
			"Content-Disposition": `attachment; filename="Angebot f_r Jo.pdf"; filename*=UTF-8''Angebot%20f%C3%BCr%20Jo.pdf`,
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		if !strings.Contains(resp.Header.Get("Cache-Control"), "no-store") {
			t.Errorf("%s may be cached", path)
		}
		events := w.engine.taken()
		if len(events) != 1 || events[0].Kind != event.AttachmentView || events[0].Component != 2 || events[0].Email != 7 || events[0].Recipient != 9 {
			t.Errorf("%s: events %+v", path, events)
		}
	}
}

func TestFileNotRecorded(t *testing.T) {
	content := []byte("0123456789")
	w, s := withFile(t, "a.txt", "text/plain", content)
	mine := "/a/" + w.token(token.KindAttachment, w.claims()) + "/a.txt"
	refused := w.claims()
	refused.Org = 2 // consent says no: served all the same
	other := w.claims()
	other.Component = 3
	for name, test := range map[string]struct {
		method, path string
		headers      []string
		status       int
		body         string
	}{
		"refused":      {"GET", "/a/" + w.token(token.KindAttachment, refused), nil, 200, "0123456789"},
		"head":         {"HEAD", mine, nil, 200, ""},
		"prefetch":     {"GET", mine, []string{"Sec-Purpose: prefetch"}, 200, "0123456789"},
		"continued":    {"GET", mine, []string{"Range: bytes=4-"}, 206, "456789"},
		"suffix":       {"GET", mine, []string{"Range: bytes=-3"}, 206, "789"},
		"beyond":       {"GET", mine, []string{"Range: bytes=10-"}, 416, ""},
		"unknown file": {"GET", "/a/" + w.token(token.KindAttachment, other), nil, 404, gonePage},
		"pixel token":  {"GET", "/a/" + w.token(token.KindOpen, w.claims()), nil, 404, notFoundPage},
		"click token":  {"GET", "/a/" + w.token(token.KindClick, w.claims()), nil, 404, notFoundPage},
		"junk":         {"GET", "/a/../../etc/passwd", nil, 404, notFoundPage},
		"nothing":      {"GET", "/a/", nil, 404, notFoundPage},
		"post":         {"POST", mine, []string{"Content-Length: 0"}, 405, ""},
	} {
		resp, body := w.ask(test.method, test.path, test.headers...)
		if resp.StatusCode != test.status || body != test.body {
			t.Errorf("%s: %d, %q", name, resp.StatusCode, body)
		}
		if test.method == "HEAD" && (resp.Header.Get("Content-Length") != "10" || resp.Header.Get("Content-Type") != "text/plain") {
			t.Errorf("%s: %v", name, resp.Header)
		}
		if events := w.engine.taken(); len(events) != 0 {
			t.Errorf("%s: events %+v", name, events)
		}
	}
	s.err = errors.New("storage is down")
	if resp, body := w.ask("GET", mine); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || body != unavailablePage || len(w.engine.taken()) != 0 {
		t.Errorf("storage down: %d", resp.StatusCode)
	}
	s.err = problem.New(404, "attachment_not_found", "x")
	if resp, _ := w.ask("GET", mine); resp.StatusCode != 404 || len(w.engine.taken()) != 0 {
		t.Errorf("blob gone: %d", resp.StatusCode)
	}
}

// TestRanges compares with what the standard library's file server answers, where
// it answers one range.
func TestRanges(t *testing.T) {
	content := []byte("0123456789abcdefghij")
	w, _ := withFile(t, "a.txt", "text/plain", content)
	path := "/a/" + w.token(token.KindAttachment, w.claims())
	for _, header := range []string{
		"bytes=0-4", "bytes=5-5", "bytes=15-", "bytes=-5", "bytes=-100", "bytes=0-100", "bytes=19-19", "bytes=20-", "bytes=100-200", "bytes=0-",
		"bytes=5-4", "bytes=x-y", "bytes=", "bytes=1", "items=0-4", "bytes=-", "0-4", "bytes= 1-2 ",
		"bytes=0-4,5-9", "bytes=5-9,0-4", "bytes=0-9,3-4", "bytes=0-0,19-19", "bytes=0-1,100-", "bytes=100-,200-", "bytes=0-1,x",
		"bytes=" + strings.Repeat("0-0,", 5000) + "1-1",
	} {
		if len(header) > 4000 {
			header = header[:4000]
		}
		resp, body := w.ask("GET", path, "Range: "+header)
		want := standardRange(header, content)
		switch {
		case strings.Contains(header, ","): // one range that covers them, or the whole
			covers := resp.StatusCode == 206 && resp.Header.Get("Content-Range") != ""
			if resp.StatusCode != 200 && !covers && resp.StatusCode != 416 || resp.StatusCode == 416 && want.StatusCode != 416 || resp.StatusCode == 200 && body != string(content) {
				t.Errorf("%.40s: %d %q %q", header, resp.StatusCode, resp.Header.Get("Content-Range"), body)
			}
		case want.StatusCode == 416 && resp.StatusCode == 200 && body == string(content):
			// The standard library refuses what is no range; RFC 9110 has it ignored.
			if _, ok := rangeOf(header, "", 20); !ok {
				t.Errorf("%s: whole, not refused", header)
			}
		default:
			text, _ := io.ReadAll(want.Body)
			if resp.StatusCode != want.StatusCode || resp.StatusCode != 416 && body != string(text) || resp.Header.Get("Content-Range") != want.Header.Get("Content-Range") {
				t.Errorf("%s: %d %q %q, want %d %q %q", header, resp.StatusCode, resp.Header.Get("Content-Range"), body, want.StatusCode, want.Header.Get("Content-Range"), text)
			}
		}
	}
	for header, want := range map[string]string{"bytes=0-4,5-9": "bytes 0-9/20", "bytes=5-9,0-4": "bytes 0-9/20", "bytes=0-1,100-": "bytes 0-1/20", "bytes=0-0,19-19": "",
		// Here the standard library is not RFC 9110: an empty suffix is in no file,
		// units have no case, and numbers may be large.
		"bytes=-0": "bytes */20", "BYTES=0-4": "bytes 0-4/20", "bytes=99999999999999999999-": "bytes */20", "bytes=0-99999999999999999999": "bytes 0-19/20"} {
		if resp, _ := w.ask("GET", path, "Range: "+header); resp.Header.Get("Content-Range") != want {
			t.Errorf("%s: %q, want %q", header, resp.Header.Get("Content-Range"), want)
		}
	}
	if resp, body := w.ask("GET", path, "Range: bytes=5-", `If-Range: "x"`); resp.StatusCode != 200 || body != string(content) {
		t.Errorf("under a condition that cannot be met: %d", resp.StatusCode)
	}
	w.engine.taken()
	if w.ask("GET", path, "Range: bytes=0-4"); len(w.engine.taken()) != 1 {
		t.Error("a range from the first byte is a view")
	}
}

func standardRange(header string, content []byte) *http.Response {
	rec := &recorder{header: http.Header{}}
	req, _ := http.NewRequest("GET", "/", nil)
	req.Header.Set("Range", header)
	http.ServeContent(rec, req, "a.txt", noon, bytes.NewReader(content))
	if rec.status == 0 {
		rec.status = 200
	}
	return &http.Response{StatusCode: rec.status, Header: rec.header, Body: io.NopCloser(&rec.body)}
}

type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

func TestContentDisposition(t *testing.T) {
	for _, name := range []string{"a.pdf", "two words.pdf", "quote\".pdf", `back\slash.pdf`, "per%41cent.pdf", "größe.pdf", "日本語.pdf", "a;b=c.pdf", "'.pdf", strings.Repeat("ü", 127)} {
		header := contentDisposition(name)
		if strings.ContainsFunc(header, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q: %q", name, header)
		}
		kind, params, err := mime.ParseMediaType(header)
		if err != nil || kind != "attachment" || params["filename"] != name {
			t.Errorf("%q: %q says %q, %v", name, header, params["filename"], err)
		}
	}
}

// deadlines is a connection that remembers how long writes may take.
type deadlines struct {
	net.Conn
	last time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.last = t
	return nil
}

func TestDownloadTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, stopping, closed := new(deadlines), make(chan struct{}), false
		d := &download{content: io.NopCloser(strings.NewReader(strings.Repeat("x", 1000))), cancel: func() { closed = true }, conn: conn, stopping: stopping, end: time.Now().Add(fileTime)}
		read := func() error {
			_, err := d.Read(make([]byte, 1))
			return err
		}
		for range 100 { // each piece has its time anew
			if err := read(); err != nil || conn.last != time.Now().Add(writeTimeout) {
				t.Fatalf("deadline %v at %v, %v", conn.last, time.Now(), err)
			}
			<-time.After(writeTimeout - time.Second)
		}
		close(stopping)
		if err := read(); err != nil || conn.last != time.Now().Add(writeTimeout) {
			t.Errorf("shutting down: %v", err)
		}
		end := conn.last
		<-time.After(writeTimeout / 2)
		if err := read(); err != nil || conn.last != end {
			t.Errorf("shutting down gives more time: %v, %v", conn.last, err)
		}
		<-time.After(writeTimeout)
		if err := read(); err == nil {
			t.Error("a download goes on after its end")
		}
		if err := d.Close(); err != nil || !closed {
			t.Errorf("%v, context ended %v", err, closed)
		}
	})
}
