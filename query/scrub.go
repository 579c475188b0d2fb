package query

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// scrub returns batch with zeros where it has NULLs. DuckDB leaves in the place of
// a NULL whatever was in its memory before, be it of rows that nobody may see; all
// other formats write NULLs by name, but Arrow sends the places as they are. The
// caller releases the result.
func scrub(batch arrow.RecordBatch) arrow.RecordBatch {
	columns := make([]arrow.Array, batch.NumCols())
	for i, c := range batch.Columns() {
		data := scrubData(c.Data(), nil)
		columns[i] = array.MakeFromData(data)
		data.Release()
	}
	clean := array.NewRecordBatch(batch.Schema(), columns, batch.NumRows())
	for _, c := range columns {
		c.Release()
	}
	return clean
}

// scrubData copies what it has to change and shares the rest. hidden says which of
// the elements from the offset on are within a NULL; nil is none. The caller
// releases the result.
func scrubData(d arrow.ArrayData, hidden func(i int) bool) arrow.ArrayData {
	null := hidden
	if d.NullN() != 0 && len(d.Buffers()) > 0 && d.Buffers()[0] != nil {
		valid, offset := d.Buffers()[0].Bytes(), d.Offset()
		null = func(i int) bool { return hidden != nil && hidden(i) || !bitutil.BitIsSet(valid, offset+i) }
	}
	buffers := append([]*memory.Buffer{}, d.Buffers()...)
	if t, ok := d.DataType().(arrow.FixedWidthDataType); ok && null != nil && len(buffers) > 1 && buffers[1] != nil {
		buffers[1] = scrubValues(buffers[1].Bytes(), d.Offset(), d.Len(), t.BitWidth(), null)
		defer buffers[1].Release()
	}
	children := make([]arrow.ArrayData, len(d.Children()))
	for i, child := range d.Children() {
		children[i] = scrubData(child, within(d, null))
		defer children[i].Release()
	}
	if dictionary, ok := d.Dictionary().(*array.Data); ok && dictionary != nil {
		values := scrubData(dictionary, nil)
		defer values.Release()
		return array.NewDataWithDictionary(d.DataType(), d.Len(), buffers, d.NullN(), d.Offset(), values.(*array.Data))
	}
	return array.NewData(d.DataType(), d.Len(), buffers, children, d.NullN(), d.Offset())
}

// within says which elements of a child are within a NULL of its parent, where
// that follows from the child's place alone: lists have no elements where they are
// NULL.
func within(parent arrow.ArrayData, null func(i int) bool) func(i int) bool {
	if null == nil {
		return nil
	}
	offset := parent.Offset()
	switch t := parent.DataType().(type) {
	case *arrow.StructType:
		return func(i int) bool { return i >= offset && i < offset+parent.Len() && null(i-offset) }
	case *arrow.FixedSizeListType:
		n := int(t.Len())
		return func(i int) bool { return i >= offset*n && i < (offset+parent.Len())*n && null(i/n-offset) }
	}
	return nil
}

// scrubValues copies the values that are not NULL into zeros.
func scrubValues(values []byte, offset, length, bits int, null func(i int) bool) *memory.Buffer {
	clean := make([]byte, ((offset+length)*bits+7)/8)
	size := bits / 8
	for i := range length {
		switch at := offset + i; {
		case null(i):
		case bits == 1:
			bitutil.SetBitTo(clean, at, bitutil.BitIsSet(values, at))
		default:
			copy(clean[at*size:(at+1)*size], values[at*size:])
		}
	}
	return memory.NewBufferBytes(clean)
}
