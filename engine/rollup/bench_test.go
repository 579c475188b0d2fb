package rollup

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"mailwake/engine/event"
)

// BenchmarkTail adds events of the same pairs again and again, as the tail does, and
// lets a State grow by files of them: 20,000 pairs that have 50 events each already.
func BenchmarkTail(b *testing.B) {
	const emails, recipients, each, flush = 20, 1000, 50, 40_000
	r := rand.New(rand.NewPCG(1, 2))
	dir := b.TempDir()
	files, serial := []*File(nil), 0
	write := func(rows []Event) {
		serial++
		f, err := build(b, dir, Source{Path: fmt.Sprint(serial), Bytes: 1}, rows)
		if err != nil {
			b.Fatal(err)
		}
		files = append(files, f)
	}
	at := event.Micros(1e15)
	var rows []Event
	for email := range event.EmailID(emails) {
		for recipient := range event.RecipientID(recipients) {
			for range each {
				at += 1000
				rows = append(rows, Event{Email: 1 + email, Recipient: 1 + recipient, ID: 1, At: at, Shape: Shape{Kind: event.Open, Actor: event.Human}})
			}
		}
	}
	write(rows)
	s := NewState()
	refresh := func(tail event.Position) {
		if _, err := s.Refresh(Basis{Files: files, Tail: tail}); err != nil {
			b.Fatal(err)
		}
	}
	refresh(0)
	var add, grow time.Duration
	n := 0
	for b.Loop() {
		tail := make([]Event, flush)
		for i := range tail {
			at += 1000
			tail[i] = Event{Email: 1 + event.EmailID(r.IntN(emails)), Recipient: 1 + event.RecipientID(r.IntN(recipients)), ID: 1, At: at, Shape: Shape{Kind: event.Open, Actor: event.Human}}
		}
		from := time.Now()
		for i := range tail {
			if err := s.Add(&tail[i]); err != nil {
				b.Fatal(err)
			}
		}
		add += time.Since(from)
		b.StopTimer()
		slices.SortFunc(tail, byKey)
		write(tail)
		b.StartTimer()
		from = time.Now()
		n++
		refresh(event.Position(n))
		grow += time.Since(from)
	}
	b.ReportMetric(float64(add.Nanoseconds())/float64(n*flush), "ns/added")
	b.ReportMetric(float64(grow.Nanoseconds())/float64(n*flush), "ns/grown")
}

// BenchmarkBuild writes rollups of events in the order of tables.
func BenchmarkBuild(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	rows := make([]Event, 200_000)
	for i := range rows {
		rows[i] = Event{Email: 1 + event.EmailID(r.IntN(50)), Recipient: 1 + event.RecipientID(r.IntN(5000)), ID: 1, At: event.Micros(1e15 + r.Int64N(1e12)),
			Shape: Shape{Kind: event.Open, Actor: event.Actor(r.IntN(3)), Device: "mobile", Client: "Apple Mail", OS: "iOS", Reason: "browser"}}
	}
	slices.SortFunc(rows, byKey)
	for b.Loop() {
		to, err := NewBuilder(b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		for i := range rows {
			if err := to.Add(&rows[i]); err != nil {
				b.Fatal(err)
			}
		}
		if err := to.Finish(Source{Path: "x", Bytes: 1}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(rows)), "ns/event")
}
