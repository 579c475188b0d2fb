package query

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// A NULL has zeros in its place whatever DuckDB left there, at every depth, and
// nothing else changes.
func TestScrub(t *testing.T) {
	const dirt = 0x5A5A5A5A5A5A5A5A
	valid := memory.NewBufferBytes([]byte{0b0101_0110})
	numbers := func(offset int) arrow.ArrayData {
		b := arrow.Int64Traits.CastToBytes([]int64{dirt, 1, 2, dirt, 4, dirt, 6, dirt})
		return array.NewData(arrow.PrimitiveTypes.Int64, 8-offset, []*memory.Buffer{valid, memory.NewBufferBytes(b)}, nil, array.UnknownNullCount, offset)
	}
	inner := array.NewData(arrow.PrimitiveTypes.Int64, 8, []*memory.Buffer{nil, numbers(0).Buffers()[1]}, nil, 0, 0)
	pair := arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Int64)
	halves := array.NewData(pair, 4, []*memory.Buffer{memory.NewBufferBytes([]byte{0b0110})}, []arrow.ArrayData{
		array.NewData(arrow.PrimitiveTypes.Int64, 8, []*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int64Traits.CastToBytes([]int64{dirt, dirt, 1, 2, 3, 4, dirt, dirt}))}, nil, 0, 0),
	}, array.UnknownNullCount, 0)
	flags := array.NewData(arrow.FixedWidthTypes.Boolean, 8, []*memory.Buffer{valid, memory.NewBufferBytes([]byte{0xFF})}, nil, array.UnknownNullCount, 0)
	for name, data := range map[string]arrow.ArrayData{
		"plain":  numbers(0),
		"offset": numbers(1),
		"struct": array.NewData(arrow.StructOf(arrow.Field{Name: "a", Type: arrow.PrimitiveTypes.Int64, Nullable: true}), 8, []*memory.Buffer{valid}, []arrow.ArrayData{inner}, array.UnknownNullCount, 0),
		"pairs":  halves,
		"flags":  flags,
	} {
		column := array.MakeFromData(data)
		schema := arrow.NewSchema([]arrow.Field{{Name: "x", Type: column.DataType(), Nullable: true}}, nil)
		batch := array.NewRecordBatch(schema, []arrow.Array{column}, int64(column.Len()))
		r := &Result{schema: schema, batches: []arrow.RecordBatch{batch}}
		var out bytes.Buffer
		if err := r.Write(&out, Arrow); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(out.Bytes(), bytes.Repeat([]byte{0x5A}, 8)) {
			t.Errorf("%s: what is under a NULL is sent", name)
		}
		reader, err := ipc.NewReader(&out)
		if err != nil || !reader.Next() {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(reader.RecordBatch().Column(0)), fmt.Sprint(column); got != want {
			t.Errorf("%s: %s became %s", name, want, got)
		}
		reader.Release()
	}
}
