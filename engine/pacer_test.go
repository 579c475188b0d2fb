package engine

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/wal"
)

// A flush rests three times as long as it worked, within bounds, and not when somebody
// waits or its context has ended.
func TestPacer(t *testing.T) {
	var hurries atomic.Bool
	after := func(worked time.Duration) (rested time.Duration) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		p := &pacer{done: ctx.Done(), hurries: hurries.Load, since: time.Now()}
		for _, piece := range []time.Duration{worked / 2, worked - worked/2} { // a piece alone may be too short
			time.Sleep(piece)
			p.rest()
		}
		from := time.Now()
		time.Sleep(worked)
		cancel()
		if p.rest(); time.Since(from) != worked {
			t.Errorf("after %v of work: rested though its context had ended", worked)
		}
		return p.takeRested()
	}
	synctest.Test(t, func(t *testing.T) {
		for worked, want := range map[time.Duration]time.Duration{
			time.Microsecond:        0,
			time.Millisecond:        3 * time.Millisecond,
			5 * time.Millisecond:    15 * time.Millisecond,
			400 * time.Millisecond:  50 * time.Millisecond,
			3000 * time.Millisecond: 50 * time.Millisecond,
		} {
			if got := after(worked); got != want {
				t.Errorf("after %v of work: rested for %v, want %v", worked, got, want)
			}
		}
		hurries.Store(true)
		if got := after(5 * time.Millisecond); got != 0 {
			t.Errorf("rested for %v though somebody waits", got)
		}
	})
	var never *pacer
	if never.rest(); never.takeRested() != 0 {
		t.Error("no pacer rests")
	}
}

// What a flush gives way to: nobody who waits for it, no tail that grows faster than it
// works, no log that fills.
func TestHurries(t *testing.T) {
	l, err := wal.Open(wal.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e := &Engine{opts: Options{LogLimit: 1000, FlushRows: 100, FlushBytes: 1000}, log: l}
	tail := &tail{rows: 199, bytes: 1999}
	if e.hurries(tail) {
		t.Error("an ordinary flush hurries")
	}
	if tail.rows = 200; !e.hurries(tail) {
		t.Error("so many rows that the next flush is due")
	}
	if tail.rows, tail.bytes = 0, 2000; !e.hurries(tail) {
		t.Error("so many bytes that the next flush is due")
	}
	tail.bytes = 0
	if _, err := l.Append(t.Context(), wal.Frame(nil, make([]byte, 501)), 1); err != nil {
		t.Fatal(err)
	}
	if !e.hurries(tail) {
		t.Error("the log is half full")
	}
	e.opts.LogLimit = 1 << 20
	if e.hurries(tail) {
		t.Error("the log is empty again")
	}
	tail.flushing.Lock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		tail.hurry()
	}()
	for !e.hurries(tail) { // until it waits
	}
	tail.flushing.Unlock()
	<-done
	if e.hurries(tail) {
		t.Error("nobody waits any more")
	}
}

// Gathering, sorting and building leave room for rests.
func TestGatherRests(t *testing.T) {
	rows := 20 * restRows
	tail := &tail{}
	for i := range rows {
		in := event.Interaction{Org: 1, Kind: event.Open, Email: 1, Recipient: event.RecipientID(rows - i)}
		tail.append(event.PositionOf(uint64(1+i/100), i%100), event.AppendRow(nil, &in))
	}
	asked := 0
	p := &pacer{hurries: func() bool { asked++; return true }} // it has worked since long ago
	g := gather(&View{chunks: tail.chunks, to: event.PositionOf(uint64(rows), 0)}, p)
	if asked < 20 || g.Len() != rows {
		t.Errorf("%d rows gathered, with %d chances to rest", g.Len(), asked)
	}
	asked = 0
	for batch := range g.Batches {
		batch.Release()
	}
	if asked < 16 { // the sort's and a column each
		t.Errorf("%d chances to rest while sorting and building", asked)
	}
}
