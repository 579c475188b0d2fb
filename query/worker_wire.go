package query

import (
	"bufio"
	"encoding/binary"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"mailwake/engine/event"
)

// The conversation of a worker with the process that started it, over a pair of
// sockets that it inherits as descriptors 3 and 4.
//
//	down, 3: gob stream of workerSetup, then of workerOrder
//	down, 4: one message per new data file: its number, with the open file
//	up,   3: frames: kind u8, length u32, payload
//
// Down, the sender is trusted. Up, it is not: who speaks there may be whoever has
// found a hole in DuckDB, so frames are bounded and plain.
const (
	frameReady = 'r' // JSON workerReady: the worker is confined and waits for orders
	frameData  = 'd' // a piece of the result's Arrow IPC stream
	frameEnd   = 'e' // JSON workerEnd: the answer is over
)

// maxFrame bounds a frame in bytes. Results come in pieces of at most that.
const maxFrame = 1 << 20

// workerSetup is what a worker is told once.
type workerSetup struct {
	Dir       string // its own folder: placeholders of data files, what does not fit in memory
	Confine   confinement
	Org       event.OrgID
	Persons   bool
	Threads   int
	Memory    int64
	Processor time.Duration // CPU time of a statement
}

// workerReady tells what is in force.
type workerReady struct {
	Confined []string `json:"confined"`
	Missing  []string `json:"missing"` // what the system did not permit
}

// workerOrder brings a worker up to a View and asks. One without a Statement only
// brings rows: those of a long tail come in parts, and an idle worker gets some ahead.
type workerOrder struct {
	From, To  event.Position // of the tail, as far as it has come
	Rows      []byte         // new rows of it: position, length, row, see appendTailRow
	Snapshot  int64
	Files     []int // numbers of all files of the View; they come on the other socket
	News      catalogNews
	Rules     fedRules
	Tables    []workerTable // aggregate-only: tables to put in place of those before
	Statement *workerStatement
}

// workerTable is a table of the aggregate surface as an Arrow IPC stream.
type workerTable struct {
	Name string
	IPC  []byte
}

type workerStatement struct {
	Text    string
	Limit   int
	Bytes   int64
	Timeout time.Duration
}

// workerEnd ends an answer: rows given and whether more were cut off, or the
// problem. An error that is no problem ends the worker.
type workerEnd struct {
	Rows      int    `json:"rows"`
	Truncated bool   `json:"truncated"`
	Status    int    `json:"status,omitempty"`
	Code      string `json:"code,omitempty"`
	Detail    string `json:"detail,omitempty"`
	Internal  string `json:"internal,omitempty"` // for the log, never for the caller
}

func writeFrame(w io.Writer, kind byte, payload []byte) error {
	head := make([]byte, 5, 5+len(payload))
	head[0] = kind
	binary.BigEndian.PutUint32(head[1:], uint32(len(payload)))
	_, err := w.Write(append(head, payload...))
	return err
}

func writeJSONFrame(w io.Writer, kind byte, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeFrame(w, kind, text)
}

// readFrame reads a frame into buf, which it may grow to maxFrame.
func readFrame(r io.Reader, buf []byte) (kind byte, payload []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("frame of %d bytes", n)
	}
	if uint32(cap(buf)) < n {
		buf = make([]byte, n)
	}
	payload = buf[:n]
	_, err = io.ReadFull(r, payload)
	return head[0], payload, err
}

// frameWriter makes frames of what is written, for the Arrow IPC writer.
type frameWriter struct{ to io.Writer }

func (w frameWriter) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		piece := p[:min(len(p), maxFrame)]
		if err := writeFrame(w.to, frameData, piece); err != nil {
			return written, err
		}
		written += len(piece)
		p = p[len(piece):]
	}
	return written, nil
}

// appendTailRow appends a row of the tail in the codec of the log, with where it
// stands. Rows travel that way and not as Arrow: a query brings few new ones, and a
// record batch costs twenty times as much as a row of its own.
func appendTailRow(dst []byte, pos event.Position, in *event.Interaction, scratch []byte) (out, row []byte) {
	row = event.AppendRow(scratch[:0], in)
	dst = binary.AppendUvarint(dst, uint64(pos))
	dst = binary.AppendUvarint(dst, uint64(len(row)))
	return append(dst, row...), row
}

var errTailRow = errors.New("damaged row of the tail")

// nextTailRow reads what appendTailRow wrote.
func nextTailRow(b []byte) (pos event.Position, row, rest []byte, err error) {
	p, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, nil, errTailRow
	}
	b = b[n:]
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return 0, nil, nil, errTailRow
	}
	b = b[n:]
	return event.Position(p), b[:size], b[size:], nil
}

// parentEnd and childEnd are the two ends of the conversation.
type parentEnd struct {
	data, files *net.UnixConn
	orders      *gob.Encoder
	frames      *bufio.Reader
	buf         []byte
}

func newParentEnd(data, files *net.UnixConn) *parentEnd {
	return &parentEnd{data: data, files: files, orders: gob.NewEncoder(data), frames: bufio.NewReaderSize(data, 64<<10)}
}

func (e *parentEnd) close() error { return errors.Join(e.data.Close(), e.files.Close()) }

type childEnd struct {
	data, files *net.UnixConn
	orders      *gob.Decoder
	frames      *bufio.Writer
}

func newChildEnd(data, files *net.UnixConn) *childEnd {
	return &childEnd{data: data, files: files, orders: gob.NewDecoder(bufio.NewReaderSize(data, 64<<10)), frames: bufio.NewWriterSize(data, 64<<10)}
}
