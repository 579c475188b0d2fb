package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// fakeEnv makes this test program behave as the mailwake binary does; its value
// lists flaws, as name=value with commas.
const fakeEnv = "FAKE_MAILWAKE"

func TestMain(m *testing.M) {
	if flaws, ok := os.LookupEnv(fakeEnv); ok {
		if err := fakeMain(os.Args[1:], flaws); err != nil {
			fmt.Fprintln(os.Stderr, "fake:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// fake stands in for the server's API and keeps opens in memory.
type fake struct {
	flaws     map[string]int
	busy, ran atomic.Bool

	mu         sync.Mutex
	requests   int
	unseen     int // answers that queries leave out, once
	Orgs       []string
	Emails     int
	Recipients []string
	EmailOf    map[int]int // recipient to email
	Opens      map[int]int // by recipient
}

func newFake(flaws string) *fake {
	f := &fake{flaws: map[string]int{}, EmailOf: map[int]int{}, Opens: map[int]int{}}
	for flaw := range strings.SplitSeq(flaws, ",") {
		name, value, _ := strings.Cut(flaw, "=")
		f.flaws[name], _ = strconv.Atoi(value)
	}
	return f
}

var (
	fakeToken = regexp.MustCompile(`^/o/R(\d+)-[a-z]+\.gif$`)
	fakeSQL   = regexp.MustCompile(`^select count\(\*\) as n from interactions where kind = 'open'(?: and recipient_id = (\d+))?$`)
)

func (f *fake) pixel(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests++
	if f.requests == f.flaws["die"] {
		fmt.Fprintln(os.Stderr, "fake: out of luck")
		os.Exit(3)
	}
	lost := f.flaws["lose"] > 0 && f.requests%f.flaws["lose"] == 0
	if m := fakeToken.FindStringSubmatch(r.URL.Path); m != nil && !lost {
		recipient, _ := strconv.Atoi(m[1])
		f.Opens[recipient]++
		if f.flaws["late"] > 0 {
			f.unseen = 1
		}
	}
	w.Header().Set("Content-Type", "image/gif")
	if f.flaws["refuse"] > 0 && f.requests%f.flaws["refuse"] == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write([]byte("GIF89a"))
}

func (f *fake) private() http.Handler {
	mux := http.NewServeMux()
	reply := func(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		if f.flaws["nometrics"] == 0 {
			fmt.Fprint(w, "# TYPE mailwake_log_bytes gauge\nmailwake_log_bytes 1048576\n"+
				"mailwake_log_sync_seconds_bucket{le=\"0.1\"} 5\nmailwake_log_sync_seconds_count 7\n")
		}
		fmt.Fprint(w, "mailwake_tail_rows{org=\"a b\"} 40\nmailwake_tail_rows{org=\"c\"} 2\nmailwake_tail_rows_total 7\n")
	})
	mux.HandleFunc("POST /v1/orgs", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Name string }
		_ = json.NewDecoder(r.Body).Decode(&in)
		f.mu.Lock()
		defer f.mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer secret" || slices.Contains(f.Orgs, in.Name) {
			http.Error(w, `{"code":"conflict"}`, http.StatusConflict)
			return
		}
		f.Orgs = append(f.Orgs, in.Name)
		w.WriteHeader(http.StatusCreated)
	})
	mux.HandleFunc("POST /v1/orgs/bench/emails", func(w http.ResponseWriter, r *http.Request) { reply(w, f.follow(r)) })
	mux.HandleFunc("POST /v1/orgs/bench/sql", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ SQL string }
		_ = json.NewDecoder(r.Body).Decode(&in)
		if strings.Contains(in.SQL, "range(1000000)") {
			f.runAway(w)
			return
		}
		if strings.HasPrefix(in.SQL, "SELECT") {
			reply(w, []any{})
			return
		}
		m := fakeSQL.FindStringSubmatch(in.SQL)
		if m == nil || r.URL.Query().Get("format") != "json" {
			http.Error(w, `{"code":"sql_invalid"}`, http.StatusUnprocessableEntity)
			return
		}
		only, _ := strconv.Atoi(m[1])
		reply(w, []map[string]int{{"n": f.count(func(r int) bool { return only == 0 || r == only })}})
	})
	mux.HandleFunc("GET /v1/orgs/bench/kpis/email_summary", func(w http.ResponseWriter, r *http.Request) {
		email, _ := strconv.Atoi(r.URL.Query().Get("email"))
		n := f.count(func(r int) bool { return f.EmailOf[r] == email })
		reply(w, []map[string]any{{"email_id": email, "opens_total": strconv.Itoa(n)}})
	})
	for _, name := range []string{"recipient_activity", "organisation_summary"} {
		mux.HandleFunc("GET /v1/orgs/bench/kpis/"+name, func(w http.ResponseWriter, _ *http.Request) { reply(w, []any{}) })
	}
	for _, name := range []string{"flush", "retention/run"} {
		mux.HandleFunc("POST /v1/orgs/bench/"+name, func(w http.ResponseWriter, _ *http.Request) { reply(w, nil) })
	}
	mux.HandleFunc("POST /v1/orgs/bench/interactions", func(w http.ResponseWriter, r *http.Request) {
		if f.busy.Swap(true) { // the first request has to come again
			f.store(r)
			return
		}
		http.Error(w, `{"code":"log_full"}`, http.StatusServiceUnavailable)
	})
	return mux
}

