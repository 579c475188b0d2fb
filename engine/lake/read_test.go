package lake

import (
	"bytes"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// readFileRows reads a data file through the store, with plain Parquet means.
func readFileRows(t testing.TB, tbl *Table, f File) arrow.Table {
	t.Helper()
	data, err := readBlob(t.Context(), tbl.lake.opts.Store, f.Path)
	must(t, err)
	return readParquet(t, data)
}

func readParquet(t testing.TB, data []byte) arrow.Table {
	t.Helper()
	rows, err := pqarrow.ReadTable(t.Context(), bytes.NewReader(data), parquet.NewReaderProperties(nil), pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	must(t, err)
	t.Cleanup(rows.Release)
	return rows
}

// columnOf reads one int64 column of a data file.
func columnOf(t testing.TB, tbl *Table, f File, name string) []int64 {
	t.Helper()
	rows := readFileRows(t, tbl, f)
	i := rows.Schema().FieldIndices(name)[0]
	var values []int64
	for _, chunk := range rows.Column(i).Data().Chunks() {
		values = append(values, chunk.(*array.Int64).Values()...)
	}
	return values
}

func parquetOf(t testing.TB, data []byte) *file.Reader {
	t.Helper()
	r, err := file.NewParquetReader(bytes.NewReader(data))
	must(t, err)
	t.Cleanup(func() { must(t, r.Close()) })
	return r
}
