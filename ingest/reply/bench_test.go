package reply_test

import (
	"strings"
	"testing"

	"mailwake/ingest/reply"
)

// What one reply costs from the raw mail to its settlement: two transactions of
// the registry and one group of the log.
func BenchmarkDeliver(b *testing.B) {
	w := newWorld(b)
	parent := "In-Reply-To: " + w.parent(w.acme, 1, 1)
	for b.Loop() {
		w.must(w.acme, text("From: bob@example.com", parent), reply.Recorded)
	}
}

func BenchmarkRead(b *testing.B) {
	head := "From: bob@example.com\r\nSubject: Re: Offer\r\nReferences: " + strings.Repeat("<0123456789012345678901234567890123456789@example.com>\r\n ", 20) + "<a@b>\r\n"
	for name, body := range map[string]string{"small": "Thank you.\r\n", "10 MB": strings.Repeat("0123456789abcdef0123456789abcdef\r\n", 10<<20/34)} {
		raw := head + strings.Repeat("Received: from a.example by b.example; Thu, 1 Jan 2026 00:00:00 +0000\r\n", 30) + "\r\n" + body
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if _, err := reply.Read(strings.NewReader(raw), nil, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
