package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"

	"mailwake/engine/event"
)

// worker is a running process, seen from outside. Its holder talks to it; anybody
// may kill it.
type worker struct {
	key       workerKey
	dir       string
	cmd       *exec.Cmd
	end       *parentEnd
	idleUntil *time.Timer // while idle
	grow      func()      // while taken: lets the next statement run

	// What it was fed so far; who feeds holds feeding.
	feeding   sync.Mutex
	asked     time.Time // when a statement was
	ahead     time.Time // when it had all rows, or they could not be had, or asked
	pulled    event.Position
	from      event.Position
	mark      catalogMark
	consented bool // it has the lists of consent below
	consent   uint64
	optIn     bool
	pins      map[string]int // path of a data file -> its number
	nextPin   int
	tables    string // version of the aggregate tables it has

	killing sync.Once
	exited  chan struct{} // closed when the process is gone and its folder removed
	logger  *slog.Logger
}

// startWorker starts a process and waits until it is confined.
func startWorker(ctx context.Context, o *Options, key workerKey, dir string) (_ *worker, err error) {
	data, childData, err := socketPair(false)
	if err != nil {
		return nil, err
	}
	files, childFiles, err := socketPair(true)
	if err != nil {
		return nil, errors.Join(err, data.Close(), childData.Close())
	}
	root := os.Geteuid() == 0
	if root {
		if err := os.Chown(dir, o.Worker.UID, o.Worker.GID); err != nil {
			return nil, errors.Join(fmt.Errorf("give folder to worker: %w", err), data.Close(), files.Close(), childData.Close(), childFiles.Close())
		}
	}
	p := &worker{key: key, dir: dir, pins: map[string]int{}, exited: make(chan struct{}), logger: o.Worker.Logger}
	cmd, namespaces, err := startProcess(o.Worker.Command, dir, root, childData, childFiles)
	// Else the end of a process that does not come up would not be seen.
	_, _ = childData.Close(), childFiles.Close()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start worker: %w", err), data.Close(), files.Close())
	}
	p.cmd, p.end = cmd, newParentEnd(data, files)
	go p.wait()
	stop := context.AfterFunc(ctx, func() { p.kill("its caller left") })
	defer stop()
	threads := max(1, o.Threads/o.Worker.perOrg())
	setup := workerSetup{
		Dir: dir, Org: key.org, Persons: key.persons, Threads: threads, Memory: o.Worker.Memory,
		Processor: time.Duration(threads) * o.Worker.Timeout,
		Confine:   confinement{Root: root, UID: o.Worker.UID, GID: o.Worker.GID, Namespaces: namespaces},
	}
	ready, err := p.greet(setup)
	if err != nil {
		p.kill("it does not start")
		return nil, fmt.Errorf("start worker: %w", errors.Join(ctx.Err(), err))
	}
	level := slog.LevelDebug
	if len(ready.Missing) > 0 {
		level = slog.LevelInfo // what the system does not permit, whoever runs it should know
	}
	o.Worker.Logger.Log(ctx, level, "SQL worker started", "org", key.org, "persons", key.persons, "pid", p.cmd.Process.Pid, "confined", ready.Confined, "missing", ready.Missing)
	return p, nil
}

// greet sends the setup and waits for the worker to be ready.
func (p *worker) greet(setup workerSetup) (ready workerReady, err error) {
	if err := p.end.data.SetDeadline(time.Now().Add(workerStart)); err != nil {
		return ready, err
	}
	if err := p.end.orders.Encode(setup); err != nil {
		return ready, err
	}
	kind, payload, err := readFrame(p.end.frames, p.end.buf)
	if err != nil {
		return ready, err
	}
	if kind != frameReady {
		var end workerEnd
		_ = json.Unmarshal(payload, &end)
		return ready, fmt.Errorf("worker is not ready: %s", end.Internal)
	}
	if err := json.Unmarshal(payload, &ready); err != nil {
		return ready, err
	}
	return ready, p.end.data.SetDeadline(time.Time{})
}

// kill ends the process, whatever it does, and frees what was its. It returns
// at once; exited tells when it is over.
func (p *worker) kill(why string) {
	p.killing.Do(func() {
		p.logger.Debug("SQL worker ends", "org", p.key.org, "pid", p.cmd.Process.Pid, "why", why)
		_ = p.cmd.Process.Kill() // it may be gone already
		_ = p.end.close()
	})
}

// wait reaps the process and removes its folder.
func (p *worker) wait() {
	_ = p.cmd.Wait() // a killed process is no news
	_ = os.RemoveAll(p.dir)
	close(p.exited)
}

// unixConn makes a connection of an inherited file, which it closes.
func unixConn(f *os.File) (*net.UnixConn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("connect worker: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("connect worker: not a Unix socket"), c.Close())
	}
	return u, nil
}
