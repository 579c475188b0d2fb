package bench

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"mailwake/engine/event"
)

func planned(t testing.TB, w World) *worldPlan {
	t.Helper()
	p, err := w.plan()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The same world is the same bytes, whatever the batches are; another seed gives others.
func TestWorldIsDeterministic(t *testing.T) {
	sum := func(seed uint64, batch int) string {
		h := sha256.New()
		planned(t, World{Seed: seed, Events: 20_000}).make(batch, func(r *rows) bool {
			if err := r.ndjson(h); err != nil {
				t.Fatal(err)
			}
			return true
		})
		return hex.EncodeToString(h.Sum(nil)[:8])
	}
	const golden = "89363c82904c829f"
	if a, b, c := sum(1, 1000), sum(1, 777), sum(2, 1000); a != golden || b != golden || c == golden {
		t.Errorf("worlds %s, %s and, of another seed, %s; want %s", a, b, c, golden)
	}
}

func TestWorldIsRealistic(t *testing.T) {
	const events = 300_000
	p := planned(t, World{Seed: 7, Events: events})
	var total int64
	kinds, humans, days := map[event.Kind]int{}, 0, map[int64]int{}
	sends, firstSent := map[int64]int{}, map[int64]int64{}
	p.make(10_000, func(r *rows) bool {
		for i := range r.at {
			kind := event.Kind(r.kind[i]) //nolint:gosec // a kind
			kinds[kind]++
			if kind == event.Sent {
				sends[r.email[i]]++
				if _, ok := firstSent[r.email[i]]; !ok {
					firstSent[r.email[i]] = r.at[i] / dayMicros
				}
			} else if kind == event.Open && r.agent[i] >= int8(readers.from) { //nolint:gosec // twenty agents
				humans++
				days[r.at[i]/dayMicros-firstSent[r.email[i]]]++
			}
			if r.email[i] < 1 || r.email[i] > int64(len(p.mails)) || r.recipient[i] < 1 || r.recipient[i] > int64(p.People) {
				t.Fatalf("email %d of %d, recipient %d of %d", r.email[i], len(p.mails), r.recipient[i], p.People)
			}
		}
		total += int64(r.len())
		return true
	})
	if total != events {
		t.Errorf("%d events of %d", total, events)
	}
	small, largest := 0, 0
	for _, n := range sends {
		largest = max(largest, n)
		if n < 20 {
			small++
		}
	}
	if small < len(sends)/2 || largest != p.People {
		t.Errorf("%d of %d emails are small, the largest has %d of %d people", small, len(sends), largest, p.People)
	}
	for kind := event.Open; kind <= event.Unsubscribed; kind++ {
		if kinds[kind] == 0 {
			t.Errorf("no %v among %v", kind, kinds)
		}
	}
	if days[0] < humans*4/10 || days[1] < days[3] || days[3] < days[8] || days[8] == 0 {
		t.Errorf("opens by day: %v", days)
	}
	if per := float64(events) / float64(kinds[event.Sent]); per < eventsPerSend*0.8 || per > eventsPerSend*1.2 {
		t.Errorf("%.2f events per copy sent, said to be %.2f", per, eventsPerSend)
	}
}

// Both forms of a body say the same.
func TestBodiesAgree(t *testing.T) {
	planned(t, World{Seed: 3, Events: 5000}).make(5000, func(r *rows) bool {
		var lines, stream bytes.Buffer
		if err := r.encode(&lines, formatNDJSON); err != nil {
			t.Fatal(err)
		}
		if err := r.encode(&stream, formatArrow); err != nil {
			t.Fatal(err)
		}
		in, err := ipc.NewReader(&stream)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Release()
		if !in.Next() {
			t.Fatal(in.Err())
		}
		rec, d := in.RecordBatch(), json.NewDecoder(&lines)
		for i := range int(rec.NumRows()) {
			var line struct {
				At        int64  `json:"occurred_at"`
				Kind      string `json:"kind"`
				Recipient int64  `json:"recipient_id"`
				Agent     string `json:"user_agent"`
				Actor     string `json:"actor"`
			}
			if err := d.Decode(&line); err != nil {
				t.Fatal(err)
			}
			text := func(column int) string {
				c := rec.Column(column).(*array.Dictionary)
				if c.IsNull(i) {
					return ""
				}
				return c.Dictionary().(*array.String).Value(c.GetValueIndex(i))
			}
			at, recipient := int64(rec.Column(0).(*array.Timestamp).Value(i)), rec.Column(3).(*array.Int64).Value(i)
			if at != line.At || recipient != line.Recipient || text(1) != line.Kind || text(5) != line.Agent || text(6) != line.Actor {
				t.Fatalf("row %d: %+v and %s", i, line, rec)
			}
		}
		return true
	})
}

func BenchmarkWorld(b *testing.B) {
	const events = 1_000_000
	for b.Loop() {
		planned(b, World{Seed: 1, Events: events}).make(50_000, func(r *rows) bool { return r.arrow(nopCloser{&bytes.Buffer{}}) == nil })
	}
	b.ReportMetric(events*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
