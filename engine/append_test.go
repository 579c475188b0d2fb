package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"mailwake/engine"
	"mailwake/engine/blob/blobtest"
	"mailwake/engine/event"
	"mailwake/engine/wal"
)

func TestAppendRefusesInvalidEvents(t *testing.T) {
	b := newBench(t)
	e := b.open()
	year := func(y int) event.Micros { return event.At(time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC)) }
	for name, spoil := range map[string]func(*event.Interaction){
		"no kind":               func(in *event.Interaction) { in.Kind = event.KindInvalid },
		"no email":              func(in *event.Interaction) { in.Email = 0 },
		"negative email":        func(in *event.Interaction) { in.Email = -1 },
		"no recipient":          func(in *event.Interaction) { in.Recipient = 0 },
		"negative recipient":    func(in *event.Interaction) { in.Recipient = -1 },
		"no time":               func(in *event.Interaction) { in.OccurredAt = 0 },
		"before 2000":           func(in *event.Interaction) { in.OccurredAt = year(2000) - 1 },
		"after 2200":            func(in *event.Interaction) { in.OccurredAt = year(2200) },
		"time in nanoseconds":   func(in *event.Interaction) { in.OccurredAt *= 1000 },
		"negative component":    func(in *event.Interaction) { in.Component = -1 },
		"a kind that is no one": func(in *event.Interaction) { in.Kind = event.Kind(len(event.Kinds())) },
		"an unknown actor":      func(in *event.Interaction) { in.Actor = event.Actor(len(event.Actors())) },
		"an unknown device":     func(in *event.Interaction) { in.Device = event.Device(len(event.Devices())) },
		"an unknown source":     func(in *event.Interaction) { in.Source = event.Source(len(event.Sources())) },
		"received before 2000":  func(in *event.Interaction) { in.ReceivedAt = year(2000) - 1 },
		"received after 2199":   func(in *event.Interaction) { in.ReceivedAt = year(2200) },
	} {
		t.Run(name, func(t *testing.T) {
			in := opens(b.org, 1, 3)
			spoil(&in[2])
			if err := e.Append(context.Background(), in); !errors.Is(err, event.ErrInvalid) {
				t.Errorf("append: %v, want ErrInvalid", err)
			}
			want(t, e, b.org, 1, 0)
		})
	}
	if s := e.Stats(); s.Appended != 0 || s.LogBytes != 0 {
		t.Errorf("refused events have left %+v", s)
	}
}

func TestAppendAcceptsTheBorders(t *testing.T) {
	b := newBench(t)
	e := b.open()
	in := opens(b.org, 1, 2)
	in[0].OccurredAt = event.At(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
	in[1].OccurredAt = event.At(time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)) - 1
	mustAppend(t, e, in)
	mustFlush(t, e, b.org)
	if c := want(t, e, b.org, 1, 2); len(c.files) != 2 {
		t.Errorf("view is %+v, want all of it in files", c)
	}
}

// What Append has taken must be possible to flush: an event that no Parquet file
// can hold would block its organisation for good.
func TestNoTextBlocksTheFlush(t *testing.T) {
	b := newBench(t)
	e := b.open()
	for i, text := range []string{"\xff\xfe", "cut \xe2\x82", "\x00", strings.Repeat("a", 5000), strings.Repeat("€", 5000), "-" + strings.Repeat("ä", 3000)} {
		in := opens(b.org, 2*i+1, 1)
		in[0].UserAgent, in[0].Client, in[0].OS, in[0].Reason, in[0].Network = text, text, text, text, text
		// Refusing is right as well.
		if err := e.Append(context.Background(), in); err != nil && !errors.Is(err, event.ErrInvalid) {
			t.Fatalf("append of text %d: %v", i, err)
		}
		mustAppend(t, e, opens(b.org, 2*i+2, 1))
		if err := e.Flush(context.Background(), b.org); err != nil {
			t.Fatalf("flush after text %d: %v", i, err)
		}
	}
	if s := e.Stats(); s.TailRows != 0 {
		t.Errorf("%d rows are left", s.TailRows)
	}
}

func TestAppendToUnknownOrganisation(t *testing.T) {
	b := newBench(t)
	e := b.open()
	// The call is one: its good events must not get in either.
	in := append(opens(b.org, 1, 2), opens(99, 3, 1)...)
	if err := e.Append(context.Background(), in); !errors.Is(err, engine.ErrUnknownOrg) {
		t.Errorf("append: %v, want ErrUnknownOrg", err)
	}
	if err := e.Flush(context.Background(), 99); !errors.Is(err, engine.ErrUnknownOrg) {
		t.Errorf("flush: %v, want ErrUnknownOrg", err)
	}
	if _, err := e.View(context.Background(), 99); !errors.Is(err, engine.ErrUnknownOrg) {
		t.Errorf("view: %v, want ErrUnknownOrg", err)
	}
	want(t, e, b.org, 1, 0)
}

func TestAppendToOrganisationCreatedLater(t *testing.T) {
	b := newBench(t)
	e := b.open()
	later := b.newOrg("later")
	mustAppend(t, e, append(opens(later, 1, 3), opens(b.org, 4, 2)...))
	want(t, e, later, 1, 3)
	want(t, e, b.org, 4, 2)
	e = b.reopen(e)
	want(t, e, later, 1, 3)
	want(t, e, b.org, 4, 2)
}

