package reply_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/registry"
	"mailwake/engine/wal"
	"mailwake/ingest/reply"
)

func TestDuplicates(t *testing.T) {
	w := newWorld(t)
	mail := text("From: bob@example.com", "In-Reply-To: "+w.parent(w.acme, 1, 1))
	both := strings.Replace(mail, "\r\n\r\n", "\r\nReferences: "+w.parent(w.other, 1, 1)+"\r\n\r\n", 1)
	outcomes := map[reply.Outcome]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			r, err := w.deliver(w.acme, mail)
			mu.Lock()
			defer mu.Unlock()
			outcomes[r.Outcome]++
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if rows := w.recorded(w.acme); len(rows) != 1 || outcomes[reply.Recorded] != 1 || outcomes[reply.Duplicate] != 49 {
		t.Errorf("%d rows, outcomes %v", len(rows), outcomes)
	}
	w.must(w.other, both, reply.Recorded) // another organisation's mail in the same thread
	w.close()
	w.open()
	w.must(w.acme, mail, reply.Duplicate)
	w.clock.Add(int64(registry.ReplyMemory - time.Hour))
	w.must(w.acme, mail, reply.Duplicate)
	if a, o := w.recorded(w.acme), w.recorded(w.other); len(a) != 1 || len(o) != 1 {
		t.Errorf("%d and %d rows", len(a), len(o))
	}
}

// slow is an engine that appends slowly enough for a second caller to come in.
type slow struct {
	reply.Engine
	calls chan struct{}
}

func (s *slow) Append(ctx context.Context, in []event.Interaction) error {
	select {
	case s.calls <- struct{}{}: // the first call
		for range 300 {
			if len(s.calls) == cap(s.calls) {
				return errors.New("a second append of the same message")
			}
			<-time.After(time.Millisecond)
		}
	default:
	}
	return s.Engine.Append(ctx, in)
}

// Whoever comes while the same message is being recorded waits for its end.
func TestDuplicateWaits(t *testing.T) {
	w := newWorld(t)
	s := &slow{w.service.Engine, make(chan struct{}, 2)}
	w.service.Engine = s
	mail := text("From: bob@example.com", "In-Reply-To: "+w.parent(w.acme, 1, 1))
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := w.deliver(w.acme, mail); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if rows := w.recorded(w.acme); len(rows) != 1 {
		t.Errorf("%d rows", len(rows))
	}
}

// crashing is an engine or a registry that stops the process, as it were, before
// or after the step it takes.
type crashing struct {
	reply.Registry
	reply.Engine
	beforeAppend, afterAppend bool
	appendErr                 error
}

var errCrash = errors.New("the process ended")

func (c *crashing) Append(ctx context.Context, in []event.Interaction) error {
	if c.beforeAppend {
		return errCrash
	}
	if c.appendErr != nil {
		return c.appendErr
	}
	if err := c.Engine.Append(ctx, in); err != nil {
		return err
	}
	if c.afterAppend {
		return errCrash
	}
	return nil
}

// Between the claim, the log and the settlement a process may end anywhere; the
// sender tries again, and the reply is recorded once.
func TestOnceOverCrashes(t *testing.T) {
	for name, tc := range map[string]struct {
		crash crashing
		flush bool
		want  reply.Outcome
	}{
		"after the claim":            {crashing{beforeAppend: true}, false, reply.Recorded},
		"after the log":              {crashing{afterAppend: true}, false, reply.Duplicate},
		"after the log, flushed":     {crashing{afterAppend: true}, true, reply.Duplicate},
		"after the claim, flushed":   {crashing{beforeAppend: true}, true, reply.Recorded},
		"refused":                    {crashing{appendErr: wal.ErrFull}, false, reply.Recorded},
		"refused, others in a table": {crashing{appendErr: wal.ErrFull}, true, reply.Recorded},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.must(w.acme, text("From: cy@example.com", "In-Reply-To: "+w.parent(w.acme, 1, 2)), reply.Recorded)
			mail := text("From: bob@example.com", "In-Reply-To: "+w.parent(w.acme, 1, 1))
			crash := tc.crash
			crash.Engine = w.service.Engine
			w.service.Engine = &crash
			if r, err := w.deliver(w.acme, mail); err == nil {
				t.Fatalf("%+v", r)
			}
			if tc.flush {
				if err := w.engine.Flush(t.Context(), w.acme); err != nil {
					t.Fatal(err)
				}
			}
			w.close()
			w.open()
			w.must(w.acme, mail, tc.want)
			w.must(w.acme, mail, reply.Duplicate)
			v, err := w.engine.View(t.Context(), w.acme)
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			rows := v.Snapshot().Rows()
			for range v.Rows(0) {
				rows++
			}
			if rows != 2 {
				t.Errorf("%d events, want 2", rows)
			}
		})
	}
}
