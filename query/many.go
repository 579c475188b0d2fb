package query

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"mailwake/engine/event"
	"mailwake/engine/problem"
)

// many turns figures about people into what those may see who may not see persons.
//
// A number n of people is shown as the multiple of k that n + u + v rounds down to,
// u from 0 to k-1 and v from -k/2 to k/2: right on average, never off by 1.5 k, and
// shown only where n is at least k, for sure only from 3 k on. Both are secret and
// fixed for each figure of each group. So whoever asks again gets the same answer;
// the answers for two groups that differ by one person are rounded at places that
// have nothing to do with each other; and no answer tells for sure what one person
// did to somebody who knows of all others, but in one case of k². What is left of a
// group around a figure, and the difference of any two, are as uncertain.
type many struct {
	least  int64 // k
	secret []byte
}

// offsets are u and v for k people, of which one adds unit.
func (m *many) offsets(group, figure string, unit int64) (u, v int64) {
	if same, ok := sameFigures[figure]; ok {
		figure = same
	}
	mac := hmac.New(sha256.New, m.secret)
	fmt.Fprintf(mac, "%s\x00%s\x00%d", figure, group, unit)
	sum := mac.Sum(nil)
	half := m.least * unit / 2
	return below(sum[:8], m.least*unit), below(sum[8:], 2*half+1) - half
}

// below makes a number from 0 to n-1 of eight random bytes.
func below(random []byte, n int64) int64 {
	return int64(binary.BigEndian.Uint64(random) % uint64(n)) //nolint:gosec // below n
}

// unbounded is the size of a group where it does not bound a figure.
const unbounded = math.MaxInt64

// figure is what is shown of n, to which a person adds unit on average. No more is
// shown than there are in the group, which would tell that it is everybody.
func (m *many) figure(group, figure string, n, all, unit int64) (shown int64, ok bool) {
	base := m.least * unit
	u, v := m.offsets(group, figure, unit)
	shown = (n + u + v) / base * base
	if all >= n {
		shown = min(shown, all/base*base)
	}
	return shown, n+u+v-base/2 >= 2*base-unit
}

// mayAsk refuses parameters that somebody who may not see persons cannot set.
// Problem: parameter_invalid.
func (k *KPI) mayAsk(given map[string]string) error {
	d := kpiDisclosures[k.Name]
	for _, p := range k.Params {
		if _, ok := given[p.Name]; ok && !d.allows(p.Name) {
			return problem.New(400, "parameter_invalid", "The parameter %s cannot be set with a key that may not see persons.", p.Name)
		}
	}
	return nil
}

// show is what of res, which it closes, is shown to somebody who may not see persons.
func (db *DB) show(ctx context.Context, org event.OrgID, res *Result, d disclosure, asked map[string]any) (*Result, error) {
	secret, err := db.opts.Secret(ctx, org)
	if err != nil {
		res.Close()
		return nil, fmt.Errorf("secret of figures: %w", err)
	}
	m := many{least: int64(db.opts.Worker.MinPeople), secret: secret}
	return m.show(res, d, asked), nil
}

// show returns a result in place of res, which it closes. Params are what the
// question was asked with.
func (m *many) show(res *Result, d disclosure, params map[string]any) *Result {
	defer res.Close()
	s := &showing{many: m, d: d, params: params, columns: map[string]int{}, schema: res.schema}
	for i, f := range res.schema.Fields() {
		s.columns[f.Name] = i
	}
	for batch := range res.Batches() {
		for i := range int(batch.NumRows()) {
			if row := s.row(batch, i); row != nil {
				s.rows = append(s.rows, row)
			}
		}
	}
	s.sort()
	shown := &Result{Snapshot: res.Snapshot, schema: res.schema, truncated: res.truncated}
	shown.add(s.batch())
	return shown
}

// showing is the work on one result.
type showing struct {
	*many
	d       disclosure
	params  map[string]any
	columns map[string]int
	schema  *arrow.Schema
	rows    [][]any
}

// row returns what is shown of a row, nil if nothing is.
func (s *showing) row(batch arrow.RecordBatch, i int) []any {
	row := make([]any, len(s.columns))
	for _, name := range in(s.columns, s.d.plain) {
		row[s.columns[name]] = valueAt(batch.Column(s.columns[name]), i)
	}
	number := func(name string) int64 {
		n, _ := valueAt(batch.Column(s.columns[name]), i).(int64)
		return n
	}
	size := strings.Fields(s.d.figures[0].columns)[0]
	people, mails := number(size), int64(1)
	for _, f := range s.d.figures {
		group, names, unit := s.group(f.group, row), in(s.columns, f.columns), max(1, f.most)
		if f.pairs {
			for _, name := range names {
				mails = max(mails, (number(name)+people-1)/max(people, 1))
			}
			unit = mails
		}
		for _, name := range names {
			all := people
			if name == size || unit > 1 {
				all = unbounded
			}
			if shown, ok := s.figure(group, name, number(name), all, unit); ok {
				row[s.columns[name]] = shown
			}
		}
	}
	if row[s.columns[size]] == nil {
		return nil // the row is about few
	}
	s.derive(batch, i, row)
	return row
}

