package query

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// openWorkers opens a DB whose statements run in workers.
func (w *world) openWorkers(change func(*Options)) *DB {
	w.tb.Helper()
	return w.open(func(o *Options) {
		self, err := os.Executable()
		if err != nil {
			w.tb.Fatal(err)
		}
		o.Worker.Command = []string{self, "worker"}
		if change != nil {
			change(o)
		}
	})
}

// live returns the processes that there are.
func (db *DB) live() []*worker {
	db.work.mu.Lock()
	defer db.work.mu.Unlock()
	var list []*worker
	for p := range db.work.mu.live {
		list = append(list, p)
	}
	return list
}

// What comes in is counted by the next statement, through files and tail.
func TestWorkerIsFresh(t *testing.T) {
	w := newWorld(t)
	db := w.openWorkers(nil)
	var took []time.Duration
	for i := range int64(300) {
		w.add(1, open1(i+1))
		if i%50 == 49 {
			w.flush(1, 30)
		}
		start := time.Now()
		if got := ask(t, db, 1, census)[0]; got["n"] != i+1 || got["last"] != i+1 {
			t.Fatalf("after event %d: %v", i+1, got)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	t.Logf("p50 %s, p99 %s", took[150], took[297])
	if live := db.live(); len(live) != 1 {
		t.Errorf("%d processes", len(live))
	}
}

// A killed worker is an error with a name, and the next statement is answered.
func TestWorkerKilled(t *testing.T) {
	w := newWorld(t)
	db := w.openWorkers(nil)
	w.add(1, open1(1))
	ask(t, db, 1, census)
	victim := db.live()[0]
	failed := make(chan error)
	go func() {
		_, err := db.SQL(t.Context(), Statement{Org: 1, Persons: true, Text: endless})
		failed <- err
	}()
	// The statement has its worker when the worker is idle no more.
	for {
		db.work.mu.Lock()
		busy := len(db.work.mu.idle) == 0
		db.work.mu.Unlock()
		if busy {
			break
		}
	}
	if err := victim.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if p := problem.Of(<-failed); p.Code != "sql_worker_ended" || p.Status != 503 {
		t.Errorf("got %v", p)
	}
	if got := ask(t, db, 1, census)[0]["n"]; got != int64(1) {
		t.Errorf("afterwards: %v", got)
	}
	<-victim.exited
	if _, err := os.Stat(victim.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its folder is left: %v", err)
	}
}

// A statement ends when its time is over and when its client leaves; neither
// keeps others waiting, and a process is not left behind.
func TestWorkerRunaway(t *testing.T) {
	w := newWorld(t)
	db := w.openWorkers(func(o *Options) { o.Worker.Timeout = 3 * time.Second })
	w.add(1, open1(1))
	w.add(2, open1(1))
	ask(t, db, 2, census)
	var running sync.WaitGroup
	running.Go(func() {
		if _, err := db.SQL(t.Context(), Statement{Org: 1, Persons: true, Text: endless}); problem.Of(err).Code != "sql_timeout" {
			t.Errorf("got %v", err)
		}
	})
	ctx, leave := context.WithCancel(t.Context())
	running.Go(func() {
		if _, err := db.SQL(ctx, Statement{Org: 1, Persons: true, Text: endless}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	for range 20 {
		ask(t, db, 2, census)
	}
	leave()
	running.Wait()
	if got := ask(t, db, 1, census)[0]["n"]; got != int64(1) {
		t.Errorf("afterwards: %v", got)
	}
}

// A large result is a stream in both processes.
func TestWorkerStreams(t *testing.T) {
	rows := 1_000_000
	if text := os.Getenv("MAILWAKE_SQL_ROWS"); text != "" {
		var err error
		if rows, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t)
	db := w.openWorkers(func(o *Options) { o.Worker.Timeout = 10 * time.Minute })
	text := fmt.Sprintf("SELECT range AS i, 'text of row ' || range AS s, range %% 7 = 0 AS b, TIMESTAMP '2025-01-01' + to_seconds(range) AS t FROM range(%d)", rows)
	for _, format := range []Format{Arrow, CSV} {
		ask(t, db, 1, census)
		self, other := resident(t, "self"), resident(t, strconv.Itoa(db.live()[0].cmd.Process.Pid))
		res, err := db.SQL(t.Context(), Statement{Org: 1, Persons: true, Text: text, Limit: rows})
		if err != nil {
			t.Fatal(err)
		}
		if res.Whole() {
			t.Fatal("the result is in memory")
		}
		start := time.Now()
		var n counter
		if err := res.Write(&n, format); err != nil {
			t.Fatal(err)
		}
		if res.Rows() != rows || res.Truncated() || !res.Whole() {
			t.Errorf("%s: %d rows, truncated %v", format, res.Rows(), res.Truncated())
		}
		res.Close()
		grown, otherGrown := resident(t, "self")-self, resident(t, strconv.Itoa(db.live()[0].cmd.Process.Pid))-other
		t.Logf("%s: %d rows, %d MB in %s; server +%d MB, worker +%d MB", format, rows, n>>20, time.Since(start).Round(time.Millisecond), grown>>20, otherGrown>>20)
		if grown > 200<<20 || otherGrown > 200<<20 {
			t.Errorf("%s: memory grew by %d and %d MB", format, grown>>20, otherGrown>>20)
		}
	}
	cut, err := db.SQL(t.Context(), Statement{Org: 1, Persons: true, Text: text, Limit: rows / 2})
	if err != nil {
		t.Fatal(err)
	}
	defer cut.Close()
	if err := cut.Write(io.Discard, CSV); err != nil || cut.Rows() != rows/2 || !cut.Truncated() {
		t.Errorf("%d rows, truncated %v, %v", cut.Rows(), cut.Truncated(), err)
	}
}

type counter int64

func (n *counter) Write(p []byte) (int, error) {
	*n += counter(len(p))
	return len(p), nil
}

func resident(t *testing.T, pid string) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(kb), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("no resident size")
	return 0
}

// A result that is not read to its end takes its worker along, and no slot.
func TestWorkerAbandoned(t *testing.T) {
	w := newWorld(t)
	db := w.openWorkers(nil)
	for range 6 {
		res, err := db.SQL(t.Context(), Statement{Org: 1, Persons: true, Text: "SELECT range, repeat FROM range(9000000), (SELECT 'xxxxxxxxxxxxxxxxxxxxxxxxxxx' AS repeat)", Limit: 9_000_000})
		if err != nil {
			t.Fatal(err)
		}
		for range res.Batches() {
			break
		}
		res.Close()
		if err := res.Write(io.Discard, JSON); err != nil {
			t.Error(err)
		}
	}
	ask(t, db, 1, census)
}

// Workers are few, idle ones go, and none is left after Close.
func TestWorkerPool(t *testing.T) {
	w := newWorld(t)
	db := w.openWorkers(func(o *Options) { o.Worker.Processes, o.Worker.Idle = 2, time.Hour })
	var all []*worker
	for org := range event.OrgID(4) {
		ask(t, db, org+1, census)
		all = append(all, db.live()...)
		if n := len(db.live()); n > 2 {
			t.Errorf("%d processes", n)
		}
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	for _, p := range all {
		<-p.exited
	}
	if _, err := db.SQL(t.Context(), Statement{Org: 1, Persons: true, Text: census}); problem.Of(err).Code != "query_closed" {
		t.Errorf("got %v", err)
	}
	short := w.openWorkers(func(o *Options) { o.Worker.Idle = time.Millisecond })
	ask(t, short, 1, census)
	for len(short.live()) > 0 { // retired by its timer
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		<-ctx.Done()
		cancel()
	}
}

// As root, a worker is nobody, alone, in a folder of its own, and offline.
func TestWorkerIsConfined(t *testing.T) {
	w := newWorld(t)
	db := w.openWorkers(nil)
	ask(t, db, 1, census)
	pid := strconv.Itoa(db.live()[0].cmd.Process.Pid)
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"NoNewPrivs:\t1", "Seccomp:\t2"}
	if os.Geteuid() == 0 {
		want = append(want, "Uid:\t65534\t65534\t65534\t65534", "CapEff:\t0000000000000000")
		if root, err := os.Readlink("/proc/" + pid + "/root"); err != nil || root != db.live()[0].dir {
			t.Errorf("its root is %s, %v", root, err)
		}
	}
	for _, line := range want {
		if !bytes.Contains(status, []byte(line)) {
			t.Errorf("not %q in\n%s", line, status)
		}
	}
	limits, err := os.ReadFile("/proc/" + pid + "/limits")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(limits)) {
		if f := strings.Fields(line); strings.HasPrefix(line, "Max address space") && f[3] == "unlimited" || strings.HasPrefix(line, "Max core file size") && f[4] != "0" {
			t.Errorf("limit: %s", line)
		}
	}
}

// Every name of the inside is one that statements may not take for a CTE.
func TestInsidersAreKnown(t *testing.T) {
	w := newWorld(t)
	db := w.open(nil)
	w.add(1, open1(1))
	ask(t, db, 1, census)
	rows, err := db.mu.stores[1].duck.QueryContext(t.Context(), "SELECT table_name FROM duckdb_tables() UNION SELECT view_name FROM duckdb_views() WHERE NOT internal")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		if !insiders.MatchString(name) && !slices.Contains(surfaceOrder, name) {
			t.Errorf("%s is a name of the inside that the gate does not know", name)
		}
	}
	if n < 5 || rows.Err() != nil {
		t.Errorf("%d names, %v", n, rows.Err())
	}
}

// What DuckDB fails at by a fault of its own is an error with a name, its worker goes,
// and the next statement is answered.
func TestWorkerFailsByItself(t *testing.T) {
	w := newWorld(t)
	db := w.openWorkers(nil)
	w.add(1, open1(1))
	ask(t, db, 1, census)
	before := db.live()[0]
	_, err := db.SQL(t.Context(), Statement{Org: 1, Persons: true, Text: "SELECT * FROM interactions WHERE EXISTS (SELECT event_id interactions WHERE recipient_id = ANY (SELECT recipient_id FROM recipients WHERE recipient_id > 3))"})
	if p := problem.Of(err); p.Code != "sql_failed" || p.Status != 422 {
		t.Errorf("got %v", err)
	}
	<-before.exited
	if got := ask(t, db, 1, census)[0]["n"]; got != int64(1) {
		t.Errorf("afterwards: %v", got)
	}
}
