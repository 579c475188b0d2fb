package query

import (
	"encoding/hex"
	"encoding/json"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// appendCell appends row i of a column as text: numbers in decimal, times as RFC
// 3339 in UTC, bytes in hexadecimal, nested values as JSON. NULL adds nothing.
func appendCell(dst []byte, column arrow.Array, i int) []byte {
	if column.IsNull(i) {
		return dst
	}
	switch c := column.(type) {
	case *array.String:
		return append(dst, c.Value(i)...)
	case *array.Timestamp:
		unit := c.DataType().(*arrow.TimestampType).Unit
		return c.Value(i).ToTime(unit).UTC().AppendFormat(dst, time.RFC3339Nano)
	case *array.Date32:
		return c.Value(i).ToTime().AppendFormat(dst, time.DateOnly)
	case *array.Float64:
		return appendFloat(dst, c.Value(i), 64)
	case *array.Float32:
		return appendFloat(dst, float64(c.Value(i)), 32)
	case *array.Binary:
		return hex.AppendEncode(dst, c.Value(i))
	case *array.Dictionary:
		return appendCell(dst, c.Dictionary(), c.GetValueIndex(i))
	case *array.Decimal128:
		return append(dst, c.Value(i).ToString(c.DataType().(*arrow.Decimal128Type).Scale)...)
	case *array.MonthDayNanoInterval:
		return appendInterval(dst, c.Value(i))
	case *array.List, *array.FixedSizeList, *array.Struct, *array.Map, *array.LargeList:
		return appendJSON(dst, column, i)
	}
	if text, ok := appendInteger(dst, column, i); ok {
		return text
	}
	return append(dst, column.ValueStr(i)...)
}

// appendInterval writes an ISO 8601 duration.
func appendInterval(dst []byte, v arrow.MonthDayNanoInterval) []byte {
	dst = strconv.AppendInt(append(dst, 'P'), int64(v.Months), 10)
	dst = strconv.AppendInt(append(dst, 'M'), int64(v.Days), 10)
	seconds := strconv.FormatFloat(float64(v.Nanoseconds)/1e9, 'f', -1, 64)
	return append(append(append(dst, "DT"...), seconds...), 'S')
}

// appendFloat uses the shortest text that reads back as v, with an exponent only
// where digits would be many.
func appendFloat(dst []byte, v float64, bits int) []byte {
	form := byte('f')
	if a := math.Abs(v); a != 0 && (a < 1e-6 || a >= 1e21) {
		form = 'e'
	}
	return strconv.AppendFloat(dst, v, form, -1, bits)
}

func appendInteger(dst []byte, column arrow.Array, i int) ([]byte, bool) {
	switch c := column.(type) {
	case *array.Int64:
		return strconv.AppendInt(dst, c.Value(i), 10), true
	case *array.Int32:
		return strconv.AppendInt(dst, int64(c.Value(i)), 10), true
	case *array.Int16:
		return strconv.AppendInt(dst, int64(c.Value(i)), 10), true
	case *array.Int8:
		return strconv.AppendInt(dst, int64(c.Value(i)), 10), true
	case *array.Uint64:
		return strconv.AppendUint(dst, c.Value(i), 10), true
	case *array.Uint32:
		return strconv.AppendUint(dst, uint64(c.Value(i)), 10), true
	case *array.Uint16:
		return strconv.AppendUint(dst, uint64(c.Value(i)), 10), true
	case *array.Uint8:
		return strconv.AppendUint(dst, uint64(c.Value(i)), 10), true
	case *array.Boolean:
		return strconv.AppendBool(dst, c.Value(i)), true
	}
	return dst, false
}

// isNumber reports a type whose text is a decimal number.
func isNumber(t arrow.DataType) bool {
	return arrow.IsInteger(t.ID()) || arrow.IsFloating(t.ID()) || arrow.IsDecimal(t.ID())
}

// appendJSON appends row i of a column as a JSON value. Numbers are numbers, also
// beyond 2^53; NaN and infinities, which JSON has no word for, are null.
func appendJSON(dst []byte, column arrow.Array, i int) []byte {
	if column.IsNull(i) {
		return append(dst, "null"...)
	}
	switch c := column.(type) {
	case *array.String:
		return appendString(dst, c.Value(i))
	case *array.Float64:
		return appendFinite(dst, c.Value(i), 64)
	case *array.Float32:
		return appendFinite(dst, float64(c.Value(i)), 32)
	case *array.Dictionary:
		return appendJSON(dst, c.Dictionary(), c.GetValueIndex(i))
	case *array.Map:
		return appendMap(dst, c, i)
	case array.ListLike:
		from, to := c.ValueOffsets(i)
		dst = append(dst, '[')
		for at := from; at < to; at++ {
			if at > from {
				dst = append(dst, ',')
			}
			dst = appendJSON(dst, c.ListValues(), int(at))
		}
		return append(dst, ']')
	case *array.Struct:
		fields := c.DataType().(*arrow.StructType).Fields()
		dst = append(dst, '{')
		for f := range fields {
			if f > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendString(dst, fields[f].Name), ':')
			dst = appendJSON(dst, c.Field(f), i)
		}
		return append(dst, '}')
	}
	if text, ok := appendInteger(dst, column, i); ok {
		return text
	}
	if isNumber(column.DataType()) {
		return appendCell(dst, column, i)
	}
	return appendString(dst, string(appendCell(nil, column, i)))
}

// appendMap writes a map as an array of pairs, since its keys may be of any type.
func appendMap(dst []byte, c *array.Map, i int) []byte {
	from, to := c.ValueOffsets(i)
	dst = append(dst, '[')
	for at := from; at < to; at++ {
		if at > from {
			dst = append(dst, ',')
		}
		dst = appendJSON(append(dst, `{"key":`...), c.Keys(), int(at))
		dst = appendJSON(append(dst, `,"value":`...), c.Items(), int(at))
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

func appendFinite(dst []byte, v float64, bits int) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return append(dst, "null"...)
	}
	return appendFloat(dst, v, bits)
}

// appendString appends s as a JSON string.
func appendString(dst []byte, s string) []byte {
	if isPlain(s) {
		dst = append(dst, '"')
		dst = append(dst, s...)
		return append(dst, '"')
	}
	quoted, err := json.Marshal(s)
	if err != nil {
		return append(dst, `""`...) // a string always has a form
	}
	return append(dst, quoted...)
}

func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
