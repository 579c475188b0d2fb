package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"

	"mailwake/engine/problem"
)

// RunWorker is the whole life of a worker process: it confines itself, then
// answers statements until the process that started it closes the connection,
// which it has as descriptors 3 and 4. It returns the exit status.
func RunWorker() int {
	// The system ties the signal of a dead parent to the thread that asks for it.
	runtime.LockOSThread()
	data, err := inherited(3)
	if err != nil {
		return 1
	}
	files, err := inherited(4)
	if err != nil {
		return 1
	}
	c := &child{end: newChildEnd(data, files)}
	if err := c.run(context.Background()); err != nil && !errors.Is(err, io.EOF) {
		// Nobody reads what a worker prints; its parent hears it.
		_ = writeJSONFrame(c.end.frames, frameEnd, workerEnd{Internal: err.Error()})
		_ = c.end.frames.Flush()
		return 1
	}
	return 0
}

func inherited(fd uintptr) (*net.UnixConn, error) { return unixConn(os.NewFile(fd, "worker")) }

// child is a worker process, seen from inside.
type child struct {
	end    *childEnd
	setup  workerSetup
	gate   *gate
	engine statementEngine
}

// statementEngine holds the rows of one organisation and answers from them.
type statementEngine interface {
	// take brings the engine up to an order; its statement is not its business.
	take(ctx context.Context, o *workerOrder) error
	// surface is what statements may name.
	surface() surface
	// answer runs a statement that has passed the gate.
	answer(ctx context.Context, q question, out resultWriter) error
}

func (c *child) run(ctx context.Context) error {
	if err := c.end.orders.Decode(&c.setup); err != nil {
		return err
	}
	ready, err := c.prepare(ctx)
	if err != nil {
		return err
	}
	if err := writeJSONFrame(c.end.frames, frameReady, ready); err != nil {
		return err
	}
	if err := c.end.frames.Flush(); err != nil {
		return err
	}
	orders := make(chan *workerOrder)
	go c.receive(orders)
	for o := range orders {
		if err := c.engine.take(ctx, o); err != nil {
			return fmt.Errorf("take order: %w", err)
		}
		if o.Statement == nil {
			continue
		}
		if err := c.serve(ctx, *o.Statement); err != nil {
			return err
		}
	}
	return nil
}

// prepare confines the process as early as it can: before the first byte of
// anybody's data, and before the first foreign statement.
func (c *child) prepare(ctx context.Context) (ready workerReady, err error) {
	if err := os.Chdir(c.setup.Dir); err != nil {
		return ready, err
	}
	c.setup.Confine.enter(&ready, &c.setup.Dir)
	if c.gate, err = newGate(); err != nil {
		return ready, err
	}
	if c.setup.Persons {
		c.engine, err = newPersonEngine(ctx, c.setup, c.end.files)
	} else {
		c.engine, err = newTotalsEngine(ctx, c.setup)
	}
	if err != nil {
		return ready, err
	}
	c.setup.Confine.lock(&ready, c.setup)
	return ready, nil
}

// receive reads orders beside the work, so that the end of the parent ends the
// process in the middle of a statement.
func (c *child) receive(orders chan<- *workerOrder) {
	for {
		o := new(workerOrder)
		if err := c.end.orders.Decode(o); err != nil {
			os.Exit(0)
		}
		orders <- o
	}
}

// serve answers one statement. It returns an error when the process must not go
// on: its instance is in doubt or its parent is gone.
func (c *child) serve(ctx context.Context, st workerStatement) error {
	limited, cancel := context.WithTimeout(ctx, st.Timeout)
	defer cancel()
	limitProcessor(c.setup.Processor)
	out := &ipcWriter{to: c.end.frames, limit: st.Limit, maxBytes: st.Bytes}
	err := c.answer(limited, st, out)
	end := workerEnd{Rows: out.rows, Truncated: out.truncated}
	if err == nil {
		err = out.close()
	}
	if err != nil {
		err = explain(ctx, limited, err, out.question, out.prefix, c.setup.hidden())
		end = endOf(err)
	}
	if err := errors.Join(writeJSONFrame(c.end.frames, frameEnd, end), c.end.frames.Flush()); err != nil {
		return err
	}
	if end.Internal != "" {
		return io.EOF // told already
	}
	return nil
}

func (c *child) answer(ctx context.Context, st workerStatement, out *ipcWriter) error {
	out.question = question{text: st.Text, typed: st.Text, foreign: true, limit: st.Limit}
	p, err := c.gate.check(ctx, st.Text, c.engine.surface())
	if err != nil {
		return err
	}
	out.question.text, out.question.places = p.text, p.places
	return c.engine.answer(ctx, out.question, out)
}

func endOf(err error) workerEnd {
	p, internal := problem.Of(err), ""
	if p.Code == "internal" {
		internal = strings.ToValidUTF8(err.Error(), "?")
		// DuckDB calls its own faults internal, most of them of planning an odd statement.
		e, ok := exceptionOf(err)
		if !ok || !strings.EqualFold(e.Type, "INTERNAL") {
			return workerEnd{Internal: internal}
		}
		p = problem.New(422, "sql_failed", "DuckDB fails at this statement by a fault of its own; put it in other words.")
	}
	return workerEnd{Status: p.Status, Code: p.Code, Detail: p.Detail, Internal: internal}
}

// hidden are texts of the inside that no message may show.
func (s *workerSetup) hidden() []string { return []string{pinPrefix, "/org-", "/worker-"} }
