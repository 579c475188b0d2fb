package bench

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	maxOutput   = 64 << 10 // last bytes of a server's output that are kept
	shownOutput = 2 << 10  // of which an error shows so many
	killWait    = 5 * time.Second
	pollEvery   = 5 * time.Millisecond
)

// Process is a server under measurement, in a process group of its own. It is
// safe for concurrent use.
type Process struct {
	name string
	cmd  *exec.Cmd
	out  *output
	done chan struct{}
	end  error // of the process; read after done
}

// Start runs a program until Stop, Kill or the end of ctx; the last two kill its
// whole group.
func Start(ctx context.Context, name, binary string, args, env []string) (*Process, error) {
	p := &Process{name: name, out: &output{}, done: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, binary, args...)
	p.cmd.Env = append(inherited(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Cancel = func() error { return syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }
	p.cmd.WaitDelay = killWait
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() { // ends with the process; Stop and Kill wait for it
		p.end = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// inherited is the environment without settings of mailwake, so that a run
// depends on its options only.
func inherited() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "MAILWAKE_") {
			env = append(env, e)
		}
	}
	return env
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Usage returns what the process has used so far. After its end CPU is exact and
// the memory figures are 0.
func (p *Process) Usage() (Usage, error) {
	select {
	case <-p.done:
		return Usage{CPU: p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()}, nil
	default:
		u, err := usageOf(p.PID())
		if err == nil {
			err = u.addChildren(p.PID())
		}
		if err != nil {
			return u, p.Explain(err)
		}
		return u, nil
	}
}

// Stop asks the process to end (SIGTERM) and waits. It is an error if the process
// takes longer than limit, when it is killed, or ends with a status other than 0.
func (p *Process) Stop(limit time.Duration) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already, which is seen below
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.Kill()
		return fmt.Errorf("stop %s: it was still running after %v%s", p.name, limit, p.lastOutput())
	}
	if p.end != nil {
		return fmt.Errorf("stop %s: %w%s", p.name, p.end, p.lastOutput())
	}
	return nil
}

// Kill ends the process and its group at once and waits. Killing an ended process
// does nothing.
func (p *Process) Kill() {
	select {
	case <-p.done:
	default:
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
		<-p.done
	}
}

// hold lets the process and its group stand still until resume: what it was doing, and
// what it had put off, waits.
func (p *Process) hold() error { return p.signalGroup(syscall.SIGSTOP) }

func (p *Process) resume() error { return p.signalGroup(syscall.SIGCONT) }

func (p *Process) signalGroup(s syscall.Signal) error {
	if err := syscall.Kill(-p.PID(), s); err != nil {
		return p.Explain(fmt.Errorf("%v to %s: %w", s, p.name, err))
	}
	return nil
}

// Explain adds to an error of its client how the process ended, if it did.
func (p *Process) Explain(err error) error {
	if err == nil {
		return nil
	}
	limit := time.Duration(0)
	if _, lost := errors.AsType[*url.Error](err); lost || errors.Is(err, errClosed) {
		limit = time.Second // a dying process closes its connections first
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		return err
	}
	return fmt.Errorf("%w; %s ended: %s%s", err, p.name, p.cmd.ProcessState, p.lastOutput())
}

// Output returns the last 64 KiB that the process wrote.
func (p *Process) Output() string { return p.out.String() }

func (p *Process) lastOutput() string {
	text := strings.TrimSpace(p.out.String())
	if text == "" {
		return ""
	}
	if len(text) > shownOutput {
		text = "…" + text[len(text)-shownOutput:]
	}
	return "; its last output:\n" + text
}

// await asks ready again and again until it answers true, and returns why that
// will not happen: an error of ready, the end of the process, time.
func (p *Process) await(ctx context.Context, limit time.Duration, ready func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		ok, err := ready(ctx)
		if err != nil && ctx.Err() == nil {
			return p.Explain(err)
		}
		if ok {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("start %s: it ended: %s%s", p.name, p.cmd.ProcessState, p.lastOutput())
		case <-ctx.Done():
			return fmt.Errorf("start %s: not ready: %w%s", p.name, ctx.Err(), p.lastOutput())
		case <-ticker.C:
		}
	}
}

// output keeps the end of what is written to it.
type output struct {
	mu   sync.Mutex
	text []byte
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, b...)
	if over := len(o.text) - maxOutput; over > 0 {
		o.text = append(o.text[:0], o.text[over:]...)
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}
