package query

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// listed is a statement of testdata/sql.
type listed struct{ group, text string }

func readList(t testing.TB, name string, replacer *strings.Replacer) []listed {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "sql", name))
	if err != nil {
		t.Fatal(err)
	}
	var list []listed
	group := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "## "):
			group = line[3:]
		case line != "" && !strings.HasPrefix(line, "#"):
			list = append(list, listed{group, replacer.Replace(line)})
		}
	}
	return list
}

// canary marks what no statement of organisation 1 may show: rows of another
// organisation with the same ids, and of a recipient who refuses.
const canary = "CANARY"

// refuser is the recipient of organisation 1 who refuses everything.
const refuser = 5

// rig is a world with two organisations that look alike, workers, and a reference:
// a plain instance with copies of the published tables of organisation 1 and
// nothing else, to which statements go as they were typed.
type rig struct {
	*world
	db        *DB
	reference *totalsEngine
	replacer  *strings.Replacer
}

func newRig(t testing.TB, change func(*Options)) *rig {
	t.Helper()
	w := newWorld(t)
	w.org(1).rules.Consent = Consent{Version: 1, Denied: func(event.Kind) iter.Seq[event.RecipientID] { return slices.Values([]event.RecipientID{refuser}) }}
	for org := range event.OrgID(3) {
		if org > 0 {
			fill(w, org)
		}
	}
	r := &rig{world: w, db: w.openWorkers(change)}
	r.replacer = strings.NewReplacer("{own}", w.orgs[1].files[0], "{other}", w.orgs[2].files[0], "{dir}", filepath.Dir(w.orgs[1].files[0]))
	engine, err := newTotalsEngine(t.Context(), workerSetup{Dir: t.TempDir(), Threads: 2, Memory: 256 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.duck.Close() })
	r.reference = engine
	for _, table := range surfaceOrder {
		res, err := r.db.SQL(t.Context(), Statement{Org: 1, Persons: true, Text: "SELECT * FROM " + table})
		if err != nil {
			t.Fatal(err)
		}
		var ipc bytes.Buffer
		if err := res.Write(&ipc, Arrow); err != nil {
			t.Fatal(err)
		}
		res.Close()
		if bytes.Contains(ipc.Bytes(), []byte(canary)) {
			t.Fatalf("%s shows what it may not", table)
		}
		if err := engine.replace(t.Context(), workerTable{Name: table, IPC: ipc.Bytes()}); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// fill gives an organisation a history over files and tail.
func fill(w *world, org event.OrgID) {
	o := w.org(org)
	mark := ""
	if org != 1 {
		mark = canary
	}
	kinds := []event.Kind{event.Sent, event.Open, event.Open, event.Click, event.AttachmentView, event.Reply}
	actors := []event.Actor{event.Human, event.Proxy, event.Prefetch, event.Human}
	var events []event.Interaction
	for i := range int64(60) {
		in := open1(i*i%97 + 1)
		in.ID, in.Kind, in.Actor, in.Component = i+1, kinds[i%6], actors[i%4], int32(i%3)
		in.Email, in.Recipient, in.Client, in.OccurredAt = event.EmailID(1+i%4), event.RecipientID(1+i*7%9), "Apple Mail"+mark, in.OccurredAt+event.Micros(i*i*3e8)
		if org == 1 && in.Recipient == refuser {
			// What mail systems report is shown of everybody; it must not tell more.
			if in.Kind == event.Sent {
				in.Kind = event.Open
			}
			in.Client = canary
		}
		events = append(events, in)
	}
	for i := range 4 {
		id := event.EmailID(i + 1)
		o.emails = append(o.emails, registry.Email{ID: id, From: "a@example.com", Subject: fmt.Sprint("Offer ", i, mark), Template: []string{"welcome", "news"}[i%2], Follow: registry.FollowOn, CreatedAt: 1.75e15})
		o.links = append(o.links, registry.Link{Email: id, Ordinal: 1, URL: "https://example.com/" + mark}, registry.Link{Email: id, Ordinal: 2, URL: "https://example.org/a"})
	}
	for i := range 9 {
		id := event.RecipientID(i + 1)
		o.recipients = append(o.recipients, registry.Recipient{ID: id, Address: fmt.Sprintf("p%d%s@example.com", i, mark), Name: fmt.Sprint("Anna ", i)})
	}
	w.add(org, events[:40]...)
	w.flush(org, 25)
	w.add(org, events[40:]...)
}

// longFraction finds the digits of a fraction that depend on the order of a sum.
var longFraction = regexp.MustCompile(`(\.\d{8})\d+`)

// rowsText is a result as the types of its columns and its sorted lines. The names
// that DuckDB gives to columns without one depend on how an expression is written.
func rowsText(res *Result) (string, error) {
	defer res.Close()
	var text bytes.Buffer
	if err := res.Write(&text, CSV); err != nil {
		return "", err
	}
	lines := strings.Split(longFraction.ReplaceAllString(text.String(), "$1"), "\n")[1:]
	slices.Sort(lines)
	var types strings.Builder
	for _, f := range res.Schema().Fields() {
		fmt.Fprintln(&types, f.Type)
	}
	if res.Truncated() {
		fmt.Fprintln(&types, cutOff)
	}
	return types.String() + strings.Join(lines, "\n"), nil
}

// cutOff marks a result of which nothing says which rows it has.
const cutOff = "cut off at the limit"

func (r *rig) ask(ctx context.Context, text string) (string, error) {
	res, err := r.db.SQL(ctx, Statement{Org: 1, Persons: true, Text: text, Limit: 1000})
	if err != nil {
		return "", err
	}
	return rowsText(res)
}

// expected is what the reference says of the text as typed.
func (r *rig) expected(ctx context.Context, text string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := r.reference.duck.Conn(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return collectText(ctx, conn, text)
}

func collectText(ctx context.Context, conn *sql.Conn, text string) (string, error) {
	res, err := collect(ctx, conn, text, question{limit: 1000}, 1<<30)
	if err != nil {
		return "", err
	}
	return rowsText(res)
}

// secrets are words that no error may say unless the statement said them.
var secrets = []string{canary, "pin-", "hot_", "catalog_", "consent_", "surface_rows", "worker-", "/tmp", "/dev/shm", "goroutine", "kind_t"}

// verdict holds one statement against the rules for hostile ones; "" is well.
func (r *rig) verdict(ctx context.Context, text string, identical bool) string {
	got, err := r.ask(ctx, text)
	if err != nil {
		p := problem.Of(err)
		for _, secret := range secrets {
			if strings.Contains(p.Detail, secret) && !strings.Contains(strings.ToLower(text), strings.ToLower(secret)) {
				return fmt.Sprintf("the error tells %q: %s", secret, p.Detail)
			}
		}
		if p.Code == "internal" || strings.Contains(p.Detail, r.root) && !strings.Contains(text, r.root) {
			return fmt.Sprint("error of the inside: ", err)
		}
		return ""
	}
	if strings.Contains(got, canary) && !strings.Contains(text, canary) {
		return "it shows what it may not: " + got
	}
	if !identical {
		return ""
	}
	want, err := r.expected(ctx, text)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return ""
	case err != nil:
		return fmt.Sprintf("answered, and the reference says %v", err)
	case got != want && !(strings.Contains(got, cutOff) && strings.Contains(want, cutOff)):
		return fmt.Sprintf("got\n%s\nand the reference says\n%s", got, want)
	}
	return ""
}

func TestAttacks(t *testing.T) {
	r := newRig(t, nil)
	list := readList(t, "attacks.txt", r.replacer)
	if len(list) < 150 {
		t.Fatalf("only %d attacks", len(list))
	}
	answered := 0
	for _, a := range list {
		if a.group == "exhaustion" {
			continue
		}
		if wrong := r.verdict(t.Context(), a.text, true); wrong != "" {
			t.Errorf("%s: %s\n%s", a.group, a.text, wrong)
		}
		if _, err := r.ask(t.Context(), a.text); err == nil {
			answered++
			t.Logf("answered: %s", a.text)
		}
	}
	t.Logf("%d attacks, %d answered with what the role may see", len(list), answered)
	if got, err := r.ask(t.Context(), census); err != nil || !strings.Contains(got, "54,54,60") {
		t.Errorf("after all that: %s, %v", got, err)
	}
}

// What eats time and memory ends at its caller's deadline, long before the limit of
// the pool; the next statement is answered.
func TestExhaustion(t *testing.T) {
	const limit = time.Minute
	r := newRig(t, func(o *Options) { o.Worker.Timeout, o.Worker.Memory = limit, 128<<20 })
	for _, a := range readList(t, "attacks.txt", r.replacer) {
		if a.group != "exhaustion" {
			continue
		}
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
		wrong := r.verdict(ctx, a.text, false)
		cancel()
		if took := time.Since(start); wrong != "" || took > limit/2 {
			t.Errorf("%s\n%s after %s", a.text, wrong, took)
		}
		if _, err := r.ask(t.Context(), census); err != nil {
			t.Errorf("after %s: %v", a.text, err)
		}
	}
}

func TestAnalysts(t *testing.T) {
	r := newRig(t, nil)
	list := readList(t, "analysts.txt", r.replacer)
	if len(list) < 60 {
		t.Fatalf("only %d statements", len(list))
	}
	for _, a := range list {
		got, err := r.ask(t.Context(), a.text)
		if err != nil {
			t.Errorf("%s: %s\n%v", a.group, a.text, err)
			continue
		}
		if want, err := r.expected(t.Context(), a.text); err != nil || got != want {
			t.Errorf("%s: %s\ngot %s\nwant %s %v", a.group, a.text, got, want, err)
		}
	}
}
