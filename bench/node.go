package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// node is a running server and how to reach it.
type node struct {
	*Process
	public netip.AddrPort
	api    *client // nil for the baseline
}

// kill ends the server if it still runs.
func (n *node) kill() {
	n.Process.Kill()
	if n.api != nil {
		n.api.close()
	}
}

// folder makes the data folder and returns how to remove it.
func (s *Setup) folder() (dir string, remove func(), err error) {
	if s.Dir != "" {
		if err := os.MkdirAll(s.Dir, 0o700); err != nil {
			return "", nil, fmt.Errorf("make data folder: %w", err)
		}
	}
	root, err := os.MkdirTemp(s.Dir, "mailwake-bench-")
	if err != nil {
		return "", nil, fmt.Errorf("make data folder: %w", err)
	}
	remove = func() {
		if !s.Keep {
			os.RemoveAll(root)
		}
	}
	return filepath.Join(root, "data"), remove, nil
}

// mailwake starts a server on a data folder, new or used, and waits until it is ready.
func (s *Setup) mailwake(ctx context.Context, dir string) (_ *node, err error) {
	// The file of a server before this one would name its addresses.
	if err := os.Remove(filepath.Join(dir, "server.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("start mailwake: %w", err)
	}
	args := append([]string{"serve", "--data", dir, "--public", "127.0.0.1:0", "--private", "127.0.0.1:0"}, s.ServeArgs...)
	p, err := Start(ctx, "mailwake", s.Binary, args, s.Env)
	if err != nil {
		return nil, err
	}
	n := &node{Process: p}
	defer func() {
		if err != nil {
			n.kill()
		}
	}()
	err = p.await(ctx, s.StopLimit, func(ctx context.Context) (bool, error) {
		if n.api == nil {
			found, err := n.locate(dir)
			if err != nil || !found {
				return false, err
			}
		}
		return n.api.ready(ctx), nil
	})
	return n, err
}

// holdBack has servers flush nothing unless asked; starting with that much log, or
// ending with it, may take minutes.
func (s *Setup) holdBack() {
	s.ServeArgs = append(s.ServeArgs, "--flush-rows", "1000000000", "--flush-mb", "100000", "--flush-age", "24h", "--log-limit-mb", "8192")
	s.StopLimit = max(s.StopLimit, 10*time.Minute)
}

// locate reads where the server answers, once it has said so.
func (n *node) locate(dir string) (bool, error) {
	text, err := os.ReadFile(filepath.Join(dir, "server.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read addresses: %w", err)
	}
	var at struct{ Public, Private string }
	if err := json.Unmarshal(text, &at); err != nil {
		return false, fmt.Errorf("read addresses %.200q: %w", text, err)
	}
	if n.public, err = loopback(at.Public); err != nil {
		return false, err
	}
	private, err := loopback(at.Private)
	if err != nil {
		return false, err
	}
	key, err := os.ReadFile(filepath.Join(dir, "admin.key"))
	if err != nil {
		return false, fmt.Errorf("read administrator key: %w", err)
	}
	n.api = newClient("http://"+private.String(), strings.TrimSpace(string(key)))
	return true, nil
}

var listening = regexp.MustCompile(`(?m)^listening on (\S+)$`)

// baseline starts the server that answers the same and stores nothing.
func (s *Setup) baseline(ctx context.Context) (_ *node, err error) {
	p, err := Start(ctx, "baseline", s.Binary, []string{"bench", "baseline", "--listen", "127.0.0.1:0"}, s.Env)
	if err != nil {
		return nil, err
	}
	n := &node{Process: p}
	defer func() {
		if err != nil {
			n.kill()
		}
	}()
	err = p.await(ctx, s.StopLimit, func(context.Context) (bool, error) {
		m := listening.FindStringSubmatch(p.Output())
		if m == nil {
			return false, nil
		}
		n.public, err = loopback(m[1])
		return err == nil, err
	})
	return n, err
}

// followed starts a server on a new data folder, makes the organisation and
// follows emails: one pixel for each recipient, and probes of recipients of
// their own.
func (s *Setup) followed(ctx context.Context, dir string, probes int) (n *node, pixels, probed []pixel, err error) {
	if n, err = s.mailwake(ctx, dir); err != nil {
		return nil, nil, nil, err
	}
	err = n.api.createOrg(ctx)
	if err == nil {
		pixels, err = n.api.follow(ctx, "r", s.Recipients)
	}
	if err == nil {
		probed, err = n.api.follow(ctx, "p", probes)
	}
	if err != nil {
		err = n.Explain(err)
		n.kill()
		return nil, nil, nil, err
	}
	return n, pixels, probed, nil
}

// CountError reports that what is stored is not what was answered.
type CountError struct {
	When             string // what was counted
	Answered, Stored int64
}

func (e *CountError) Error() string {
	return fmt.Sprintf("%s: %d opens are stored, %d were answered", e.When, e.Stored, e.Answered)
}

// verify compares the stored opens with the answered ones.
func (n *node) verify(ctx context.Context, when string, answered int64) error {
	stored, err := n.api.count(ctx, 0)
	if err != nil {
		return n.Explain(fmt.Errorf("%s: %w", when, err))
	}
	if stored != answered {
		return &CountError{When: when, Answered: answered, Stored: stored}
	}
	return nil
}

// drain ends a server and returns how long that took: the last flush is in it.
func (n *node) drain(limit time.Duration) (time.Duration, error) {
	if n.api != nil {
		n.api.close()
	}
	start := time.Now()
	err := n.Stop(limit)
	return time.Since(start), err
}

// settle brings tables to where they are most of the time after so much has come at
// once: merged, with what KPIs are answered from.
func (n *node) settle(ctx context.Context) error {
	if err := n.api.flush(ctx); err != nil {
		return err
	}
	if err := n.api.maintenance(ctx, "run"); err != nil {
		return err
	}
	if _, err := n.api.kpi(ctx, asked{name: "organisation_summary"}); err != nil {
		return err
	}
	return n.rest(ctx, time.Second)
}

// rest waits until the server does next to nothing for as long as look: after a start
// it makes ready what it answers from.
func (n *node) rest(ctx context.Context, look time.Duration) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	before, err := n.Usage()
	for err == nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		var now Usage
		if now, err = n.Usage(); err == nil && now.CPU-before.CPU < look/20 {
			return nil
		}
		before = now
	}
	return err
}
