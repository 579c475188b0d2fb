package lake

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// BenchmarkWrite compares the two Parquet writers on the same batch. The lake
// uses pqarrow; parquet-go is here to see whether that is still right.
func BenchmarkWrite(b *testing.B) {
	writers := []struct {
		name   string
		encode func(arrow.RecordBatch) ([]byte, error)
	}{
		{"pqarrow", func(r arrow.RecordBatch) ([]byte, error) {
			data, _, err := encodeParquet(r, func() {})
			return data, err
		}},
		{"parquet-go", encodeParquetGo},
	}
	for _, rows := range []int{1_000, 100_000} {
		batch := batchOf(b, interactions(rows, july, 1))
		for _, w := range writers {
			b.Run(fmt.Sprintf("%s/rows=%d", w.name, rows), func(b *testing.B) {
				b.ReportAllocs()
				var size int
				for b.Loop() {
					data, err := w.encode(batch)
					if err != nil {
						b.Fatal(err)
					}
					size = len(data)
				}
				events := float64(b.N) * float64(rows)
				b.ReportMetric(events/b.Elapsed().Seconds(), "rows/s")
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/events, "ns/event")
				b.ReportMetric(float64(size)/float64(rows), "bytes/event")
			})
		}
	}
}

// parquetRow mirrors event.Schema for parquet-go.
type parquetRow struct {
	EventID     int64   `parquet:"event_id,id(1),delta"`
	OccurredAt  int64   `parquet:"occurred_at,id(2),delta,timestamp(microsecond:local)"`
	Delay       int64   `parquet:"delay,id(3),delta"`
	Kind        string  `parquet:"kind,id(4),dict"`
	EmailID     int64   `parquet:"email_id,id(5),delta"`
	RecipientID int64   `parquet:"recipient_id,id(6),delta"`
	Component   int32   `parquet:"component,id(7),dict"`
	Actor       string  `parquet:"actor,id(8),dict"`
	Reason      string  `parquet:"reason,id(9),dict"`
	Device      string  `parquet:"device,id(10),dict"`
	Client      string  `parquet:"client,id(11),dict"`
	OS          string  `parquet:"os,id(12),dict"`
	Source      string  `parquet:"source,id(13),dict"`
	UserAgent   *string `parquet:"user_agent,id(14),optional,dict"`
	Network     *string `parquet:"network,id(15),optional,dict"`
}

// encodeParquetGo writes batch with parquet-go's row writer, the only one of
// its interfaces that takes whole values; texts are not copied.
func encodeParquetGo(batch arrow.RecordBatch) ([]byte, error) {
	long := func(i int) *array.Int64 { return batch.Column(i).(*array.Int64) }
	at := func(i int) *array.Timestamp { return batch.Column(i).(*array.Timestamp) }
	text := func(i int) *array.String { return batch.Column(i).(*array.String) }
	optional := func(a *array.String, row int) *string {
		if a.IsNull(row) {
			return nil
		}
		s := a.Value(row)
		return &s
	}
	id, occurred, delay, email, recipient := long(0), at(1), long(2), long(4), long(5)
	component := batch.Column(6).(*array.Int32)
	kind, actor, reason, device, client, system, source, agent, network := text(3), text(7), text(8), text(9), text(10), text(11), text(12), text(13), text(14)

	var buf bytes.Buffer
	w := parquet.NewGenericWriter[parquetRow](&buf, parquet.Compression(&zstd.Codec{Level: zstd.SpeedFastest}), parquet.MaxRowsPerRowGroup(rowGroupRows), parquet.PageBufferSize(pageBytes))
	rows := make([]parquetRow, 0, 1024)
	for i := range int(batch.NumRows()) {
		rows = append(rows, parquetRow{
			EventID: id.Value(i), OccurredAt: int64(occurred.Value(i)), Delay: delay.Value(i), Kind: kind.Value(i),
			EmailID: email.Value(i), RecipientID: recipient.Value(i), Component: component.Value(i), Actor: actor.Value(i),
			Reason: reason.Value(i), Device: device.Value(i), Client: client.Value(i), OS: system.Value(i), Source: source.Value(i),
			UserAgent: optional(agent, i), Network: optional(network, i),
		})
		if len(rows) == cap(rows) || i == int(batch.NumRows())-1 {
			if _, err := w.Write(rows); err != nil {
				return nil, err
			}
			rows = rows[:0]
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
