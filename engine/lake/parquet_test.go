package lake

import (
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/schema"

	"mailwake/engine/event"
)

// sameRows compares a table with the batch it was written from.
func sameRows(t *testing.T, got arrow.Table, want arrow.RecordBatch) {
	t.Helper()
	if got.NumRows() != want.NumRows() {
		t.Fatalf("%d rows, want %d", got.NumRows(), want.NumRows())
	}
	for i, field := range want.Schema().Fields() {
		column, err := array.Concatenate(got.Column(i).Data().Chunks(), memory.DefaultAllocator)
		must(t, err)
		defer column.Release()
		if !array.Equal(column, want.Column(i)) {
			t.Errorf("column %s changed", field.Name)
		}
	}
}

// TestParquetKeepsRows: nulls and empty texts, extremes, several row groups, and
// more different texts than a dictionary page takes.
func TestParquetKeepsRows(t *testing.T) {
	extremes := []event.Interaction{
		{ID: -1 << 63, OccurredAt: -1 << 62, ReceivedAt: 1<<63 - 1},
		{ID: 1<<63 - 1, OccurredAt: 1 << 62, Email: 1<<63 - 1, Recipient: 1<<63 - 1, Component: 1<<31 - 1, Reason: "ä\x00€", UserAgent: "x", Network: "10.0.0.0/24"},
	}
	agents := interactions(20_000, july, 5)
	for i := range agents {
		agents[i].UserAgent = fmt.Sprintf("%0100d", i)
	}
	halves := interactions(1000, july, 6)
	for i := range halves {
		if i%2 == 0 {
			halves[i].UserAgent = ""
		}
	}
	for name, in := range map[string][]event.Interaction{
		"extremes": extremes, "one row": interactions(1, july, 1), "row groups": interactions(rowGroupRows+1, july, 2),
		"many agents": agents, "nulls among texts": halves,
	} {
		t.Run(name, func(t *testing.T) {
			batch := batchOf(t, in)
			data, footer, err := encodeParquet(batch, func() {})
			must(t, err)
			sameRows(t, readParquet(t, data), batch)
			if footer.GetNumRows() != batch.NumRows() {
				t.Errorf("footer says %d rows, want %d", footer.GetNumRows(), batch.NumRows())
			}
		})
	}
	sliced := batchOf(t, agents).NewSlice(5, 500)
	defer sliced.Release()
	data, _, err := encodeParquet(sliced, func() {})
	must(t, err)
	sameRows(t, readParquet(t, data), sliced)
}

// TestParquetLayout: field ids and types by which other engines know columns.
func TestParquetLayout(t *testing.T) {
	data, _, err := encodeParquet(batchOf(t, interactions(5000, july, 1)), func() {})
	must(t, err)
	r := parquetOf(t, data)
	root := r.MetaData().Schema.Root()
	for i, field := range event.Schema().Fields() {
		node := root.Field(i)
		if node.Name() != field.Name || node.FieldID() != int32(i+1) {
			t.Errorf("column %d is %s with id %d, want %s with id %d", i, node.Name(), node.FieldID(), field.Name, i+1)
		}
		want := parquet.Repetitions.Required
		if field.Nullable {
			want = parquet.Repetitions.Optional
		}
		if node.RepetitionType() != want {
			t.Errorf("column %s is %s, want %s", field.Name, node.RepetitionType(), want)
		}
		logical := map[arrow.Type]schema.LogicalType{
			arrow.STRING: schema.StringLogicalType{}, arrow.TIMESTAMP: schema.NewTimestampLogicalType(false, schema.TimeUnitMicros),
		}[field.Type.ID()]
		if logical != nil && !node.LogicalType().Equals(logical) {
			t.Errorf("column %s is %s, want %s", field.Name, node.LogicalType(), logical)
		}
		chunk, err := r.MetaData().RowGroup(0).ColumnChunk(i)
		must(t, err)
		checkChunk(t, field, chunk)
	}
}

func checkChunk(t *testing.T, field arrow.Field, chunk *metadata.ColumnChunkMetaData) {
	t.Helper()
	if chunk.Compression() != compress.Codecs.Zstd {
		t.Errorf("column %s is compressed with %s", field.Name, chunk.Compression())
	}
	if text := field.Type.ID() == arrow.STRING; text && !chunk.HasDictionaryPage() {
		t.Errorf("column %s has no dictionary", field.Name)
	}
	set, err := chunk.StatsSet()
	must(t, err)
	if text := field.Type.ID() == arrow.STRING; text == set {
		t.Errorf("column %s has statistics: %v", field.Name, set)
	}
}

// TestWriteRests: whoever gives way to others gets to do so at each column.
func TestWriteRests(t *testing.T) {
	rests := 0
	_, err := tableOf(t, dirLake(t, t.TempDir())).WriteGently(t.Context(), batchOf(t, interactions(2*rowGroupRows, july, 1)), func() { rests++ })
	must(t, err)
	if columns := event.Schema().NumFields(); rests < 2*columns {
		t.Errorf("%d chances to rest, want at least %d", rests, 2*columns)
	}
}
