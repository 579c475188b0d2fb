package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// peer is another engine in a process of its own, which answers a line of JSON on
// standard input with one on standard output. It times itself, so that its answers'
// way to us costs it nothing. One goroutine uses it.
type peer struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	said *output // standard error
}

// peerAnswer is the line that comes back.
type peerAnswer struct {
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu"` // seconds of all threads
	Text    string  `json:"text"`
	Error   string  `json:"error"`
}

func (s *Setup) startPeer(ctx context.Context, name, dir, program string, args ...string) (*peer, error) {
	p := &peer{name: name, cmd: exec.CommandContext(ctx, program, args...), said: &output{}}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stderr = dir, append(inherited(), s.Env...), p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Cancel = func() error { return syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }
	p.cmd.WaitDelay = killWait
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.in, p.out = in, bufio.NewReader(out)
	return p, nil
}

// ask sends one request and waits for its answer.
func (p *peer) ask(request any) (peerAnswer, error) {
	var a peerAnswer
	line, err := json.Marshal(request)
	if err != nil {
		return a, err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return a, fmt.Errorf("ask %s: %w; it said: %s", p.name, err, p.said)
	}
	text, err := p.out.ReadBytes('\n')
	if err != nil {
		return a, fmt.Errorf("ask %s: %w; it said: %s", p.name, err, p.said)
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return a, fmt.Errorf("ask %s: read answer %.200q: %w", p.name, text, err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("%s: %s", p.name, a.Error)
	}
	return a, nil
}

// close ends the peer and waits for it.
func (p *peer) close() error {
	timer := time.AfterFunc(killWait, func() { _ = p.cmd.Cancel() })
	defer timer.Stop()
	return errors.Join(p.in.Close(), p.cmd.Wait())
}

// errAbsent reports a peer that is not installed; a report says so and goes on.
var errAbsent = errors.New("is not installed")

// chdb starts ClickHouse within a process, its tables in dir.
func (s *Setup) chdb(ctx context.Context, dir string) (*peer, error) {
	if _, err := os.Stat(filepath.Join(s.Peers, "node_modules", "chdb")); err != nil {
		return nil, fmt.Errorf("chDB %w in %s: make bench-setup", errAbsent, s.Peers)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, fmt.Errorf("chDB needs node, which %w", errAbsent)
	}
	return s.startPeer(ctx, "chDB", s.Peers, node, "chdb.mjs", dir)
}

// sql runs a statement on chDB.
func (p *peer) sql(text string) (peerAnswer, error) {
	return p.ask(map[string]string{"sql": text})
}

// all runs statements one after another.
func (p *peer) all(statements ...string) error {
	for _, s := range statements {
		if _, err := p.sql(s); err != nil {
			return fmt.Errorf("%.60q: %w", strings.TrimSpace(s), err)
		}
	}
	return nil
}

// duckdb starts DuckDB over Parquet files: this very program with nothing of the
// server around the engine. What does not fit into its memory goes into the folder
// of the catalogue.
func (s *Setup) duckdb(ctx context.Context, files []string, catalog string, memoryMiB float64) (*peer, error) {
	p, err := s.startPeer(ctx, "DuckDB", catalog, s.Binary, "bench", "duckdb", fmt.Sprintf("--memory-mb=%.0f", memoryMiB))
	if err != nil {
		return nil, err
	}
	if _, err := p.ask(map[string]any{"files": files, "catalog": catalog}); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}
