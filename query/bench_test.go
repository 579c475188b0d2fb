package query

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

// BenchmarkCatchUp is the cost of taking tail rows into a segment, by the number
// that is new since the last query.
func BenchmarkCatchUp(b *testing.B) {
	for _, n := range []int{1, 100, 10_000, 200_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := newWorld(b)
			db := w.open(nil)
			s, err := db.store(1)
			if err != nil {
				b.Fatal(err)
			}
			events := realistic(rand.New(rand.NewPCG(1, 2)), n, 1000)
			var rows int
			for b.Loop() {
				b.StopTimer()
				w.mu.Lock()
				w.org(1).tail = nil
				w.org(1).from = w.org(1).to
				w.mu.Unlock()
				w.add(1, events...)
				b.StartTimer()
				l, err := s.lease(b.Context(), (*Rules).readable)
				if err != nil {
					b.Fatal(err)
				}
				l.release()
				rows += n
			}
			b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// realistic returns events as mail makes them: each pair of email and recipient is
// sent, a third opens, some of them several times and some by machines, few click.
func realistic(r *rand.Rand, n, emails int) []event.Interaction {
	events := make([]event.Interaction, n)
	for i := range events {
		in := event.Interaction{
			ID: int64(i + 1), OccurredAt: event.Micros(1.75e15 + float64(i)*1e5), ReceivedAt: event.Micros(1.75e15 + float64(i)*1e5), Kind: event.Sent,
			Email: event.EmailID(1 + i*emails/n), Recipient: event.RecipientID(1 + r.IntN(500)), Actor: event.Human, Reason: "browser",
			Device: event.Mobile, Client: "Apple Mail", OS: "iOS", Source: event.Pixel, UserAgent: "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15",
		}
		switch k := r.IntN(10); {
		case k < 4:
			in.Kind = event.Open
		case k < 5:
			in.Kind, in.Component = event.Click, int32(1+r.IntN(5))
		}
		if r.IntN(3) == 0 {
			in.Actor = event.Prefetch
		}
		events[i] = in
	}
	return events
}

// BenchmarkKPI asks each KPI over 1 M rows in ten files and 100,000 hot rows, with
// nothing new in between.
func BenchmarkKPI(b *testing.B) {
	w := newWorld(b)
	db := w.open(nil)
	const emails = 1100
	events := realistic(rand.New(rand.NewPCG(3, 4)), 1_100_000, emails)
	for range 10 {
		w.add(1, events[:100_000]...)
		w.flush(1, 100_000)
		events = events[100_000:]
	}
	w.add(1, events...)
	o := w.org(1)
	for id := range event.EmailID(emails) {
		o.emails = append(o.emails, registry.Email{ID: id + 1, Subject: "Subject"})
	}
	for id := range event.RecipientID(500) {
		o.recipients = append(o.recipients, registry.Recipient{ID: id + 1, Address: "a@example.com"})
	}
	for _, c := range []struct {
		name   string
		params map[string]string
	}{
		{"organisation_summary", nil},
		{"email_summary", nil},
		{"email_summary", map[string]string{"email": "77"}},
		{"email_timeline", nil},
		{"email_timeline", map[string]string{"email": "77"}},
		{"email_timeline", map[string]string{"email": "77", "zone": "Europe/Berlin"}},
		{"recipient_activity", nil},
		{"recipient_activity", map[string]string{"email": "1077"}},
		{"recipient_activity", map[string]string{"recipient": "7"}},
	} {
		b.Run(fmt.Sprint(c.name, c.params), func(b *testing.B) {
			for b.Loop() {
				res, err := db.KPI(b.Context(), Request{Org: 1, Persons: true, Name: c.name, Params: c.params})
				if err != nil {
					b.Fatal(err)
				}
				res.Close()
			}
		})
	}
	b.Run("fresh organisation count", func(b *testing.B) {
		for b.Loop() {
			w.add(1, events[0])
			res, err := db.SQL(b.Context(), Statement{Org: 1, Text: "SELECT count(*) FROM interactions WHERE email_id = 77"})
			if err != nil {
				b.Fatal(err)
			}
			res.Close()
		}
	})
}
