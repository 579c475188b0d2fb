package query

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"mailwake/engine/problem"
)

func (r *Result) writeJSON(w io.Writer) error {
	between := "[\n"
	if err := r.writeObjects(w, func(dst []byte) []byte {
		dst = append(dst, between...)
		between = ",\n"
		return dst
	}, ""); err != nil {
		return err
	}
	end := "\n]\n"
	if r.rows == 0 {
		end = "[]\n"
	}
	_, err := io.WriteString(w, end)
	return err
}

func (r *Result) writeNDJSON(w io.Writer) error {
	return r.writeObjects(w, func(dst []byte) []byte { return dst }, "\n")
}

// writeObjects writes an object per row with what before appends in front of it
// and after behind it.
func (r *Result) writeObjects(w io.Writer, before func([]byte) []byte, after string) error {
	out := bufio.NewWriterSize(w, writeBuffer)
	names := make([][]byte, r.schema.NumFields())
	for f := range names {
		names[f] = append(appendString(nil, r.schema.Field(f).Name), ':')
	}
	var line []byte
	for batch := range r.Batches() {
		for i := range int(batch.NumRows()) {
			line = append(before(line[:0]), '{')
			for f, column := range batch.Columns() {
				if f > 0 {
					line = append(line, ',')
				}
				line = appendJSON(append(line, names[f]...), column, i)
			}
			line = append(append(line, '}'), after...)
			if _, err := out.Write(line); err != nil {
				return err
			}
		}
	}
	return errors.Join(r.err, out.Flush())
}

// writeBuffer is large enough that a system call carries many rows.
const writeBuffer = 32 << 10

func (r *Result) writeCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	record := make([]string, r.schema.NumFields())
	for f := range record {
		record[f] = harmless(r.schema.Field(f).Name)
	}
	if err := out.Write(record); err != nil {
		return err
	}
	var text []byte
	for batch := range r.Batches() {
		for i := range int(batch.NumRows()) {
			for f, column := range batch.Columns() {
				text = appendCell(text[:0], column, i)
				if record[f] = string(text); !isNumber(column.DataType()) {
					record[f] = harmless(record[f])
				}
			}
			if err := out.Write(record); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return errors.Join(r.err, out.Error())
}

// harmless puts an apostrophe before text that a spreadsheet would take for a
// formula: names and subjects come from outside.
func harmless(s string) string {
	if s == "" {
		return s
	}
	switch s[0] {
	case '=', '+', '-', '@', '\t', '\r':
		return "'" + s
	}
	return s
}

func (r *Result) writeArrow(w io.Writer) error {
	out := ipc.NewWriter(w, ipc.WithSchema(r.schema))
	for batch := range r.Batches() {
		clean := scrub(batch)
		err := out.Write(clean)
		clean.Release()
		if err != nil {
			return fmt.Errorf("write Arrow: %w", err)
		}
	}
	if r.err != nil {
		return r.err // no end of stream: it is not whole
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("write Arrow: %w", err)
	}
	return nil
}

// writable reports a type of column that the format has no form for. Problem:
// format_unsupported.
func (r *Result) writable(f Format) error {
	if f != Parquet {
		return nil
	}
	if _, err := pqarrow.ToParquet(r.schema, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps()); err != nil {
		return problem.New(406, "format_unsupported", "Parquet has no form for a column of this result: %v.", err)
	}
	return nil
}

func (r *Result) writeParquet(w io.Writer) error {
	props := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd), parquet.WithAllocator(memory.DefaultAllocator))
	out, err := pqarrow.NewFileWriter(r.schema, keepOpen{w}, props, pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	for batch := range r.Batches() {
		if err := out.WriteBuffered(batch); err != nil {
			return fmt.Errorf("write Parquet: %w", err)
		}
	}
	if r.err != nil {
		return r.err // no footer: it is not whole
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	return nil
}

// keepOpen hides that a writer can be closed, which pqarrow would do.
type keepOpen struct{ io.Writer }
