package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"html"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// offer is the mail of the walk.
const offer = `<html><body><p>Hello, have a look at <a href="https://shop.example/offer?id=7&amp;lang=en">our offer</a>.</p></body></html>
`

// walk runs the commands of a page.
type walk struct {
	*process
	dir string // where the commands run
}

// TestWalk runs every command of testdata/walk.md against a real server, and holds
// what they print against the page.
func TestWalk(t *testing.T) {
	t.Parallel()
	const page = "testdata/walk.md"
	want, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	w := &walk{process: serve(t, t.TempDir(), nil), dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(w.dir, "offer.html"), []byte(offer), 0o600); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	in := false // within a block of commands and their output
	for line := range strings.Lines(string(want)) {
		switch fence := strings.HasPrefix(line, "```"); {
		case fence:
			in = !in
			got.WriteString(line)
		case in && strings.HasPrefix(line, "$ "):
			got.WriteString(line)
			got.WriteString(w.settled(w.run(strings.TrimSpace(line[2:]))))
		case !in:
			got.WriteString(line)
		}
	}
	if *update {
		if err := os.WriteFile(page, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got.String() != string(want) {
		t.Errorf("the page is not what happens (-update rewrites it): %s", firstDifference(got.String(), string(want)))
	}
}

func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range a {
		if i >= len(b) || a[i] != b[i] {
			return fmt.Sprintf("line %d\n got %q\nwant %q", i+1, a[i], append(b, "")[min(i, len(b))])
		}
	}
	return fmt.Sprintf("it ends at line %d", len(a))
}

// run carries out one command and returns what a terminal would show.
func (w *walk) run(line string) string {
	w.t.Helper()
	name, rest, _ := strings.Cut(line, " ")
	switch name {
	case "mailwake":
		return w.mailwake(words(rest))
	case "cat":
		return w.file(rest)
	case "http":
		part := strings.SplitN(rest, " ", 3)
		return w.http(part[0], part[1], strings.Join(part[2:], ""))
	case "open":
		pixel := trackedIn(w.file(rest), w.at.Public).pixel
		if pixel == "" {
			return "no pixel\n"
		}
		resp, _ := w.must(http.MethodGet, pixel, outlook)
		return fmt.Sprintf("%d %s\n", resp.StatusCode, resp.Header.Get("Content-Type"))
	case "click":
		href := regexp.MustCompile(`href="([^"]+)"`).FindStringSubmatch(w.file(rest))
		if href == nil {
			return "no link\n"
		}
		target := html.UnescapeString(href[1])
		if !strings.HasPrefix(target, w.at.Public) {
			return "direct " + target + "\n"
		}
		resp, _ := w.must(http.MethodGet, target, outlook)
		return fmt.Sprintf("%d %s\n", resp.StatusCode, resp.Header.Get("Location"))
	}
	w.t.Fatalf("no command %s", name)
	return ""
}

func (w *walk) file(name string) string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

func (w *walk) mailwake(args []string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	cmd := binary(ctx, []string{"MAILWAKE_DATA=" + w.process.dir, "MAILWAKE_ORG=acme"}, args...)
	cmd.Dir = w.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		out = append(out, fmt.Sprintf("(%v)\n", err)...)
	}
	return string(out)
}

func (w *walk) http(method, path, body string) string {
	w.t.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, w.at.Private+path, content)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := noRedirect.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, text, "", "  "); err != nil {
		return fmt.Sprintf("%d\n%s\n", resp.StatusCode, text)
	}
	return fmt.Sprintf("%d\n%s\n", resp.StatusCode, strings.TrimSpace(pretty.String()))
}

// words splits a command at spaces outside of quotes.
func words(line string) (out []string) {
	for _, m := range regexp.MustCompile(`'([^']*)'|"([^"]*)"|(\S+)`).FindAllStringSubmatch(line, -1) {
		out = append(out, m[1]+m[2]+m[3])
	}
	return out
}

var (
	aTime   = regexp.MustCompile(`\d{4}-\d\d-\d\d(?:([T ])(\d\d:\d\d)(:\d\d(?:\.\d+)?)?(Z?))?`)
	aToken  = regexp.MustCompile(`/([ocap])/[A-Za-z0-9_-]{20,}`)
	aHash   = regexp.MustCompile(`[0-9a-f]{64}`)
	address = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)
)

// settled replaces what differs from run to run by something fixed of the same
// width: the day of the walk becomes 2026-01-02, that of the purge 2026-04-02.
func (w *walk) settled(text string) string {
	text = aTime.ReplaceAllStringFunc(text, func(at string) string {
		m := aTime.FindStringSubmatch(at)
		day, err := time.Parse(time.DateOnly, at[:10])
		switch {
		case err != nil:
			return at
		case time.Until(day) > 80*24*time.Hour:
			return "2026-04-02" + at[10:]
		case m[1] == "":
			return "2026-01-02"
		case m[3] == "":
			return "2026-01-02" + m[1] + "03:04" + m[4]
		}
		return "2026-01-02" + m[1] + "03:04:05" + m[4]
	})
	text = strings.ReplaceAll(text, w.dir+"/", "")
	text = aToken.ReplaceAllString(text, "/$1/TOKEN")
	text = aHash.ReplaceAllString(text, strings.Repeat("5a", 32))
	return address.ReplaceAllString(text, "http://127.0.0.1:8025")
}
