package bench

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func TestClientCounts(t *testing.T) {
	for body, want := range map[string]string{
		`[{"n":123}]`:              "",
		`[{"n":"123"}]`:            "",
		`[{"n":9007199254740993}]`: "9007199254740993",
		`[]`:                       "0 rows",
		`[{"n":1},{"n":2}]`:        "2 rows",
		`[{"m":1}]`:                "no number",
		`[{"n":1.5}]`:              "1.5",
		`{"n":1}`:                  "read rows",
		`<html>`:                   "read rows",
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
		c := newClient(s.URL, "key")
		n := &node{api: c, Process: &Process{}}
		err := n.verify(t.Context(), "now", 123)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
		if mismatch := errors.As(err, new(*CountError)); mismatch != strings.HasPrefix(want, "9") {
			t.Errorf("%s: a CountError: %v", body, mismatch)
		}
		c.close()
		s.Close()
	}
}

func TestClientErrors(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer key":
			http.Error(w, "who are you?", http.StatusUnauthorized)
		case strings.HasSuffix(r.URL.Path, "/emails"):
			_, _ = w.Write([]byte(`{"email_id":1,"follow_state":"on","messages":[{"recipient_id":1,"html":"<p>no pixel</p>"}]}`))
		default:
			http.Error(w, `{"code":"sql_invalid"}`, http.StatusUnprocessableEntity)
		}
	}))
	defer s.Close()
	c := newClient(s.URL, "key")
	if _, err := c.count(t.Context(), 7); err == nil || !strings.Contains(err.Error(), `422 Unprocessable Entity: {"code":"sql_invalid"}`) {
		t.Errorf("count: %v", err)
	}
	if _, err := c.follow(t.Context(), "r", 1); err == nil || !strings.Contains(err.Error(), "no pixel in the HTML") {
		t.Errorf("follow without a pixel: %v", err)
	}
	if _, err := c.follow(t.Context(), "r", 2); err == nil || !strings.Contains(err.Error(), "1 messages for 2 recipients") {
		t.Errorf("follow with a message too few: %v", err)
	}
	if err := newClient(s.URL, "other").createOrg(t.Context()); err == nil || !strings.Contains(err.Error(), "who are you?") {
		t.Errorf("wrong key: %v", err)
	}
}

func TestFollowInBatches(t *testing.T) {
	f := newFake("")
	s := httptest.NewServer(f.private())
	defer s.Close()
	pixels, err := newClient(s.URL, "secret").follow(t.Context(), "r", followBatch+2)
	if err != nil {
		t.Fatal(err)
	}
	last := pixels[len(pixels)-1]
	if len(pixels) != followBatch+2 || f.Emails != 2 || last.email != 2 || last.recipient != followBatch+2 || last.path != "/o/R1002-abc.gif" {
		t.Errorf("%d pixels of %d emails, the last %+v", len(pixels), f.Emails, last)
	}
	distinct := slices.Compact(slices.Sorted(slices.Values(f.Recipients)))
	if len(distinct) != followBatch+2 {
		t.Errorf("%d distinct addresses", len(distinct))
	}
}

func TestParseMetrics(t *testing.T) {
	const text = "# HELP a help\na_total 5\na{x=\"}\"} 1.5 1700000000\na{x=\"2\"} 1e3\nb 7\n"
	got, err := parseMetrics(text, "a", "b")
	if err != nil || !slices.Equal(got, []float64{1001.5, 7}) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := parseMetrics(text, "a", "c"); err == nil || !strings.Contains(err.Error(), "no c") {
		t.Errorf("a missing metric: %v", err)
	}
	if _, err := parseMetrics("a x\n", "a"); err == nil {
		t.Error("a value that is no number was accepted")
	}
}

func TestLookalikes(t *testing.T) {
	paths := []string{"/o/AbCdEf_-123.gif", "/o/" + strings.Repeat("x", 60) + ".gif"}
	fakes := lookalikes(paths)
	a, b := requests(paths), requests(fakes)
	for i := range paths {
		if !pixelPath.MatchString(fakes[i]) || fakes[i] == paths[i] || len(a[i]) != len(b[i]) {
			t.Errorf("%s for %s", fakes[i], paths[i])
		}
	}
}
