package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mailwake/query"
)

// asBinary makes the test program behave as the mailwake binary, so that tests
// can start, kill and restart the real thing.
const asBinary = "MAILWAKE_TEST_AS_BINARY"

func TestMain(m *testing.M) {
	if work := workerOf(os.Args); work != nil {
		os.Exit(work())
	}
	if os.Getenv(asBinary) == "1" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	http.DefaultTransport = conformity
	os.Exit(conformity.report(os.Stderr, m.Run()))
}

// patience bounds every wait of the tests for another process.
const patience = 60 * time.Second

// process is a running mailwake server.
type process struct {
	t     testing.TB
	cmd   *exec.Cmd
	dir   string
	at    addresses
	key   string
	log   *lockedBuffer
	ready chan struct{} // closed when the server says so
	out   chan error    // the result of Wait, once
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func binary(ctx context.Context, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), asBinary+"=1"), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// serve starts a server on dir and waits until it says that it is ready.
func serve(t testing.TB, dir string, env []string, args ...string) *process {
	t.Helper()
	p := begin(t, dir, env, args...)
	p.awaitReady()
	return p
}

// begin starts a server and does not wait.
func begin(t testing.TB, dir string, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, dir: dir, log: new(lockedBuffer), ready: make(chan struct{}), out: make(chan error, 1)}
	p.cmd = binary(t.Context(), env, append([]string{"serve", "--data", dir, "--public", "127.0.0.1:0", "--private", "127.0.0.1:0"}, args...)...)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		lines := bufio.NewScanner(io.TeeReader(stderr, p.log))
		once := sync.OnceFunc(func() { close(p.ready) })
		for lines.Scan() {
			if strings.Contains(lines.Text(), "msg=ready") {
				once()
			}
		}
		p.out <- p.cmd.Wait()
	}()
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	return p
}

func (p *process) awaitReady() {
	p.t.Helper()
	select {
	case <-p.ready:
	case err := <-p.out:
		p.t.Fatalf("server ended before it was ready: %v\n%s", err, p.log)
	case <-time.After(patience):
		p.t.Fatalf("server not ready in %v\n%s", patience, p.log)
	}
	text, err := os.ReadFile(filepath.Join(p.dir, serverFile))
	if err == nil {
		err = json.Unmarshal(text, &p.at)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(p.dir, keyFile))
	if err != nil {
		p.t.Fatal(err)
	}
	p.key = strings.TrimSpace(string(key))
}

// kill ends the server at once, as a crash would.
func (p *process) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
	p.wait()
}

// stop asks the server to end and expects it to end well.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatalf("%v\n%s", err, p.log)
	}
	if err := p.wait(); err != nil {
		p.t.Fatalf("server ended badly: %v\n%s", err, p.log)
	}
}

func (p *process) wait() error {
	p.t.Helper()
	select {
	case err := <-p.out:
		return err
	case <-time.After(patience):
		p.t.Fatalf("server did not end in %v\n%s", patience, p.log)
		return nil
	}
}

func (p *process) client() *client { return &client{base: p.at.Private, key: p.key} }

// api calls the private plane and decodes the answer into out.
func (p *process) api(method, path string, body, out any) {
	p.t.Helper()
	if err := p.client().get(p.t.Context(), method, path, nil, body, out); err != nil {
		p.t.Fatalf("%s %s: %v\n%s", method, path, err, p.log)
	}
}

// sql returns the rows of a statement.
func (p *process) sql(statement string) []map[string]any {
	p.t.Helper()
	var rows []map[string]any
	err := p.client().get(p.t.Context(), http.MethodPost, "/v1/orgs/acme/sql", url.Values{"format": {"json"}}, map[string]any{"sql": statement, "limit": 1_000_000}, &rows)
	if err != nil {
		p.t.Fatalf("sql: %v\n%s", err, p.log)
	}
	return rows
}

// count returns the single number that a statement yields.
func (p *process) count(statement string) int {
	p.t.Helper()
	rows := p.sql(statement)
	if len(rows) != 1 {
		p.t.Fatalf("%d rows for %s", len(rows), statement)
	}
	for _, v := range rows[0] {
		return int(v.(float64))
	}
	return 0
}

// kpis returns all KPIs as the API prints them.
func (p *process) kpis() map[string]string {
	p.t.Helper()
	out := map[string]string{}
	var catalogue []query.KPI
	if err := p.client().get(p.t.Context(), http.MethodGet, "/v1/orgs/acme/kpis", nil, nil, &catalogue); err != nil || len(catalogue) < 15 {
		p.t.Fatalf("%d KPIs, %v", len(catalogue), err)
	}
	for _, kpi := range catalogue {
		name, q := kpi.Name, url.Values{"format": {"json"}}
		for _, param := range kpi.Params {
			if param.Name == "now" {
				q.Set("now", "2100-01-01T00:00:00Z")
			}
		}
		r, err := p.client().call(p.t.Context(), http.MethodGet, "/v1/orgs/acme/kpis/"+name, q, nil)
		if err != nil {
			p.t.Fatalf("%s: %v\n%s", name, err, p.log)
		}
		text, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			p.t.Fatal(err)
		}
		out[name] = string(text)
	}
	return out
}

// follow registers one email to n people and returns its messages.
func (p *process) follow(subject, html string, n int) followResponse {
	p.t.Helper()
	req := followRequest{From: "sales@acme.example", Subject: subject, HTML: html, Follow: "required"}
	for i := range n {
		req.To = append(req.To, followRecipient{Address: fmt.Sprintf("person%d@customer.example", i+1)})
	}
	var resp followResponse
	p.api(http.MethodPost, "/v1/orgs/acme/emails", req, &resp)
	if resp.FollowState != "on" || len(resp.Messages) != n {
		p.t.Fatalf("follow: state %q, %d messages", resp.FollowState, len(resp.Messages))
	}
	return resp
}

var noRedirect = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       patience,
	Transport:     &checked{RoundTripper: &http.Transport{MaxIdleConnsPerHost: 64}, found: conformity.found},
}

// ask sends one request to the public plane.
func (p *process) ask(method, address, userAgent string, headers ...string) (*http.Response, []byte, error) {
	req, err := http.NewRequest(method, address, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("User-Agent", userAgent)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := noRedirect.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

// must is ask for requests that must be answered.
func (p *process) must(method, address, userAgent string, headers ...string) (*http.Response, []byte) {
	p.t.Helper()
	resp, body, err := p.ask(method, address, userAgent, headers...)
	if err != nil {
		p.t.Fatalf("%s: %v\n%s", address, err, p.log)
	}
	return resp, body
}

func (p *process) createOrg(name string) {
	p.t.Helper()
	var out map[string]any
	p.api(http.MethodPost, "/v1/orgs", map[string]string{"name": name}, &out)
}
