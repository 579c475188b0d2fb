package retention

import (
	"bufio"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"mailwake/engine/lake"
)

// workshop is where merges are worked out, one after another by each of its workers:
// a process takes a tenth of a second of a core to start. Copies share the workers.
type workshop struct {
	command []string // of a program that calls RunWorker; empty: this process
	giveWay bool
	rollups string       // see job
	idle    chan *worker // nil: a worker ends with its first merge
}

// newWorkshop returns one that is to be closed.
func newWorkshop(command []string, giveWay bool) workshop {
	return workshop{command: command, giveWay: giveWay, idle: make(chan *worker, eraseWorkers)}
}

// close ends the workers. No merge may be under way.
func (w workshop) close() {
	for len(w.idle) > 0 {
		_ = (<-w.idle).end()
	}
}

// merge writes the rows of files that c keeps to files of t.
func (w workshop) merge(ctx context.Context, l *lake.Lake, t *lake.Table, files []lake.File, c *cull, fileBytes int64, told func(int64)) (out []lake.File, counts Counts, err error) {
	in := t.Receive()
	j := job{Policy: *c.policy, At: c.at, FileBytes: fileBytes, Group: rowGroup, GiveWay: w.giveWay, Place: in.Place(), Rollups: w.rollups}
	for _, f := range files {
		path, release, err := l.Local(ctx, f)
		if err != nil {
			return nil, counts, err
		}
		defer release()
		j.Files = append(j.Files, jobFile{path, f.Path, f.Bytes, f.Sum})
	}
	counts, err = w.do(ctx, &j, in, told)
	if err = errors.Join(err, in.Close()); err != nil {
		return nil, counts, errors.Join(err, t.Discard(ctx, in.Files()))
	}
	return in.Files(), counts, nil
}

// do has a worker do j. One that fails, or whom ctx ends, does no other.
func (w workshop) do(ctx context.Context, j *job, in *lake.Receiver, told func(int64)) (Counts, error) {
	busy, err := w.take(ctx)
	if err != nil {
		return Counts{}, fmt.Errorf("start worker: %w", err)
	}
	left := context.AfterFunc(ctx, busy.cancel)
	counts, err := busy.do(ctx, j, in, told)
	if !left() || err != nil {
		ended := busy.end()
		if err != nil {
			err = errors.Join(err, ended)
		}
		return counts, err
	}
	select {
	case w.idle <- busy:
	default:
		_ = busy.end()
	}
	return counts, nil
}

func (w workshop) take(ctx context.Context) (*worker, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case idle := <-w.idle:
		return idle, nil
	default:
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	start := startHere
	if len(w.command) > 0 {
		start = w.start
	}
	orders, parts, wait, err := start(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	return &worker{gob.NewEncoder(orders), gob.NewDecoder(bufio.NewReader(parts)), cancel, wait}, nil
}

// worker does one job at a time.
type worker struct {
	orders *gob.Encoder
	parts  *gob.Decoder
	cancel context.CancelFunc
	wait   func() error
}

// end stops the worker, whatever it does, and returns how it ended.
func (w *worker) end() error {
	w.cancel()
	return w.wait()
}

// do takes what the worker makes until it is done.
func (w *worker) do(ctx context.Context, j *job, in *lake.Receiver, told func(int64)) (Counts, error) {
	if err := w.orders.Encode(j); err != nil {
		return Counts{}, errors.Join(ctx.Err(), fmt.Errorf("order from worker: %w", err))
	}
	for {
		var p part
		if err := w.parts.Decode(&p); err != nil {
			return Counts{}, errors.Join(ctx.Err(), fmt.Errorf("hear from worker: %w", err))
		}
		switch {
		case p.Failed != "":
			return Counts{}, errors.Join(ctx.Err(), errors.New(p.Failed))
		case p.Counts != nil:
			return *p.Counts, nil
		case p.Made != nil:
			if err := in.Take(ctx, *p.Made); err != nil {
				return Counts{}, err
			}
		default:
			told(p.Read)
		}
	}
}

// start begins a process that ends with ctx.
func (w workshop) start(ctx context.Context) (orders io.Writer, parts io.Reader, wait func() error, err error) {
	cmd := exec.CommandContext(ctx, w.command[0], w.command[1:]...) //nolint:gosec // our own program, from options
	// One core is taken at most, so that whoever wakes finds another.
	cmd.Env = []string{"GODEBUG=" + os.Getenv("GODEBUG"), "GOMAXPROCS=1"}
	cmd.Stderr = os.Stderr // of a panic; it prints nothing else
	orders, err = cmd.StdinPipe()
	if err != nil {
		return nil, nil, nil, err
	}
	parts, err = cmd.StdoutPipe()
	if err != nil {
		return nil, nil, nil, err
	}
	return orders, parts, cmd.Wait, cmd.Start()
}

// startHere is start without a process.
func startHere(ctx context.Context) (io.Writer, io.Reader, func() error, error) {
	ordersOut, orders := io.Pipe()
	parts, partsIn := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		partsIn.CloseWithError(work(ctx, ordersOut, partsIn, func() {}))
		_ = ordersOut.Close()
	}()
	return orders, parts, func() error {
		_ = orders.Close() // it may wait for another
		_ = parts.Close()  // or for somebody to read
		<-ended
		return nil
	}, nil
}
