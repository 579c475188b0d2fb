package retention

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"mailwake/engine/blob/blobtest"
	"mailwake/engine/event"
	"mailwake/engine/registry"
)

// finish brings everything to rest: what has to go is nowhere any more, and the
// store holds nothing but what the table is made of.
func (w *world) finish() {
	w.logf("finish")
	for _, n := range w.nodes {
		w.flush(n)
		w.crash(n)
	}
	w.sweep()                // with what erasures left undone
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
		w.checkAnswers(n, w.check(n))
	}
	for finding, err := range w.nodes[0].lake.Verify(context.Background(), "acme") {
		must(w.t, err)
		if finding.Damage || !strings.Contains(finding.Detail, "; 0 data blobs (0 bytes) in no snapshot") {
			w.t.Errorf("%s: %s", finding.Key, finding.Detail)
		}
	}
	w.search()
	w.searchErased(w.erased()...)
	w.compareTold()
}

// compareTold holds what rollups say of who is in a data file against its rows.
func (w *world) compareTold() {
	n := w.nodes[0]
	table, err := n.lake.Table(context.Background(), "acme")
	must(w.t, err)
	for _, f := range table.Snapshot().Files() {
		for i := range people {
			r := event.RecipientID(apart*i + 1)
			told, known := n.db.Told(w.org, f, []event.RecipientID{r})
			holds, err := holdsAny(context.Background(), n.lake, f, func(id event.RecipientID) bool { return id == r })
			if must(w.t, err); known && told != holds {
				w.t.Errorf("%s holds recipient %d: %v, its rollup says %v", f.Path, r, holds, told)
			}
			if known {
				w.tally.told++
			}
		}
	}
}

// end purges the organisation: at its date, not before, through faults and crashes,
// and nobody else's data.
func (w *world) end() {
	if w.acme().State != registry.OrgTerminated {
		w.terminateOrReturn()
	}
	days := func(until time.Time) {
		for w.now.Before(until) {
			w.now = w.now.Add(min(24*time.Hour, until.Sub(w.now)))
			must(w.t, w.keep.Purge(context.Background()))
		}
	}
	n := w.nodes[0]
	w.now = w.acme().PurgeAt.Time().Add(-50 * time.Hour)
	days(w.acme().PurgeAt.Time().Add(-time.Microsecond))
	w.check(n)
	if w.rng.IntN(3) == 0 {
		due := w.acme().PurgeAt.Time()
		w.terminateOrReturn()
		days(due.Add(24 * time.Hour))
		w.check(n)
		w.terminateOrReturn()
		w.now = w.acme().PurgeAt.Time().Add(-50 * time.Hour)
		days(w.acme().PurgeAt.Time().Add(-time.Microsecond))
	}
	if w.t.Failed() {
		return
	}
	w.nodes[1].closeViews()
	if w.rng.IntN(3) == 0 {
		w.hold(n)
	}
	w.now = w.acme().PurgeAt.Time()
	w.logf("purge")
	for range w.rng.IntN(4) {
		if kind, err := w.twisted(false, w.keep.Purge); err == nil && kind != "crash" {
			break
		}
		w.checkViews(n)
	}
	n.closeViews()
	must(w.t, w.keep.Purge(context.Background()))
	p, err := w.reg.Purge(context.Background(), w.org)
	must(w.t, err)
	left, err := n.lake.Dropped(context.Background(), "acme")
	must(w.t, err)
	if p.FinishedAt == 0 || len(left) > 0 {
		w.t.Errorf("purge %+v left %q", p, left)
	}
	if everyByte(w.t, w.store, "warehouse/other/") != w.bytes {
		w.t.Error("another organisation's blobs changed")
	}
	w.tally.purged++
	wanted := map[string]bool{}
	for _, f := range w.model.facts {
		wanted[f.marker] = true
	}
	for i := range people * apart {
		wanted[mailbox(event.RecipientID(i+1))] = true
	}
	w.tidy()
	w.searchStore(wanted, nil)
	w.searchFolder(wanted)
}

// tidy has both processes clean up after themselves, as Run does.
func (w *world) tidy() {
	for _, n := range w.nodes {
		must(w.t, n.keep.tidy(context.Background()))
	}
	for _, f := range w.model.facts {
		f.mayBeFlushed = true
	}
}

