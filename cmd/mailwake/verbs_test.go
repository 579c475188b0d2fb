package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestVerbMux(t *testing.T) {
	mux := newVerbMux(http.NewServeMux())
	for _, pattern := range []string{"GET /v1/orgs/{org}", "POST /v1/orgs/{org}:enable", "POST /v1/orgs/{org}:disable", "POST /v1/orgs/{org}/emails/{email}:send"} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, pattern, " ", r.PathValue("org"), " ", r.PathValue("email"))
		})
	}
	for _, c := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/v1/orgs/acme", 200, "GET /v1/orgs/{org} acme "},
		{"POST", "/v1/orgs/acme:enable", 200, "POST /v1/orgs/{org}:enable acme "},
		{"POST", "/v1/orgs/acme%3Adisable", 200, "POST /v1/orgs/{org}:disable acme "},
		{"POST", "/v1/orgs/a/emails/7:send", 200, "POST /v1/orgs/{org}/emails/{email}:send a 7"},
		{"POST", "/v1/orgs/:enable", 200, "POST /v1/orgs/{org}:enable  "},
		{"POST", "/v1/orgs/acme", 404, ""},
		{"POST", "/v1/orgs/acme:enabled", 404, ""},
		{"POST", "/v1/orgs/acme:enable:enable", 404, ""},
		{"POST", "/v1/orgs/acme:enable/", 404, ""},
		{"GET", "/v1/orgs/acme:enable", 200, "GET /v1/orgs/{org} acme:enable "}, // no name of an organisation
		{"DELETE", "/v1/orgs/acme:enable", 405, ""},
	} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		if w.Code != c.status || c.status == 200 && w.Body.String() != c.body {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.path, w.Code, w.Body, c.status, c.body)
		}
	}
}
