package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
)

// document is the API's document as the code has it, without a server.
var document = sync.OnceValue(func() *huma.OpenAPI {
	api := newAPI(http.NewServeMux(), nil, slog.New(slog.DiscardHandler))
	register(api, &stack{node: &node{}}, addresses{})
	return api.OpenAPI()
})

// route is one operation with the addresses it answers at.
type route struct {
	*huma.Operation
	at *regexp.Regexp
}

// routes are all operations, those with fewer parameters first.
var routes = sync.OnceValue(func() (all []route) {
	parameter := regexp.MustCompile(`\\\{[a-z_]+\\\}`)
	for path, item := range document().Paths {
		at := regexp.MustCompile("^" + parameter.ReplaceAllString(regexp.QuoteMeta(path), "[^/:]+") + "$")
		for _, op := range []*huma.Operation{item.Get, item.Put, item.Post, item.Delete, item.Patch} {
			if op != nil {
				all = append(all, route{op, at})
			}
		}
	}
	slices.SortFunc(all, func(a, b route) int {
		return strings.Compare(fmt.Sprint(strings.Count(a.Path, "{"), a.Path, a.Method), fmt.Sprint(strings.Count(b.Path, "{"), b.Path, b.Method))
	})
	return all
})

func routeOf(method, escapedPath string) (route, bool) {
	for _, r := range routes() {
		if r.Method == method && r.at.MatchString(escapedPath) {
			return r, true
		}
	}
	return route{}, false
}

// undocumented says what in an answer is not as the document has it, "" when all is.
func undocumented(r route, status int, header http.Header, body []byte) string {
	response := r.Responses[strconv.Itoa(status)]
	if response == nil {
		var p problemBody
		_ = json.Unmarshal(body, &p)
		return fmt.Sprintf("%s answers %d %s, which it does not document", r.OperationID, status, p.Code)
	}
	if status == http.StatusNoContent || status == http.StatusNotModified {
		return ""
	}
	media, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	content := response.Content[media]
	if err != nil || content == nil {
		return fmt.Sprintf("%s answers %d as %q, which it does not document", r.OperationID, status, header.Get("Content-Type"))
	}
	if status < 400 {
		return ""
	}
	var p problemBody
	if err := json.Unmarshal(body, &p); err != nil || p.Status != status || p.Detail == "" || p.Type != "about:blank" || p.Title != http.StatusText(status) {
		return fmt.Sprintf("%s answers %d with what is no problem: %.200s", r.OperationID, status, body)
	}
	if documented := content.Schema.AllOf[1].Properties["code"].Enum; !slices.Contains(documented, any(p.Code)) {
		return fmt.Sprintf("%s answers %d %s, which it does not document", r.OperationID, status, p.Code)
	}
	return ""
}

// checked holds every answer of the private plane that a test of this package gets
// against the document.
type checked struct {
	http.RoundTripper
	found *findings
}

type findings struct {
	mu struct {
		sync.Mutex
		faults map[string]int
	}
}

var conformity = &checked{http.DefaultTransport, new(findings)}

func (f *findings) add(fault string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.faults == nil {
		f.mu.faults = map[string]int{}
	}
	f.mu.faults[fault]++
}

func (c *checked) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.RoundTripper.RoundTrip(req)
	if err != nil || !strings.HasPrefix(req.URL.Path, "/v1/") {
		return resp, err
	}
	var body []byte
	if resp.StatusCode >= 400 {
		body, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return nil, err
		}
		resp.Body = io.NopCloser(bytes.NewReader(body))
	}
	r, ok := routeOf(req.Method, req.URL.EscapedPath())
	fault := ""
	switch {
	case ok:
		fault = undocumented(r, resp.StatusCode, resp.Header, body)
	case resp.StatusCode < 400:
		fault = fmt.Sprintf("%s %s is answered and not in the document", req.Method, req.URL.Path)
	case resp.Header.Get("Content-Type") != problemType:
		fault = fmt.Sprintf("%s %s is answered %d without a problem", req.Method, req.URL.Path, resp.StatusCode)
	}
	if fault != "" {
		c.found.add(fault)
	}
	return resp, nil
}

// report prints what was found and returns the exit status of the test run.
func (c *checked) report(w io.Writer, status int) int {
	c.found.mu.Lock()
	defer c.found.mu.Unlock()
	for fault, n := range c.found.mu.faults {
		fmt.Fprintf(w, "OPENAPI: %s (%d times)\n", fault, n)
		status = max(status, 1)
	}
	return status
}
