package retention

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"mailwake/engine/blob/blobtest"
	"mailwake/engine/event"
)

// remove erases a recipient: at once where it is in files, and for good.
func (w *world) remove() {
	who := event.RecipientID(300_000 + 1000*w.rng.IntN(8))
	w.logf("erase recipient %d", who)
	w.model.erased = append(w.model.erased, who)
	w.maintained(false)
	done, err := w.keep.RemoveRows(context.Background(), w.org, []event.RecipientID{who})
	if err != nil {
		w.t.Errorf("remove rows: %v", err)
	}
	for _, f := range w.model.facts {
		f.gone = f.gone || f.in.Recipient == who && f.inFiles
	}
	if done.Rewritten != len(done.Replaced) || done.Rewritten > done.Read || done.Rows < int64(done.Rewritten) {
		w.t.Errorf("removed %+v", done)
	}
}

// finish brings everything to rest: what has to go is nowhere any more, and the
// store holds nothing but what the table is made of.
func (w *world) finish() {
	w.logf("finish")
	for _, n := range w.nodes {
		w.flush(n)
		w.crash(n)
	}
	w.sweep()
	w.passes(26 * time.Hour) // what was lost is old enough
	w.sweep()
	// What was replaced last is gone one grace later, its manifests' entries with
	// the manifests that follow.
	for before := int64(-1); before != w.keep.Stats().Rewrites+w.keep.Stats().Manifests; {
		before = w.keep.Stats().Rewrites + w.keep.Stats().Manifests
		w.passes(2 * defaultGrace)
		w.sweep()
	}
	for _, n := range w.nodes {
		w.check(n)
	}
	for finding, err := range w.nodes[0].lake.Verify(context.Background(), "acme") {
		must(w.t, err)
		if finding.Damage || !strings.Contains(finding.Detail, "; 0 data blobs (0 bytes) in no snapshot") {
			w.t.Errorf("%s: %s", finding.Key, finding.Detail)
		}
	}
	w.search()
}

// search looks for what is gone in every byte that the store has.
func (w *world) search() {
	var texts []string
	var numbers [][]byte
	for _, f := range w.model.facts {
		if f.gone {
			w.tally.gone++
			texts = append(texts, f.marker)
			numbers = append(numbers, binary.LittleEndian.AppendUint64(nil, uint64(f.in.OccurredAt)))
		}
		if f.nulled {
			texts = append(texts, "agent "+f.marker)
		}
	}
	for _, key := range blobtest.Keys(w.t, w.store, "") {
		data := blobtest.Get(w.t, w.store, key)
		switch {
		case strings.HasSuffix(key, ".parquet"):
			rows, err := parquet.Read[parquetRow](bytes.NewReader(data), int64(len(data)))
			must(w.t, err)
			for i := range rows {
				in := rows[i].interaction()
				if slices.Contains(texts, in.Client) || slices.Contains(texts, in.UserAgent) {
					w.t.Errorf("%s holds %q", key, in.Client)
				}
			}
		case strings.HasSuffix(key, ".avro"):
			data = inflate(w, data)
			for _, number := range numbers {
				if bytes.Contains(data, number) {
					w.t.Errorf("%s holds the time of an event that is gone", key)
				}
			}
		}
		for _, text := range texts {
			if bytes.Contains(data, []byte(text)) {
				w.t.Errorf("%s holds %q", key, text)
			}
		}
	}
}

// inflate returns the blocks of an Avro object container file, decompressed.
func inflate(w *world, data []byte) []byte {
	long := func(b []byte) (int64, []byte) {
		v, n := binary.Varint(b)
		return v, b[n:]
	}
	b, codec := data[4:], ""
	for {
		n, rest := long(b)
		b = rest
		if n == 0 {
			break
		}
		if n < 0 { // followed by the size of the block
			n = -n
			_, b = long(b)
		}
		for range n {
			size, rest := long(b)
			name := string(rest[:size])
			size, rest = long(rest[size:])
			if name == "avro.codec" {
				codec = string(rest[:size])
			}
			b = rest[size:]
		}
	}
	b = b[16:]
	var out []byte
	for len(b) > 0 {
		_, rest := long(b)
		size, rest := long(rest)
		block := rest[:size]
		if codec == "deflate" {
			plain, err := io.ReadAll(flate.NewReader(bytes.NewReader(block)))
			must(w.t, err)
			block = plain
		} else if codec != "" && codec != "null" {
			w.t.Fatalf("codec %s", codec)
		}
		out, b = append(out, block...), rest[size+16:]
	}
	return out
}

// parquetRow is a row of a data file.
type parquetRow struct {
	EventID     int64   `parquet:"event_id"`
	OccurredAt  int64   `parquet:"occurred_at"`
	Delay       int64   `parquet:"delay"`
	Kind        string  `parquet:"kind"`
	EmailID     int64   `parquet:"email_id"`
	RecipientID int64   `parquet:"recipient_id"`
	Component   int32   `parquet:"component"`
	Actor       string  `parquet:"actor"`
	Reason      string  `parquet:"reason"`
	Device      string  `parquet:"device"`
	Client      string  `parquet:"client"`
	OS          string  `parquet:"os"`
	Source      string  `parquet:"source"`
	UserAgent   *string `parquet:"user_agent,optional"`
	Network     *string `parquet:"network,optional"`
}

func (r *parquetRow) interaction() event.Interaction {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	return event.Interaction{
		ID: r.EventID, OccurredAt: event.Micros(r.OccurredAt), ReceivedAt: event.Micros(r.OccurredAt + r.Delay),
		Kind:  event.Kind(slices.Index(event.Kinds(), r.Kind)),
		Email: event.EmailID(r.EmailID), Recipient: event.RecipientID(r.RecipientID), Component: r.Component,
		Actor: event.Actor(slices.Index(event.Actors(), r.Actor)), Reason: r.Reason,
		Device: event.Device(slices.Index(event.Devices(), r.Device)), Client: r.Client, OS: r.OS,
		Source:    event.Source(slices.Index(event.Sources(), r.Source)),
		UserAgent: text(r.UserAgent), Network: text(r.Network),
	}
}

// readParquet reads a data file with another implementation than the lake's.
func readParquet(path string) ([]event.Interaction, error) {
	rows, err := parquet.ReadFile[parquetRow](path)
	if err != nil {
		return nil, err
	}
	in := make([]event.Interaction, len(rows))
	for i := range rows {
		in[i] = rows[i].interaction()
	}
	return in, nil
}
