package lake

import (
	"bytes"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"mailwake/engine/event"
)

const (
	// rowGroupRows is DuckDB's own unit: it scans row groups in parallel, and
	// min/max of smaller ones prune no better since files are sorted by email.
	rowGroupRows = 122_880
	// pageBytes keeps pages of delta-coded ids near 1 MiB of values, the size
	// that readers expect.
	pageBytes = 1 << 20
	// zstdLevel: level 3 saves less than 1 % on events, since ids and times are
	// coded as differences and texts by dictionary before zstd sees them.
	zstdLevel = 1
)

// encodeParquet writes batch as one Parquet file, in memory, and calls rest after each
// page. The footer comes back as well so that nobody has to parse the file again.
func encodeParquet(batch arrow.RecordBatch, rest func()) ([]byte, *metadata.FileMetaData, error) {
	batch = dictionaries(batch)
	defer batch.Release()
	buf := restfulBuffer{rest: rest}
	buf.Grow(int(batch.NumRows())*32 + 8<<10)
	w, err := pqarrow.NewFileWriter(batch.Schema(), &buf, parquetProperties(), pqarrow.NewArrowWriterProperties(pqarrow.WithAllocator(memory.DefaultAllocator)))
	if err != nil {
		return nil, nil, fmt.Errorf("encode parquet: %w", err)
	}
	if err := w.Write(batch); err != nil {
		return nil, nil, fmt.Errorf("encode parquet: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, nil, fmt.Errorf("encode parquet: %w", err)
	}
	footer, err := w.FileMetadata()
	if err != nil {
		return nil, nil, fmt.Errorf("encode parquet: %w", err)
	}
	return buf.Bytes(), footer, nil
}

// restfulBuffer lets a writer rest between its writes, which are of a page at most.
type restfulBuffer struct {
	bytes.Buffer
	rest func()
}

func (b *restfulBuffer) Write(p []byte) (int, error) {
	b.rest()
	return b.Buffer.Write(p)
}

// parquetProperties: numbers are sorted, dense or close to each other, so they
// are stored as differences; texts are few, so they get a dictionary.
func parquetProperties() *parquet.WriterProperties {
	props := []parquet.WriterProperty{
		parquet.WithCompression(compress.Codecs.Zstd),
		parquet.WithCompressionLevel(zstdLevel),
		parquet.WithMaxRowGroupLength(rowGroupRows),
		parquet.WithDataPageSize(pageBytes),
		parquet.WithDictionaryDefault(true),
		parquet.WithCreatedBy("mailwake"),
	}
	for _, column := range []string{"event_id", "occurred_at", "delay", "email_id", "recipient_id"} {
		props = append(props,
			parquet.WithDictionaryFor(column, false),
			parquet.WithEncodingFor(column, parquet.Encodings.DeltaBinaryPacked))
	}
	for _, at := range textColumn {
		// Every row group has almost all values of them, so their bounds rule nothing
		// out, and to find them takes a third of the time of a write.
		props = append(props, parquet.WithStatsFor(event.Schema().Field(at).Name, false))
	}
	return parquet.NewWriterProperties(props...)
}
