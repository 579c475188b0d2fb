package lake

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
	"github.com/google/uuid"

	"mailwake/engine/blob"
	"mailwake/engine/event"
)

// sumBytes of a SHA-256 identify a blob's bytes.
const sumBytes = 16

func sumOf(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)[:sumBytes]) }

// Write stores batch as one Parquet blob and returns it for Commit; until then
// it is part of no table. The batch has event.Schema, its texts as they are or
// dictionary-coded (which spares coding them here), at least one row, rows
// sorted by email, recipient, time and id, all of one UTC month; otherwise
// ErrBatch. The caller keeps batch. A blob that is never committed is an orphan.
func (t *Table) Write(ctx context.Context, batch arrow.RecordBatch) (File, error) {
	return t.WriteGently(ctx, batch, func() {})
}

// WriteGently is Write that calls rest between pieces of its work, of a few milliseconds
// each, for callers who want to give way to others.
func (t *Table) WriteGently(ctx context.Context, batch arrow.RecordBatch, rest func()) (File, error) {
	f, err := t.write(ctx, batch, rest)
	if err != nil {
		return File{}, fmt.Errorf("write to %s: %w", t.org, err)
	}
	return f, nil
}

func (t *Table) write(ctx context.Context, batch arrow.RecordBatch, rest func()) (File, error) {
	f := File{Rows: batch.NumRows()}
	var err error
	if f.MinTime, f.MaxTime, err = checkBatch(batch); err != nil {
		return File{}, err
	}
	rest()
	data, footer, err := encodeParquet(batch, rest)
	if err != nil {
		return File{}, err
	}
	h := sha256.New()
	_, _ = h.Write(data)
	rest()
	f.Sum, f.Bytes = sumOf(h), int64(len(data))
	id, err := uuid.NewV7()
	if err != nil {
		return File{}, fmt.Errorf("name data file: %w", err)
	}
	month := f.MinTime.Time().Format("2006-01")
	f.Path = path.Join(t.lake.tableKey(t.org), "data", month, id.String()+"-"+f.Sum+dataSuffix)

	f.Agents = dayOf(f.MinTime)
	if err := t.describe(&f, footer); err != nil {
		return File{}, err
	}
	if err := t.lake.put(ctx, f, bytes.NewReader(data)); err != nil {
		return File{}, err
	}
	return f, nil
}

// describe makes f's entry for a manifest, with bounds from the file's footer,
// and sets what f takes from there.
func (t *Table) describe(f *File, footer *metadata.FileMetaData) error {
	df, err := entryOf(t.current.Load().iceberg.Metadata(), t.lake.opts.Store.URL(f.Path), f.Bytes, footer)
	if err != nil {
		return fmt.Errorf("describe data file: %w", err)
	}
	f.data = df
	f.MinRecipient, f.MaxRecipient = recipients(df)
	return nil
}

// entryOf is what a manifest of table m says about a data file of so many bytes
// with this footer.
func entryOf(m table.Metadata, location string, size int64, footer *metadata.FileMetaData) (iceberg.DataFile, error) {
	return table.DataFileFromMetadata(table.DataFileArgs{
		Schema: m.CurrentSchema(), Spec: m.PartitionSpec(), Format: iceberg.ParquetFile, Metadata: footer,
		FilePath: location, FileSize: size, Content: iceberg.EntryContentData,
		SortOrderID: m.SortOrder().OrderID(), Properties: m.Properties(), FormatVersion: m.Version(),
	})
}

// put stores a new data blob, and a copy in the cache.
func (l *Lake) put(ctx context.Context, f File, data io.ReadSeeker) error {
	err := l.opts.Store.Put(ctx, f.Path, data, true)
	if errors.Is(err, blob.ErrExists) {
		// The key is ours alone, so an earlier try of this very Put took effect.
		// Only the same bytes count.
		err = checkBlob(ctx, l.opts.Store, f)
	}
	if err != nil {
		return fmt.Errorf("store data file: %w", err)
	}
	if l.cache != nil {
		l.cache.put(f, data)
	}
	return nil
}

// checkBatch returns the first and last time of occurrence.
func checkBatch(batch arrow.RecordBatch) (from, to event.Micros, err error) {
	if err := checkColumns(batch); err != nil {
		return 0, 0, err
	}
	times := batch.Column(fieldOccurredAt - 1).(*array.Timestamp).Values()
	emails := batch.Column(fieldEmailID - 1).(*array.Int64).Values()
	recipients := batch.Column(fieldRecipientID - 1).(*array.Int64).Values()
	ids := batch.Column(0).(*array.Int64).Values()
	from, to = event.Micros(times[0]), event.Micros(times[0])
	for i := 1; i < len(times); i++ {
		order := cmp.Compare(emails[i-1], emails[i])
		if order == 0 {
			order = cmp.Or(cmp.Compare(recipients[i-1], recipients[i]), cmp.Compare(times[i-1], times[i]), cmp.Compare(ids[i-1], ids[i]))
		}
		if order > 0 {
			return 0, 0, fmt.Errorf("%w: row %d comes before row %d in the order of email, recipient, time and id", ErrBatch, i, i-1)
		}
		from, to = min(from, event.Micros(times[i])), max(to, event.Micros(times[i]))
	}
	if from.Month() != to.Month() {
		return 0, 0, fmt.Errorf("%w: rows from %s to %s are not of one month", ErrBatch, from.Time().Format("2006-01"), to.Time().Format("2006-01"))
	}
	return from, to, nil
}

// checkColumns refuses what Parquet or its readers would choke on later.
func checkColumns(batch arrow.RecordBatch) error {
	if batch.NumRows() == 0 {
		return fmt.Errorf("%w: no rows", ErrBatch)
	}
	want := event.Schema()
	if !plain(batch.Schema()).Equal(want) {
		return fmt.Errorf("%w: schema is %s, want %s", ErrBatch, batch.Schema(), want)
	}
	for i, field := range want.Fields() {
		column := batch.Column(i)
		if !field.Nullable && column.NullN() > 0 {
			return fmt.Errorf("%w: column %s has %d nulls", ErrBatch, field.Name, column.NullN())
		}
		if coded, ok := column.(*array.Dictionary); ok {
			column = coded.Dictionary()
		}
		if text, ok := column.(*array.String); ok && !validText(text) {
			return fmt.Errorf("%w: column %s is not all UTF-8", ErrBatch, field.Name)
		}
	}
	return nil
}

// plain is the schema with the values' types where columns are dictionary-coded.
func plain(s *arrow.Schema) *arrow.Schema {
	fields := s.Fields()
	for i := range fields {
		if coded, ok := fields[i].Type.(*arrow.DictionaryType); ok {
			fields[i].Type = coded.ValueType
		}
	}
	return arrow.NewSchema(fields, nil)
}

// validText checks a column in one pass: its values are valid if they are valid
// joined together and none begins inside a character.
func validText(text *array.String) bool {
	if text.Len() == 0 {
		return true
	}
	data := text.ValueBytes()
	if !utf8.Valid(data) {
		return false
	}
	first := text.ValueOffset(0)
	for i := range text.Len() {
		if at := text.ValueOffset(i) - first; at < len(data) && !utf8.RuneStart(data[at]) {
			return false
		}
	}
	return true
}