// store keeps rows, all of which are opens.
func (f *fake) store(r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rows := json.NewDecoder(r.Body)
	for {
		var in struct {
			Recipient int `json:"recipient_id"`
		}
		if rows.Decode(&in) != nil {
			return
		}
		f.Opens[in.Recipient]++
	}
}

// runAway ends the first statement at its limit, and the second one when its
// worker is killed.
func (f *fake) runAway(w http.ResponseWriter) {
	if !f.ran.Swap(true) {
		http.Error(w, `{"code":"sql_timeout"}`, http.StatusGatewayTimeout)
		return
	}
	self, _ := os.Executable()
	_ = exec.Command(self, "worker").Run() // it is killed
	http.Error(w, `{"code":"sql_worker_ended"}`, http.StatusServiceUnavailable)
}

func (f *fake) follow(r *http.Request) any {
	var in struct {
		To     []struct{ Address string }
		Follow string
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Emails++
	messages := []map[string]any{}
	for _, to := range in.To {
		f.Recipients = append(f.Recipients, to.Address)
		id := len(f.Recipients)
		f.EmailOf[id] = f.Emails
		messages = append(messages, map[string]any{"recipient_id": id, "address": to.Address,
			"html": fmt.Sprintf(`<p>Hi</p><img src="http://127.0.0.1:1/o/R%d-abc.gif" alt="">`, id)})
	}
	state := "on"
	if in.Follow != "required" || f.flaws["blocked"] > 0 {
		state = "blocked"
	}
	return map[string]any{"email_id": f.Emails, "follow_state": state, "messages": messages}
}

func (f *fake) count(of func(recipient int) bool) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for recipient, opens := range f.Opens {
		if of(recipient) {
			n += opens
		}
	}
	n -= f.unseen
	f.unseen = 0
	return n
}

// fakeMain is the fake binary: `serve --data DIR …` or `bench baseline …`.
func fakeMain(args []string, flaws string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	switch args[0] {
	case "worker":
		<-ctx.Done()
		return nil
	case "-c":
		return fakeNginx(ctx, args[1])
	}
	f := newFake(flaws)
	public, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(public, http.HandlerFunc(f.pixel)) }()
	at := "http://" + public.Addr().String()
	if f.flaws["away"] > 0 {
		at = "http://192.0.2.1:80"
	}
	if args[0] == "bench" {
		f.mu.Lock()
		f.flaws = nil // the baseline has none
		f.mu.Unlock()
		fmt.Println("listening on", at)
		<-ctx.Done()
		return nil
	}
	if f.flaws["noserve"] > 0 {
		return errors.New("the disk is on fire")
	}
	dir := args[2]
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	state := filepath.Join(dir, "fake.json")
	if text, err := os.ReadFile(state); err == nil {
		if err := json.Unmarshal(text, f); err != nil {
			return err
		}
	}
	private, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(private, f.private()) }()
	addresses := fmt.Sprintf(`{"public":%q,"private":"http://%s"}`, at, private.Addr())
	for name, text := range map[string]string{"admin.key": "secret\n", "server.part": addresses} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if err := os.Rename(filepath.Join(dir, "server.part"), filepath.Join(dir, "server.json")); err != nil {
		return err
	}
	<-ctx.Done()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.flaws["forget"] > 0 && f.requests > 0 {
		delete(f.Opens, 1)
	}
	text, err := json.Marshal(f)
	return errors.Join(err, os.WriteFile(state, text, 0o600))
}

// fakeNginx answers where the configuration says, without a log.
func fakeNginx(ctx context.Context, conf string) error {
	text, err := os.ReadFile(conf)
	if err != nil {
		return err
	}
	at, err := net.Listen("tcp", regexp.MustCompile(`listen (\S+) `).FindStringSubmatch(string(text))[1])
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(at, http.HandlerFunc(newFake("").pixel)) }()
	<-ctx.Done()
	return nil
}

// fakeSetup measures the fake binary with a load that is over soon.
func fakeSetup(t *testing.T, flaws string) Setup {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Setup{Binary: path, Env: []string{fakeEnv + "=" + flaws, "GORACE=atexit_sleep_ms=0"}, Dir: filepath.Join(t.TempDir(), "new"), Nginx: "nginx-that-is-not-there", Conns: 4, Recipients: 10}
}
