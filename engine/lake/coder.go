package lake

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"mailwake/engine/event"
)

// coder turns Rows into Arrow columns without looking at single texts: numbers
// are handed over as they are, texts as dictionaries that hold only what the rows
// have. Nothing of a row that was left out gets into a file this way.
type coder struct {
	texts *Texts
	// local is the place of a code in the dictionary being made, one more; zero is
	// not there.
	local   []int32
	indices [numTexts][]int32
	coded   *arrow.Schema
}

var dictionaryType = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}

// schema is event.Schema with dictionaries for texts.
func (c *coder) schema() *arrow.Schema {
	if c.coded == nil {
		schema := event.Schema()
		fields := schema.Fields()
		for _, at := range textColumn {
			fields[at].Type = dictionaryType
		}
		meta := schema.Metadata()
		c.coded = arrow.NewSchema(fields, &meta)
	}
	return c.coded
}

// batch aliases rows; it is valid until the next call and until rows change.
func (c *coder) batch(rows *Rows) arrow.RecordBatch {
	schema, n := c.schema(), rows.Len()
	columns := make([]arrow.Array, schema.NumFields())
	for i, at := range longColumn {
		columns[at] = fixed(schema.Field(at).Type, n, arrow.Int64Traits.CastToBytes(rows.Longs[i]))
	}
	columns[componentColumn] = fixed(arrow.PrimitiveTypes.Int32, n, arrow.Int32Traits.CastToBytes(rows.Component))
	for i, at := range textColumn {
		columns[at] = c.dictionary(i, rows.Texts[i], schema.Field(at).Nullable)
	}
	batch := array.NewRecordBatch(schema, columns, int64(n))
	for _, column := range columns {
		column.Release()
	}
	return batch
}

// fixed is an array over the values as they are.
func fixed(t arrow.DataType, n int, values []byte) arrow.Array {
	data := array.NewData(t, n, []*memory.Buffer{nil, memory.NewBufferBytes(values)}, nil, 0, 0)
	defer data.Release()
	return array.MakeFromData(data)
}

// dictionary codes column i; code 0 is null when nullable, else the empty text.
func (c *coder) dictionary(i int, codes []Code, nullable bool) arrow.Array {
	if len(c.local) < len(c.texts.values) {
		c.local = make([]int32, len(c.texts.values)+len(c.texts.values)/4)
	}
	values := array.NewStringBuilder(memory.DefaultAllocator)
	defer values.Release()
	if cap(c.indices[i]) < len(codes) {
		c.indices[i] = make([]int32, len(codes)+len(codes)/8)
	}
	indices, used, nulls := c.indices[i][:len(codes)], []Code(nil), 0
	for row, code := range codes {
		at := c.local[code]
		if at == 0 {
			if code == 0 && nullable {
				indices[row] = 0
				nulls++
				continue
			}
			used = append(used, code)
			values.Append(c.texts.values[code])
			at = int32(len(used)) //nolint:gosec // at most one per row
			c.local[code] = at
		}
		indices[row] = at - 1
	}
	for _, code := range used {
		c.local[code] = 0
	}
	list := values.NewArray()
	defer list.Release()
	data := array.NewData(arrow.PrimitiveTypes.Int32, len(codes), []*memory.Buffer{validity(codes, nulls), memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(indices))}, nil, nulls, 0)
	defer data.Release()
	places := array.MakeFromData(data)
	defer places.Release()
	return array.NewDictionaryArray(dictionaryType, places, list)
}

// validity is the bitmap of the codes that are not 0, nil when all are valid.
func validity(codes []Code, nulls int) *memory.Buffer {
	if nulls == 0 {
		return nil
	}
	bits := make([]byte, (len(codes)+7)/8)
	for i, code := range codes {
		if code != 0 {
			bits[i/8] |= 1 << (i % 8)
		}
	}
	return memory.NewBufferBytes(bits)
}
