package bench

import (
	"compress/gzip"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/klauspost/compress/zstd"

	"mailwake/engine/event"
)

// Formats of bodies for the bulk door. A row has no id of its own: the server
// gives it one.
const (
	formatArrow  = "application/vnd.apache.arrow.stream"
	formatNDJSON = "application/x-ndjson"
)

// encode writes the rows as a whole body.
func (r *rows) encode(w io.Writer, format string) error {
	if format == formatNDJSON {
		return r.ndjson(w)
	}
	return r.arrow(w)
}

func (r *rows) ndjson(w io.Writer) error {
	kinds := event.Kinds()
	var line []byte
	for i := range r.at {
		line = append(line[:0], `{"occurred_at":`...)
		line = strconv.AppendInt(line, r.at[i], 10)
		line = append(append(line, `,"kind":"`...), kinds[r.kind[i]]...)
		line = strconv.AppendInt(append(line, `","email_id":`...), r.email[i], 10)
		line = strconv.AppendInt(append(line, `,"recipient_id":`...), r.recipient[i], 10)
		if r.component[i] != 0 {
			line = strconv.AppendInt(append(line, `,"component":`...), int64(r.component[i]), 10)
		}
		if a := r.agent[i]; a != noCode {
			line = strconv.AppendQuote(append(line, `,"user_agent":`...), worldAgents[a])
		}
		if a := r.actor[i]; a != noCode {
			line = strconv.AppendQuote(append(line, `,"actor":`...), worldActors[a])
		}
		line = append(line, "}\n"...)
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	return nil
}

// worldSchema is that of the Arrow stream.
var worldSchema = func() *arrow.Schema {
	coded := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}
	return arrow.NewSchema([]arrow.Field{
		{Name: "occurred_at", Type: &arrow.TimestampType{Unit: arrow.Microsecond}},
		{Name: "kind", Type: coded},
		{Name: "email_id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "recipient_id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "component", Type: arrow.PrimitiveTypes.Int32},
		{Name: "user_agent", Type: coded, Nullable: true},
		{Name: "actor", Type: coded, Nullable: true},
	}, nil)
}()

func (r *rows) arrow(w io.Writer) error {
	ints := func(values []int64, t arrow.DataType) arrow.Array {
		return plain(t, len(values), arrow.Int64Traits.CastToBytes(values))
	}
	columns := []arrow.Array{
		ints(r.at, worldSchema.Field(0).Type), codedArray(r.kind, event.Kinds()),
		ints(r.email, arrow.PrimitiveTypes.Int64), ints(r.recipient, arrow.PrimitiveTypes.Int64),
		plain(arrow.PrimitiveTypes.Int32, r.len(), arrow.Int32Traits.CastToBytes(r.component)),
		codedArray(r.agent, worldAgents), codedArray(r.actor, worldActors),
	}
	rec := array.NewRecordBatch(worldSchema, columns, int64(r.len()))
	for _, c := range columns {
		c.Release()
	}
	defer rec.Release()
	out := ipc.NewWriter(w, ipc.WithSchema(worldSchema))
	if err := out.Write(rec); err != nil {
		return fmt.Errorf("encode rows: %w", err)
	}
	return out.Close()
}

func plain(t arrow.DataType, n int, values []byte) arrow.Array {
	data := array.NewData(t, n, []*memory.Buffer{nil, memory.NewBufferBytes(values)}, nil, 0, 0)
	defer data.Release()
	return array.MakeFromData(data)
}

// codedArray makes a dictionary array; noCode is null.
func codedArray(codes []int8, values []string) arrow.Array {
	b := array.NewStringBuilder(memory.DefaultAllocator)
	defer b.Release()
	b.AppendValues(values, nil)
	dictionary := b.NewArray()
	defer dictionary.Release()
	var indices arrow.Array
	if slices.Contains(codes, noCode) {
		valid := make([]bool, len(codes))
		for i, c := range codes {
			valid[i] = c != noCode
		}
		ib := array.NewInt8Builder(memory.DefaultAllocator)
		defer ib.Release()
		ib.AppendValues(codes, valid)
		indices = ib.NewArray()
	} else {
		indices = plain(arrow.PrimitiveTypes.Int8, len(codes), arrow.Int8Traits.CastToBytes(codes))
	}
	defer indices.Release()
	return array.NewDictionaryArray(worldSchema.Field(1).Type, indices, dictionary)
}

// compressor wraps w by the Content-Encoding, "" for none.
func compressor(w io.Writer, encoding string) (io.WriteCloser, error) {
	switch encoding {
	case "gzip":
		return gzip.NewWriterLevel(w, gzip.BestSpeed)
	case "zstd":
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	}
	return nopCloser{w}, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