// Who posts never waits: a table is opened on the storage, which may hang.
func TestPostToOrganisationCreatedLater(t *testing.T) {
	b := newBench(t)
	e := b.open()
	later := b.newOrg("later")
	hang := make(chan struct{})
	b.store.Script(func(blobtest.Op, string) blobtest.Fault {
		<-hang
		return blobtest.Fault{}
	})
	in, told := opens(later, 1, 1), make(outcome, 2)
	if err := e.Post(in, told); err != nil {
		t.Fatal(err)
	}
	in[0] = event.Interaction{}
	posted := make(outcome, 2)
	if err := e.Post(opens(b.org, 2, 1), posted); err != nil {
		t.Fatal(err)
	}
	if err := <-posted; err != nil || len(told) > 0 {
		t.Fatalf("%v; told of the other one %d times", err, len(told))
	}
	close(hang)
	if err := <-told; err != nil {
		t.Fatal(err)
	}
	want(t, e, later, 1, 1)
	want(t, e, b.org, 2, 1)
}

func TestAppendTooMuch(t *testing.T) {
	b := newBench(t)
	b.opts.LogLimit = 64 << 10
	e := b.open()
	if err := e.Append(context.Background(), opens(b.org, 1, 70_000)); !errors.Is(err, wal.ErrTooLarge) {
		t.Errorf("append: %v, want ErrTooLarge", err)
	}
	mustAppend(t, e, opens(b.org, 1, 10))
	want(t, e, b.org, 1, 10)
}

func TestAppendWithoutCaller(t *testing.T) {
	b := newBench(t)
	e := b.open()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := e.Append(ctx, opens(b.org, 1, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("append: %v, want Canceled", err)
	}
	want(t, e, b.org, 1, 0)
}

func TestAfterClose(t *testing.T) {
	b := newBench(t)
	e := b.open()
	mustAppend(t, e, opens(b.org, 1, 2))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := e.Append(context.Background(), opens(b.org, 3, 1)); !errors.Is(err, wal.ErrClosed) {
		t.Errorf("append after Close: %v, want ErrClosed", err)
	}
	if err := e.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	want(t, b.open(), b.org, 1, 2)
}

func TestAppendDoesNotKeepItsArgument(t *testing.T) {
	b := newBench(t)
	e := b.open()
	in := opens(b.org, 1, 1)
	agent := []byte("Thunderbird")
	in[0].UserAgent = string(agent)
	mustAppend(t, e, in)
	in[0] = event.Interaction{}
	v, err := e.View(context.Background(), b.org)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for _, got := range v.Rows(0) {
		if got.Recipient != 1 || got.UserAgent != "Thunderbird" || got.ID <= 0 {
			t.Errorf("view shows %+v", got)
		}
	}
}

func TestStats(t *testing.T) {
	b := newBench(t)
	second := b.newOrg("second")
	e := b.open()
	if s := e.Stats(); s != (engine.Stats{}) {
		t.Fatalf("a new engine counts %+v", s)
	}
	mustAppend(t, e, opens(b.org, 1, 5))
	mustAppend(t, e, append(opens(b.org, 6, 1), opens(second, 1, 2)...))
	s := e.Stats()
	if s.Appended != 8 || s.TailRows != 8 || s.LogBytes <= 0 || s.TailAge <= 0 || s.Flushes != 0 || s.Flushed != 0 {
		t.Errorf("after appends: %+v", s)
	}
	mustFlush(t, e, b.org)
	s = e.Stats()
	if s.Flushed != 6 || s.Flushes != 1 || s.TailRows != 2 || s.LogBytes <= 0 || s.FlushFailures != 0 {
		t.Errorf("after a flush: %+v", s)
	}
	mustFlush(t, e, second)
	s = e.Stats()
	if s.Flushed != 8 || s.Flushes != 2 || s.TailRows != 0 || s.TailAge != 0 || s.LogBytes != 0 {
		t.Errorf("after the last flush: %+v", s)
	}
}

// A clock that jumps back gives later events earlier times, in earlier months
// too; ids and order in the log do not come from it.
func TestClockJumpsBack(t *testing.T) {
	b := newBench(t)
	e := b.open()
	n := 0
	for step, back := range []time.Duration{0, time.Second, 40 * 24 * time.Hour, 0, 400 * 24 * time.Hour} {
		in := opens(b.org, n+1, 10)
		for i := range in {
			in[i].OccurredAt = event.At(july.Add(-back))
			in[i].ReceivedAt = in[i].OccurredAt
		}
		mustAppend(t, e, in)
		n += len(in)
		want(t, e, b.org, 1, n)
		switch step {
		case 1, 3:
			mustFlush(t, e, b.org)
		case 2:
			e = b.reopen(e)
		}
		want(t, e, b.org, 1, n)
	}
	mustFlush(t, e, b.org)
	if c := want(t, b.reopen(e), b.org, 1, n); len(c.tail) != 0 {
		t.Errorf("%d events are still in the log", len(c.tail))
	}
}
