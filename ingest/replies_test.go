package ingest

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"mailwake/engine/problem"
	"mailwake/engine/registry"
	"mailwake/engine/wal"
	"mailwake/ingest/reply"
	"mailwake/ingest/token"
)

// replyAPI serves the replies' operation without keys; problems keep their status.
func replyAPI(t *testing.T) (*httptest.Server, *token.Ring, *journal, *registry.Registry) {
	t.Helper()
	ring, err := token.NewRing(noon)
	if err != nil {
		t.Fatal(err)
	}
	reg, engine, mux := newRegistry(t), new(journal), http.NewServeMux()
	huma.NewErrorWithContext = func(_ huma.Context, status int, msg string, errs ...error) huma.StatusError {
		if status == http.StatusInternalServerError && len(errs) == 1 {
			status = problem.Of(errs[0]).Status
		}
		return &huma.ErrorModel{Status: status, Detail: msg}
	}
	service := &reply.Service{Registry: reg, Engine: engine, Tokens: ring, Now: func() time.Time { return noon }, Refused: ReplyRefused}
	RegisterReplies(humago.New(mux, huma.DefaultConfig("test", "0")), reg, service)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server, ring, engine, reg
}

func post(t *testing.T, address, contentType string, body io.Reader) (int, map[string]any) {
	t.Helper()
	resp, err := http.Post(address, contentType, body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	delete(answer, "$schema")
	return resp.StatusCode, answer
}

func TestRepliesByHTTP(t *testing.T) {
	server, ring, engine, reg := replyAPI(t)
	at := server.URL + "/v1/orgs/acme/replies"
	parent := "In-Reply-To: " + ring.MessageID(token.Claims{Org: 1, Email: 1, Recipient: 1}, "t.example")
	for _, tc := range []struct {
		name, message, want string
	}{
		{"a reply", message("1", parent), `{"email_id":1,"matched_by":"in_reply_to","outcome":"recorded","recipient_id":1}`},
		{"again", message("1", parent), `{"matched_by":"in_reply_to","outcome":"duplicate"}`},
		{"a machine's", message("2", parent, "Auto-Submitted: auto-replied"), `{"email_id":1,"matched_by":"in_reply_to","outcome":"auto_reply","reason":"auto_submitted","recipient_id":1}`},
		{"nobody's", message("3"), `{"outcome":"not_attributed"}`},
		{"10 MB, nested", nested(strings.TrimPrefix(parent, "In-Reply-To: ")), `{"email_id":1,"matched_by":"in_reply_to","outcome":"recorded","recipient_id":1}`},
	} {
		status, answer := post(t, at, "message/rfc822", strings.NewReader(tc.message))
		if got, _ := json.Marshal(answer); status != 200 || string(got) != tc.want {
			t.Errorf("%s: %d %s, want %s", tc.name, status, got, tc.want)
		}
	}
	if rows := engine.taken(); len(rows) != 3 {
		t.Errorf("%d rows", len(rows))
	}
	if _, err := reg.ChangeOrg(t.Context(), 1, registry.OrgDisable, registry.BySystem()); err != nil {
		t.Fatal(err)
	}
	if status, answer := post(t, at, "message/rfc822", strings.NewReader(message("4", parent))); status != 200 || answer["outcome"] != "not_allowed" || len(answer) != 1 {
		t.Errorf("disabled: %d %v", status, answer)
	}
	if rows := engine.taken(); len(rows) != 0 {
		t.Errorf("disabled: %d rows", len(rows))
	}
}

func TestRepliesByHTTPThatFail(t *testing.T) {
	server, ring, engine, _ := replyAPI(t)
	at := server.URL + "/v1/orgs/acme/replies"
	reply1 := message("1", "In-Reply-To: "+ring.MessageID(token.Claims{Org: 1, Email: 1, Recipient: 1}, "t.example"))
	for name, tc := range map[string]struct {
		at, contentType string
		body            io.Reader
		err             error
		want            int
	}{
		"another type":  {at, "application/json", strings.NewReader(reply1), nil, 415},
		"a form":        {at, "application/x-www-form-urlencoded", strings.NewReader(reply1), nil, 415},
		"empty":         {at, "message/rfc822", strings.NewReader(""), nil, 422},
		"no message":    {at, "message/rfc822", strings.NewReader("hello"), nil, 422},
		"large header":  {at, "message/rfc822", strings.NewReader("X-A: " + strings.Repeat("x", 300<<10) + "\r\n\r\n"), nil, 413},
		"no such org":   {server.URL + "/v1/orgs/nobody/replies", "message/rfc822", strings.NewReader(reply1), nil, 404},
		"log full":      {at, "message/rfc822", strings.NewReader(reply1), wal.ErrFull, 503},
		"shutting down": {at, "message/rfc822", strings.NewReader(reply1), wal.ErrClosed, 503},
		"disk failing":  {at, "message/rfc822", strings.NewReader(reply1), errors.New("disk on fire"), 500},
	} {
		engine.fail(tc.err)
		if status, answer := post(t, tc.at, tc.contentType, tc.body); status != tc.want {
			t.Errorf("%s: %d %v, want %d", name, status, answer, tc.want)
		}
	}
	engine.fail(nil)
	if status, answer := post(t, at, "", strings.NewReader(reply1)); status != 200 || answer["outcome"] != "recorded" {
		t.Errorf("after all that: %d %v", status, answer)
	}
}
