package lake

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// dictionaries returns batch with its text columns dictionary-coded, which the
// Parquet writer takes over as they are; left to itself it hashes and boxes
// every single value, which doubles its time. The caller releases the result.
func dictionaries(batch arrow.RecordBatch) arrow.RecordBatch {
	schema := batch.Schema()
	fields := schema.Fields()
	columns := make([]arrow.Array, len(fields))
	for i, column := range batch.Columns() {
		text, ok := column.(*array.String)
		if !ok {
			column.Retain()
			columns[i] = column
			continue
		}
		columns[i] = dictionary(text)
		fields[i].Type = columns[i].DataType()
	}
	meta := schema.Metadata()
	coded := array.NewRecordBatch(arrow.NewSchema(fields, &meta), columns, batch.NumRows())
	for _, c := range columns {
		c.Release()
	}
	return coded
}

// dictionary codes one column, its values in order of first appearance.
func dictionary(text *array.String) *array.Dictionary {
	indices := array.NewInt32Builder(memory.DefaultAllocator)
	defer indices.Release()
	values := array.NewStringBuilder(memory.DefaultAllocator)
	defer values.Release()
	n := text.Len()
	indices.Reserve(n)
	codes := make(map[string]int32, 16)
	last, lastCode := "", int32(-1)
	for i := range n {
		if text.IsNull(i) {
			indices.UnsafeAppendBoolToBitmap(false)
			continue
		}
		s := text.Value(i)
		if lastCode < 0 || s != last {
			code, known := codes[s]
			if !known {
				code = int32(len(codes)) //nolint:gosec // at most one per row
				codes[s] = code
				values.Append(s)
			}
			last, lastCode = s, code
		}
		indices.UnsafeAppend(lastCode)
	}
	codesArray, valuesArray := indices.NewArray(), values.NewArray()
	defer codesArray.Release()
	defer valuesArray.Release()
	return array.NewDictionaryArray(&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}, codesArray, valuesArray)
}
