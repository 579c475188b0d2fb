package event

import (
	"fmt"
	"math"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Columns collects rows of the log column by column and hands them out sorted, as
// tables want them. The texts of a row follow each other, and few clients send
// most of the traffic, so all texts of a row are looked up at once. The zero
// value is empty and ready; it is not safe for concurrent use.
type Columns struct {
	// Rest, if set, is called by Batches between pieces of its work, each of which takes
	// a few nanoseconds per row, for callers who want to give way to others.
	Rest func()

	id, occurred, delay, email, recipient []int64
	component                             []int32
	labels                                [numLabels][]uint8
	texts                                 []int32 // place in distinct
	group                                 []int32 // the same, of the present group's rows with texts of their own

	places   map[string]int32 // by the bytes of the texts in a row
	distinct [numTexts][]string
}

// Columns of enumerations and of texts, in the order of a row.
const (
	labelKind = iota
	labelActor
	labelDevice
	labelSource
	numLabels
)

const (
	textReason = iota
	textClient
	textOS
	textUserAgent
	textNetwork
	numTexts
)

// Len returns the number of rows.
func (c *Columns) Len() int { return len(c.id) }

// Grow makes room for n more rows.
func (c *Columns) Grow(n int) {
	for _, column := range []*[]int64{&c.id, &c.occurred, &c.delay, &c.email, &c.recipient} {
		*column = slices.Grow(*column, n)
	}
	c.component, c.texts = slices.Grow(c.component, n), slices.Grow(c.texts, n)
	for i := range c.labels {
		c.labels[i] = slices.Grow(c.labels[i], n)
	}
}

func (c *Columns) rest() {
	if c.Rest != nil {
		c.Rest()
	}
}

// NextGroup says that the next row is the first of another group of the log.
func (c *Columns) NextGroup() { c.group = c.group[:0] }

// AddRow adds one row as AppendRow or Rows encodes it; id is the event's id where the
// row has none. The row is not retained. A damaged row gives ErrInvalid and is not added.
func (c *Columns) AddRow(row []byte, id int64) error {
	if len(row) < 5 || row[0] != rowVersion && row[0] != backRow {
		return fmt.Errorf("%w: unknown version or short row", ErrInvalid)
	}
	r := reader{b: row[5:]}
	r.uvarint(math.MaxUint32)
	if own := r.varint(); own != 0 {
		id = own
	}
	occurred := r.varint()
	delay := r.varint()
	email, recipient := r.uvarint(math.MaxInt64), r.uvarint(math.MaxInt64)
	component := r.uvarint(math.MaxInt32)
	if r.bad {
		return fmt.Errorf("%w: damaged row of %d bytes", ErrInvalid, len(row))
	}
	texts, err := c.textsOf(row[0], &r)
	if err != nil {
		return err
	}
	c.id = append(c.id, id)
	c.occurred, c.delay = append(c.occurred, occurred), append(c.delay, delay)
	c.email, c.recipient = append(c.email, int64(email)), append(c.recipient, int64(recipient))
	c.component = append(c.component, int32(component))
	for i := range c.labels {
		c.labels[i] = append(c.labels[i], row[1+i])
	}
	c.texts = append(c.texts, texts)
	return nil
}

// textsOf returns the place of the texts at the end of a row.
func (c *Columns) textsOf(version byte, r *reader) (place int32, err error) {
	if version == backRow {
		back := r.uvarint(uint64(len(c.group)))
		if r.bad || back == 0 || len(r.b) != 0 {
			return 0, fmt.Errorf("%w: damaged row without texts", ErrInvalid)
		}
		return c.group[uint64(len(c.group))-back], nil
	}
	place, known := c.places[string(r.b)]
	if !known {
		if place, err = c.addTexts(r.b); err != nil {
			return 0, err
		}
	}
	c.group = append(c.group, place)
	return place, nil
}

func (c *Columns) addTexts(b []byte) (int32, error) {
	key := string(b)
	r := reader{b: []byte(key)}
	var found [numTexts]string
	for i := range found {
		found[i] = r.text()
	}
	if r.bad || len(r.b) != 0 {
		return 0, fmt.Errorf("%w: damaged texts of %d bytes", ErrInvalid, len(b))
	}
	if c.places == nil {
		c.places = map[string]int32{}
	}
	place := int32(len(c.places)) //nolint:gosec // at most one per row
	c.places[key] = place
	for i, text := range found {
		c.distinct[i] = append(c.distinct[i], text)
	}
	return place, nil
}

// Batches yields the rows in the order of tables (email, recipient, time of
// occurrence, id), one batch per UTC month of occurrence, the partition of the
// tables. A batch has Schema with its texts dictionary-coded. The consumer
// releases it.
func (c *Columns) Batches(yield func(arrow.RecordBatch) bool) {
	order := c.sorted()
	for len(order) > 0 {
		month := Micros(c.occurred[order[0]]).Month()
		first, next := monthStart(month), monthStart(month+1)
		n := slices.IndexFunc(order, func(i int32) bool { return c.occurred[i] < first || c.occurred[i] >= next })
		if n < 0 {
			n = len(order)
		}
		if !yield(c.batch(order[:n])) {
			return
		}
		order = order[n:]
	}
}

func (c *Columns) batch(order []int32) arrow.RecordBatch {
	columns := make([]arrow.Array, numColumns)
	for column, values := range map[int][]int64{colEventID: c.id, colDelay: c.delay, colEmailID: c.email, colRecipientID: c.recipient} {
		columns[column] = fixed(arrow.PrimitiveTypes.Int64, picked(values, order), arrow.Int64Traits.CastToBytes)
		c.rest()
	}
	micros := &arrow.TimestampType{Unit: arrow.Microsecond}
	columns[colOccurredAt] = fixed(micros, picked(c.occurred, order), arrow.Int64Traits.CastToBytes)
	columns[colComponent] = fixed(arrow.PrimitiveTypes.Int32, picked(c.component, order), arrow.Int32Traits.CastToBytes)
	for label, column := range [numLabels]int{colKind, colActor, colDevice, colSource} {
		columns[column] = c.label(label, order)
		c.rest()
	}
	for text, column := range [numTexts]int{colReason, colClient, colOS, colUserAgent, colNetwork} {
		columns[column] = c.text(text, order, column == colUserAgent || column == colNetwork)
		c.rest()
	}
	fields := Schema().Fields()
	for i, column := range columns {
		defer column.Release()
		fields[i].Type = column.DataType()
	}
	return array.NewRecordBatch(arrow.NewSchema(fields, nil), columns, int64(len(order)))
}

func picked[T any](values []T, order []int32) []T {
	out := make([]T, len(order))
	for i, at := range order {
		out[i] = values[at]
	}
	return out
}

func fixed[T any](t arrow.DataType, values []T, bytes func([]T) []byte) arrow.Array {
	data := array.NewData(t, len(values), []*memory.Buffer{nil, memory.NewBufferBytes(bytes(values))}, nil, 0, 0)
	defer data.Release()
	return array.MakeFromData(data)
}

// label codes a column of an enumeration; the names are its dictionary.
func (c *Columns) label(label int, order []int32) arrow.Array {
	names := [numLabels][]string{kindNames[:], actorNames[:], deviceNames[:], sourceNames[:]}[label]
	codes := make([]int32, len(order))
	for i, at := range order {
		if v := c.labels[label][at]; int(v) < len(names) {
			codes[i] = int32(v)
		}
	}
	return coded(codes, nil, names)
}

// text codes a column of texts; where it is optional, no text is null. The
// dictionary holds the texts of these rows only: what is deleted with a row must
// not stay in the file of another month.
func (c *Columns) text(text int, order []int32, optional bool) arrow.Array {
	const unset, null = -1, -2
	byPlace := make([]int32, len(c.distinct[text]))
	for place := range byPlace {
		byPlace[place] = unset
	}
	known := map[string]int32{}
	var values []string
	code := func(s string) int32 {
		if optional && s == "" {
			return null
		}
		code, ok := known[s]
		if !ok {
			code = int32(len(values)) //nolint:gosec // at most one per row
			known[s], values = code, append(values, s)
		}
		return code
	}
	codes := make([]int32, len(order))
	valid := make([]byte, bitutil.BytesForBits(int64(len(order))))
	for i, at := range order {
		place := c.texts[at]
		if byPlace[place] == unset {
			byPlace[place] = code(c.distinct[text][place])
		}
		if code := byPlace[place]; code != null {
			codes[i] = code
			bitutil.SetBit(valid, i)
		}
	}
	if !optional {
		valid = nil
	}
	return coded(codes, valid, values)
}

// coded makes a dictionary array; valid nil means that no value is null.
func coded(codes []int32, valid []byte, values []string) arrow.Array {
	b := array.NewStringBuilder(memory.DefaultAllocator)
	defer b.Release()
	b.AppendValues(values, nil)
	dictionary := b.NewArray()
	defer dictionary.Release()
	nulls, buffers := 0, []*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(codes))}
	if valid != nil {
		nulls, buffers[0] = len(codes)-bitutil.CountSetBits(valid, 0, len(codes)), memory.NewBufferBytes(valid)
	}
	data := array.NewData(arrow.PrimitiveTypes.Int32, len(codes), buffers, nil, nulls, 0)
	defer data.Release()
	indices := array.MakeFromData(data)
	defer indices.Release()
	t := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}
	return array.NewDictionaryArray(t, indices, dictionary)
}
