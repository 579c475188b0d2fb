package bulk

import (
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"mailwake/engine/problem"
)

// arrow reads an Arrow IPC stream whose columns are named as the fields of a row:
// integers, texts (also large, or dictionary-coded), and for occurred_at a timestamp
// of any unit, in UTC where it has no zone, or an integer of microseconds.
func (b *builder) arrow(body io.Reader) (err error) {
	defer func() {
		// The reader checks lengths it is told only where it uses them.
		if broken := recover(); broken != nil {
			err = notArrow(fmt.Errorf("reader: %v", broken))
		}
	}()
	r, err := ipc.NewReader(body, ipc.WithDelayReadSchema(false))
	if err != nil {
		return notArrow(err)
	}
	defer r.Release()
	for r.Next() {
		if err := b.batch(r.RecordBatch()); err != nil {
			return err
		}
	}
	if err := r.Err(); err != nil && !errors.Is(err, io.EOF) {
		return notArrow(err)
	}
	return nil
}

func notArrow(cause error) error {
	return problem.New(422, "bulk_invalid", "The body is no whole Arrow IPC stream.").Because(cause)
}

func (b *builder) batch(rec arrow.RecordBatch) error {
	if b.Rows+int(rec.NumRows()) > MaxRows {
		return tooLarge()
	}
	setters := make([]func(*row, int), rec.NumCols())
	for i, column := range rec.Columns() {
		name := rec.ColumnName(i)
		if setters[i] = setter(name, column); setters[i] == nil {
			return problem.New(422, "bulk_invalid", "Column %d is none of the fields of a row, or is not of its type.", i)
		}
	}
	b.reserve(int(rec.NumRows()))
	var in row
	for i := range int(rec.NumRows()) {
		in = row{}
		for c, set := range setters {
			if rec.Column(c).IsValid(i) {
				set(&in, i)
			}
		}
		if err := b.add(&in); err != nil {
			return err
		}
	}
	return nil
}

// setter returns what copies a value of the column into a row, nil if the column
// does not fit.
func setter(name string, column arrow.Array) func(*row, int) {
	switch name {
	case "occurred_at":
		if at := micros(column); at != nil {
			return func(in *row, i int) { in.occurredAt, in.hasTime = at(i), true }
		}
	case "email_id":
		if n := integers(column); n != nil {
			return func(in *row, i int) { in.email, in.hasEmail = n(i), true }
		}
	case "recipient_id":
		if n := integers(column); n != nil {
			return func(in *row, i int) { in.recipient, in.hasPerson = n(i), true }
		}
	case "component":
		if n := integers(column); n != nil {
			return func(in *row, i int) { in.component = n(i) }
		}
	case "kind":
		if s := textsOf(column); s != nil {
			return func(in *row, i int) { in.kind, in.hasKind = s(i), true }
		}
	default:
		if s := textsOf(column); s != nil && new(row).text(name) != nil {
			return func(in *row, i int) { *in.text(name) = s(i) }
		}
	}
	return nil
}

func integers(column arrow.Array) func(int) int64 {
	switch a := column.(type) {
	case *array.Int64:
		return a.Value
	case *array.Int32:
		return func(i int) int64 { return int64(a.Value(i)) }
	case *array.Uint32:
		return func(i int) int64 { return int64(a.Value(i)) }
	}
	return nil
}

func micros(column arrow.Array) func(int) int64 {
	a, ok := column.(*array.Timestamp)
	if !ok {
		return integers(column)
	}
	unit := a.DataType().(*arrow.TimestampType).Unit
	return func(i int) int64 { return a.Value(i).ToTime(unit).UnixMicro() }
}

func textsOf(column arrow.Array) func(int) string {
	switch a := column.(type) {
	case *array.String:
		return a.Value
	case *array.LargeString:
		return a.Value
	case *array.StringView:
		return a.Value
	case *array.Dictionary:
		values := textsOf(a.Dictionary())
		if values == nil {
			return nil
		}
		return func(i int) string {
			at := a.GetValueIndex(i)
			if a.Dictionary().IsNull(at) {
				return ""
			}
			return values(at)
		}
	}
	return nil
}