// group names the group of a row by parameters and plain columns.
func (s *showing) group(of string, row []any) string {
	var text strings.Builder
	for name := range strings.FieldsSeq(of) {
		if at, ok := s.columns[name]; ok {
			fmt.Fprintf(&text, "%s=%v\x00", name, row[at])
		} else if v := s.params[name]; v != nil {
			fmt.Fprintf(&text, "%s=%v\x00", name, v)
		}
	}
	return text.String()
}

// derive fills in what follows from the figures of a row that are shown.
func (s *showing) derive(batch arrow.RecordBatch, i int, row []any) {
	for name, of := range rates {
		at, ok := s.columns[name]
		if !ok || len(in(s.columns, of[0]+" "+of[1])) < 2 {
			continue
		}
		n, shown := row[s.columns[of[0]]].(int64)
		if all, ok := row[s.columns[of[1]]].(int64); ok && shown {
			row[at] = min(1, float64(n)/float64(all))
		}
	}
	for name, of := range s.d.coarse {
		if v, ok := valueAt(batch.Column(s.columns[name]), i).(float64); ok && row[s.columns[of]] != nil {
			row[s.columns[name]] = oneDigit(v)
		}
	}
}

// oneDigit rounds v, which is not negative, to one digit other than zero.
func oneDigit(v float64) float64 {
	if v < 1 {
		return math.Round(v)
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	return math.Round(v/unit) * unit
}

// sort orders rows by the names of their groups, since any other order tells of
// exact figures; new emails come first.
func (s *showing) sort() {
	names := in(s.columns, s.d.plain)
	slices.SortFunc(s.rows, func(a, b []any) int {
		for _, name := range names {
			at := s.columns[name]
			if c := compare(a[at], b[at]); c != 0 && name == "email_id" {
				return -c
			} else if c != 0 {
				return c
			}
		}
		return 0
	})
}

func compare(a, b any) int {
	if x, ok := a.(int64); ok {
		if y, ok := b.(int64); ok {
			return cmp.Compare(x, y)
		}
	}
	return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
}

func (s *showing) batch() arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, s.schema)
	defer b.Release()
	for _, row := range s.rows {
		for i, v := range row {
			appendValue(b.Field(i), v)
		}
	}
	return b.NewRecordBatch()
}

// valueAt is a value of the types that columns of KPIs have: a number of any
// kind of integer, date or time is an int64.
func valueAt(column arrow.Array, i int) any {
	if column.IsNull(i) {
		return nil
	}
	switch c := column.(type) {
	case *array.Int64:
		return c.Value(i)
	case *array.Int32:
		return int64(c.Value(i))
	case *array.Timestamp:
		return int64(c.Value(i))
	case *array.Date32:
		return int64(c.Value(i))
	case *array.Float64:
		return c.Value(i)
	case *array.Boolean:
		return c.Value(i)
	case *array.String:
		return strings.Clone(c.Value(i))
	}
	return nil
}

// appendValue appends what valueAt returned; NULL where the types differ.
func appendValue(to array.Builder, v any) {
	number, isNumber := v.(int64)
	switch b := to.(type) {
	case *array.Int64Builder:
		if isNumber {
			b.Append(number)
			return
		}
	case *array.Int32Builder:
		if isNumber {
			b.Append(int32(number)) //nolint:gosec // it came out of such a column
			return
		}
	case *array.TimestampBuilder:
		if isNumber {
			b.Append(arrow.Timestamp(number))
			return
		}
	case *array.Date32Builder:
		if isNumber {
			b.Append(arrow.Date32(number)) //nolint:gosec // it came out of such a column
			return
		}
	case *array.Float64Builder:
		if v, ok := v.(float64); ok {
			b.Append(v)
			return
		}
	case *array.BooleanBuilder:
		if v, ok := v.(bool); ok {
			b.Append(v)
			return
		}
	case *array.StringBuilder:
		if v, ok := v.(string); ok {
			b.Append(v)
			return
		}
	}
	to.AppendNull()
}