// search looks for what is gone in every byte that the store has.
func (w *world) search() {
	wanted := map[string]bool{}
	var numbers [][]byte
	for _, f := range w.model.facts {
		if f.gone {
			w.tally.gone++
			wanted[f.marker] = true
			numbers = append(numbers, binary.LittleEndian.AppendUint64(nil, uint64(f.in.OccurredAt)))
		}
		if f.nulled {
			wanted["agent "+f.marker] = true
		}
	}
	for _, r := range w.erased() {
		if r > 3 { // else it may be an email's
			numbers = append(numbers, binary.LittleEndian.AppendUint64(nil, uint64(r)))
		}
	}
	w.searchStore(wanted, numbers)
}

// searchErased looks for what is gone of erased people in every byte there is, once
// the other process has cleaned up after itself. Rollups hold none of those
// named, of whom nothing came back since.
func (w *world) searchErased(named ...event.RecipientID) {
	w.tidy()
	wanted := map[string]bool{}
	erased := w.erased()
	for _, r := range erased {
		wanted[mailbox(r)] = true
	}
	for _, f := range w.model.facts {
		if f.gone && slices.Contains(erased, f.in.Recipient) {
			wanted[f.marker] = true
		}
	}
	w.searchStore(wanted, nil)
	w.searchFolder(wanted)
	_, holding, err := w.nodes[0].db.SearchRollups(w.org, func(r event.RecipientID) bool { return slices.Contains(named, r) })
	if must(w.t, err); len(holding) > 0 {
		w.t.Errorf("rollups hold people who were erased: %q", holding)
	}
}

// searchBytes fails for each marker that is wanted.
func (w *world) searchBytes(where string, data []byte, wanted map[string]bool) {
	const agent, digits = "agent ", 6
	for _, prefix := range []string{"marker-", "person-"} {
		for at := 0; ; at++ {
			next := bytes.Index(data[at:], []byte(prefix))
			if next < 0 {
				break
			}
			at += next
			text := string(data[at:min(at+len(prefix)+digits, len(data))])
			if wanted[text] || wanted[agent+text] && bytes.HasSuffix(data[:at], []byte(agent)) {
				w.t.Errorf("%s holds %q", where, text)
			}
		}
	}
}

func (w *world) searchStore(wanted map[string]bool, numbers [][]byte) {
	for _, key := range blobtest.Keys(w.t, w.store, "") {
		data := blobtest.Get(w.t, w.store, key)
		w.searchBytes(key, data, wanted)
		switch {
		case strings.HasSuffix(key, ".parquet"):
			w.searchParquet(key, data, wanted)
		case strings.HasSuffix(key, ".gz.metadata.json"):
			text, err := gzip.NewReader(bytes.NewReader(data))
			must(w.t, err)
			plain, err := io.ReadAll(text)
			must(w.t, err)
			w.searchBytes(key, plain, wanted)
		case strings.HasSuffix(key, ".avro"):
			data = inflate(w, data)
			w.searchBytes(key, data, wanted)
			for _, number := range numbers {
				if bytes.Contains(data, number) {
					w.t.Errorf("%s holds the time of an event that is gone, or the number of an erased person: %x", key, number)
				}
			}
		}
	}
}

func (w *world) searchParquet(where string, data []byte, wanted map[string]bool) {
	rows, err := parquet.Read[parquetRow](bytes.NewReader(data), int64(len(data)))
	must(w.t, err)
	for i := range rows {
		in := rows[i].interaction()
		w.searchBytes(where, []byte(in.Client), wanted)
		w.searchBytes(where, []byte(in.UserAgent), wanted)
	}
}

// searchFolder looks into registry, catalog, caches, rollups, and logs.
func (w *world) searchFolder(wanted map[string]bool) {
	must(w.t, filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "blobs":
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		data, err := os.ReadFile(path)
		w.searchBytes(path, data, wanted)
		if strings.HasSuffix(path, ".parquet") {
			w.searchParquet(path, data, wanted)
		}
		return err
	}))
	for _, n := range w.nodes {
		for _, name := range n.disk.Names() {
			w.searchBytes(fmt.Sprintf("node %d: %s", n.id, name), n.disk.Bytes(name), wanted)
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
