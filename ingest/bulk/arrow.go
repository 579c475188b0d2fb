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
	// Room is made for a message of the length it says before it is read.
	r, err := ipc.NewReaderFromMessageReader(ipc.NewMessageReader(body, ipc.WithMetadataSizeLimit(MaxBytes), ipc.WithBodySizeLimit(MaxBytes)))
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

// blockRows are filled in column by column before they are taken row by row: few
// enough to stay in the processor's cache.
const blockRows = 512

// filler copies values of a column, from one on, into rows.
type filler func(into []row, from int)

func (b *builder) batch(rec arrow.RecordBatch) error {
	n := int(rec.NumRows())
	if b.Rows+n > MaxRows {
		return tooLarge()
	}
	fillers := make([]filler, rec.NumCols())
	for i, column := range rec.Columns() {
		if fillers[i] = b.filler(rec.ColumnName(i), column); fillers[i] == nil {
			return problem.New(422, "bulk_invalid", "Column %d is none of the fields of a row, or is not of its type.", i)
		}
	}
	b.Events.Grow(n)
	var block [blockRows]row
	for from := 0; from < n; from += blockRows {
		rows := block[:min(blockRows, n-from)]
		clear(rows)
		for _, fill := range fillers {
			fill(rows, from)
		}
		for i := range rows {
			if err := b.add(&rows[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// filler returns nil if the column does not fit.
func (b *builder) filler(name string, column arrow.Array) filler {
	switch name {
	case "occurred_at":
		return times(column)
	case "email_id":
		return integers(column, func(in *row, n int64) { in.email, in.hasEmail = n, true })
	case "recipient_id":
		return integers(column, func(in *row, n int64) { in.recipient, in.hasPerson = n, true })
	case "component":
		return integers(column, func(in *row, n int64) { in.component = n })
	case "id":
		if text := textsOf(column); text != nil {
			return valid(column, func(in *row, i int) { in.id = text(i) })
		}
		return nil
	}
	if field, ok := named(textFields[:], name); ok {
		return b.texts(field, column)
	}
	return nil
}

// valid makes a filler of what sets a value that is not null.
func valid(column arrow.Array, set func(in *row, i int)) filler {
	nulls := column.NullN() > 0
	return func(into []row, from int) {
		for i := range into {
			if !nulls || column.IsValid(from+i) {
				set(&into[i], from+i)
			}
		}
	}
}

func integers(column arrow.Array, set func(*row, int64)) filler {
	switch a := column.(type) {
	case *array.Int64:
		return valid(column, func(in *row, i int) { set(in, a.Value(i)) })
	case *array.Int32:
		return valid(column, func(in *row, i int) { set(in, int64(a.Value(i))) })
	case *array.Uint32:
		return valid(column, func(in *row, i int) { set(in, int64(a.Value(i))) })
	}
	return nil
}

func times(column arrow.Array) filler {
	set := func(in *row, at int64) { in.occurredAt, in.hasTime = at, true }
	a, ok := column.(*array.Timestamp)
	if !ok {
		return integers(column, set)
	}
	unit := a.DataType().(*arrow.TimestampType).Unit
	if unit == arrow.Microsecond {
		return valid(column, func(in *row, i int) { set(in, int64(a.Value(i))) })
	}
	return valid(column, func(in *row, i int) { set(in, a.Value(i).ToTime(unit).UnixMicro()) })
}

// texts numbers the texts of a column. Those of a dictionary are looked up once.
func (b *builder) texts(field int, column arrow.Array) filler {
	text, words := textsOf(column), &b.words[field]
	if text == nil {
		return nil
	}
	set := func(in *row, n uint16) {
		in.said[field] = n
		in.hasKind = in.hasKind || field == textKind
	}
	// A dictionary may be far larger than what is used of it.
	if a, ok := column.(*array.Dictionary); ok && a.Dictionary().Len() <= a.Len() {
		numbers, numbered := make([]uint16, a.Dictionary().Len()), make([]bool, a.Dictionary().Len())
		return valid(column, func(in *row, i int) {
			at := a.GetValueIndex(i)
			if !numbered[at] {
				numbers[at], numbered[at] = words.number(text(i)), true
			}
			set(in, numbers[at])
		})
	}
	return valid(column, func(in *row, i int) { set(in, words.number(text(i))) })
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
