package bench

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func startShell(t *testing.T, ctx context.Context, script string) *Process {
	t.Helper()
	p, err := Start(ctx, "shell", "/bin/sh", []string{"-c", script}, []string{"GREETING=hello"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// said waits for words of the process.
func said(t *testing.T, p *Process, words string) {
	t.Helper()
	err := p.await(t.Context(), 10*time.Second, func(context.Context) (bool, error) {
		return strings.Contains(p.Output(), words), nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestStop(t *testing.T) {
	t.Setenv("MAILWAKE_DATA", "/elsewhere")
	p := startShell(t, t.Context(), `trap 'echo bye; exit 0' TERM; echo "$GREETING $MAILWAKE_DATA."; while :; do :; done`)
	said(t, p, "hello .\n")
	u, err := p.Usage()
	if err != nil || u.RSS <= 0 || u.Peak < u.RSS {
		t.Errorf("usage %+v, %v", u, err)
	}
	if err := p.Stop(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(p.Output(), "bye") {
		t.Errorf("output %q", p.Output())
	}
	after, err := p.Usage()
	if err != nil || after.CPU <= 0 {
		t.Errorf("usage after the end: %+v, %v", after, err)
	}
	p.Kill()
}

// Children are found whatever thread started them.
func TestChildren(t *testing.T) {
	var pids [2]int
	var begun, started sync.WaitGroup
	begun.Add(len(pids))
	for i := range pids {
		started.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			begun.Done()
			begun.Wait() // two threads at a time: one of them is not the first
			cmd := exec.Command("/bin/cat")
			in, err := cmd.StdinPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { _ = errors.Join(in.Close(), cmd.Wait()) })
			pids[i] = cmd.Process.Pid
		})
	}
	started.Wait()
	children, err := childrenOf(os.Getpid())
	if err != nil || !slices.Contains(children, pids[0]) || !slices.Contains(children, pids[1]) {
		t.Errorf("children %v, want %v among them: %v", children, pids, err)
	}
}

func TestStopErrors(t *testing.T) {
	for script, want := range map[string]string{
		`trap 'echo sorry >&2; exit 7' TERM; echo up; while :; do :; done`: "exit status 7; its last output:\nup\nsorry",
		`trap '' TERM; echo up; while :; do :; done`:                       "still running after",
	} {
		p := startShell(t, t.Context(), script)
		said(t, p, "up")
		limit := 10 * time.Second
		if strings.Contains(want, "still") {
			limit = 20 * time.Millisecond
		}
		if err := p.Stop(limit); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", script, err, want)
		}
	}
}

// The end of a context ends the process and what it started.
func TestContextKills(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := startShell(t, ctx, `sleep 1000 & echo up; wait`)
	said(t, p, "up")
	start := time.Now()
	cancel()
	<-p.done
	if time.Since(start) >= killWait {
		t.Error("a grandchild held the output until it was given up")
	}
	if err := p.Stop(time.Second); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("got %v", err)
	}
}

func TestAwaitEnds(t *testing.T) {
	p := startShell(t, t.Context(), `echo broken; exit 4`)
	never := func(context.Context) (bool, error) { return false, nil }
	if err := p.await(t.Context(), 10*time.Second, never); err == nil || !strings.Contains(err.Error(), "exit status 4; its last output:\nbroken") {
		t.Errorf("a process that ends: %v", err)
	}
	p = startShell(t, t.Context(), `sleep 1000`)
	if err := p.await(t.Context(), 10*time.Millisecond, never); err == nil || !strings.Contains(err.Error(), "deadline") {
		t.Errorf("a process that is never ready: %v", err)
	}
	if _, err := Start(t.Context(), "nothing", "/does/not/exist", nil, nil); err == nil {
		t.Error("a program that does not exist was started")
	}
}

func TestOutputIsBounded(t *testing.T) {
	var o output
	for range 10 {
		_, _ = o.Write([]byte(strings.Repeat("x", maxOutput/4)))
	}
	_, _ = o.Write([]byte("end"))
	if s := o.String(); len(s) != maxOutput || !strings.HasSuffix(s, "xend") {
		t.Errorf("%d bytes are kept", len(s))
	}
}

func TestParseStat(t *testing.T) {
	const stat = "42 (a (b) c) S 1 42 42 0 -1 4194304 100 0 0 0 150 25 7 3 20 0 9 0 1 1 1"
	if got, err := parseStat([]byte(stat)); err != nil || got != 1850*time.Millisecond {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "42 (a) S 1", "no name 1 2 3 4 5 6 7 8 9 10 11 12 13 14", strings.Replace(stat, "150", "x", 1)} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if _, err := usageOf(os.Getpid()); err != nil {
		t.Error(err)
	}
	if _, err := parseKB([]byte("VmPeak:\t 12 kB\nVmRSS:\t x kB\n"), "VmRSS:"); err == nil {
		t.Error("a size that is no number was accepted")
	}
	if got, err := parseKB([]byte("VmPeak:\t 12 kB\nVmRSS:\t 34 kB\n"), "VmRSS:"); err != nil || got != 34<<10 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestParseBusy(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"cpu  100 20 30 9999 50 6 7 8 0 0\ncpu0 1 1 1 1\n": 1580 * time.Millisecond,
		"": 0,
	} {
		if got := parseBusy([]byte(text)); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
