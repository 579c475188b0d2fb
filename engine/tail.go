package engine

import (
	"encoding/binary"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/lake"
)

// chunkBytes is the size of a chunk of a long tail: large enough that a full tail
// has tens of chunks, small enough that a dropped one frees memory soon.
const chunkBytes = 1 << 20

// tail holds the events of one organisation that no table holds yet, in log
// order, as the rows of the log: bytes without pointers, which cost the garbage
// collector nothing. Engine.mu guards everything but the first block.
type tail struct {
	org      event.OrgID
	name     string
	table    *lake.Table
	flushing sync.Mutex   // one flush at a time
	hurried  atomic.Int32 // callers who wait for it

	chunks []chunk
	rows   int
	bytes  int64
	from   event.Position // rows before it are in the table
	oldest time.Time      // when the tail was last empty and got a row

	snapshot *lake.Snapshot // that it was dropped by; nil: none
	content  uint64         // see View.Content
}

// chunk is a run of entries: position (8 bytes, little endian), uvarint length,
// row. It only grows, so a reader that took data keeps a valid prefix.
type chunk struct {
	data []byte
	rows int
	last event.Position
}

// hurry waits for the turn to flush, and asks whoever has it not to rest.
func (t *tail) hurry() {
	t.hurried.Add(1)
	defer t.hurried.Add(-1)
	t.flushing.Lock()
}

func (t *tail) append(p event.Position, row []byte) {
	if p < t.from {
		return
	}
	if t.rows == 0 {
		t.oldest = time.Now()
	}
	need := 8 + binary.MaxVarintLen32 + len(row)
	if n := len(t.chunks); n == 0 || len(t.chunks[n-1].data)+need > cap(t.chunks[n-1].data) {
		// Small at first, since most organisations are; never grown, since that copies.
		t.chunks = append(t.chunks, chunk{data: make([]byte, 0, max(need, chunkBytes/64<<min(n, 6)))})
	}
	c := &t.chunks[len(t.chunks)-1]
	before := len(c.data)
	c.data = binary.LittleEndian.AppendUint64(c.data, uint64(p))
	c.data = binary.AppendUvarint(c.data, uint64(len(row)))
	c.data = append(c.data, row...)
	c.last = p
	c.rows++
	t.rows++
	t.bytes += int64(len(c.data) - before)
}

// follow forgets the rows that s has, and reports whether these are all that s has
// more than the snapshot before.
func (t *tail) follow(s *lake.Snapshot, node string) (same bool) {
	before, rows := t.snapshot, t.rows
	if s == before {
		return true
	}
	t.snapshot = s
	t.dropTo(s.Mark(node))
	if before == nil {
		return false
	}
	added, only := s.Flushed(before, node)
	return only && added == int64(rows-t.rows)
}

// dropTo forgets the rows of groups up to mark.
func (t *tail) dropTo(mark uint64) {
	from := event.PositionOf(mark+1, 0)
	if from <= t.from {
		return
	}
	t.from = from
	for len(t.chunks) > 0 && t.chunks[0].last < from {
		t.chunks[0] = chunk{}
		t.chunks = t.chunks[1:]
	}
	t.rows, t.bytes = 0, 0
	for _, c := range t.chunks {
		t.rows += c.rows
		t.bytes += int64(len(c.data))
	}
	if t.rows == 0 {
		return
	}
	t.oldest = time.Now() // at most one flush late
	for range entries(t.chunks[:1], 0) {
		t.rows--
	}
	for range entries(t.chunks[:1], from) {
		t.rows++
	}
}

// first is the position of the oldest row; valid when rows > 0.
func (t *tail) first() event.Position {
	for p := range entries(t.chunks, t.from) {
		return p
	}
	return t.from
}

func (t *tail) full(o *Options) bool { return t.rows >= o.FlushRows || t.bytes >= o.FlushBytes }

func (t *tail) age() time.Duration {
	if t.rows == 0 {
		return 0
	}
	return time.Since(t.oldest)
}

// entries yields the rows at or after from.
func entries(chunks []chunk, from event.Position) iter.Seq2[event.Position, []byte] {
	return func(yield func(event.Position, []byte) bool) {
		for _, c := range chunks {
			if c.last < from {
				continue
			}
			for b := c.data; len(b) > 0; {
				p := event.Position(binary.LittleEndian.Uint64(b))
				n, w := binary.Uvarint(b[8:])
				row := b[8+w : 8+w+int(n)]
				b = b[8+w+int(n):]
				if p >= from && !yield(p, row) {
					return
				}
			}
		}
	}
}
