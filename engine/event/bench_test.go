package event

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// BenchmarkPayload compares what a group of the log could hold: rows, or one
// Arrow record batch as an IPC stream. Decoding a row fills a struct; decoding
// a batch only maps its columns, so the walk over its rows is measured too.
func BenchmarkPayload(b *testing.B) {
	for _, n := range []int{1, 16, 256, 4096} {
		in := typical(n, time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC))
		rows := encodeRows(nil, in)
		b.Run(fmt.Sprintf("encode/rows/group=%d", n), func(b *testing.B) {
			var buf []byte
			measure(b, n, len(rows), func() { buf = encodeRows(buf[:0], in) })
		})
		b.Run(fmt.Sprintf("decode/rows/group=%d", n), func(b *testing.B) {
			var sink int64
			measure(b, n, len(rows), func() { sink += decodeRows(b, rows) })
		})
		builder := NewBuilder(memory.DefaultAllocator)
		batch := encodeIPC(b, new(bytes.Buffer), builder, in)
		b.Run(fmt.Sprintf("encode/arrow/group=%d", n), func(b *testing.B) {
			var buf bytes.Buffer
			measure(b, n, len(batch), func() { encodeIPC(b, &buf, builder, in) })
		})
		b.Run(fmt.Sprintf("decode/arrow/group=%d", n), func(b *testing.B) {
			var sink int64
			measure(b, n, len(batch), func() { sink += decodeIPC(b, batch, false) })
		})
		b.Run(fmt.Sprintf("decode+walk/arrow/group=%d", n), func(b *testing.B) {
			var sink int64
			measure(b, n, len(batch), func() { sink += decodeIPC(b, batch, true) })
		})
		builder.Release()
	}
}

func measure(b *testing.B, events, size int, fn func()) {
	b.ReportAllocs()
	for b.Loop() {
		fn()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(events), "ns/event")
	b.ReportMetric(float64(size)/float64(events), "bytes/event")
}

// encodeRows frames each row with two bytes of length, as much as the log's own
// framing costs.
func encodeRows(dst []byte, in []Interaction) []byte {
	for i := range in {
		at := len(dst)
		dst = AppendRow(append(dst, 0, 0), &in[i])
		n := len(dst) - at - 2
		dst[at], dst[at+1] = byte(n), byte(n>>8)
	}
	return dst
}

func decodeRows(b *testing.B, data []byte) (sum int64) {
	var in Interaction
	for len(data) > 0 {
		n := int(data[0]) | int(data[1])<<8
		if err := DecodeRow(data[2:2+n], &in); err != nil {
			b.Fatal(err)
		}
		sum += int64(in.Recipient)
		data = data[2+n:]
	}
	return sum
}

func encodeIPC(b *testing.B, buf *bytes.Buffer, builder *Builder, in []Interaction) []byte {
	buf.Reset()
	for i := range in {
		builder.Add(in[i].ID, &in[i])
	}
	rec := builder.Batch()
	defer rec.Release()
	w := ipc.NewWriter(buf, ipc.WithSchema(rec.Schema()))
	if err := w.Write(rec); err != nil {
		b.Fatal(err)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return buf.Bytes()
}

func decodeIPC(b *testing.B, data []byte, walk bool) (sum int64) {
	r, err := ipc.NewReader(bytes.NewReader(data))
	if err != nil {
		b.Fatal(err)
	}
	defer r.Release()
	for r.Next() {
		rec := r.RecordBatch()
		sum += rec.NumRows()
		if walk {
			sum += walkBatch(rec)
		}
	}
	if r.Err() != nil {
		b.Fatal(r.Err())
	}
	return sum
}

// walkBatch touches every value, without turning names into numbers.
func walkBatch(rec arrow.RecordBatch) (sum int64) {
	for _, column := range rec.Columns() {
		for i := range column.Len() {
			switch c := column.(type) {
			case *array.Int64:
				sum += c.Value(i)
			case *array.Timestamp:
				sum += int64(c.Value(i))
			case *array.Int32:
				sum += int64(c.Value(i))
			case *array.String:
				sum += int64(len(c.Value(i)))
			}
		}
	}
	return sum
}
