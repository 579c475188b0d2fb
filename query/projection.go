package query

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"mailwake/engine/event"
)

// projection is the last SELECT of a KPI whose rows below it are known here: its
// columns made in Go, since DuckDB takes milliseconds to plan what is worked out in
// microseconds. It understands references, coalesce(x, 0) and CAST(x AS DOUBLE) /
// NULLIF(y, 0), and nothing else.
type projection struct {
	columns []projected
	schema  *arrow.Schema
}

// projected is a column: a value, 0 where it is null if zero, or one over another
// if by is not negative. Values are places in what is below.
type projected struct {
	of, by int
	zero   bool
}

var (
	plainColumn = regexp.MustCompile(`^(?:\w+\.)?(\w+)$`)
	zeroColumn  = regexp.MustCompile(`^coalesce\((?:\w+\.)?(\w+), 0\) AS (\w+)$`)
	ratioColumn = regexp.MustCompile(`^CAST\((?:\w+\.)?(\w+) AS DOUBLE\) / NULLIF\((?:\w+\.)?(\w+), 0\) AS (\w+)$`)
	arrowTypes  = map[string]arrow.DataType{
		"bigint": arrow.PrimitiveTypes.Int64, "double": arrow.PrimitiveTypes.Float64,
		"varchar": arrow.BinaryTypes.String, "timestamp": &arrow.TimestampType{Unit: arrow.Microsecond},
		"integer": arrow.PrimitiveTypes.Int32, "boolean": arrow.FixedWidthTypes.Boolean,
	}
)

// project reads the last SELECT of k, which stands on columns of the names below;
// without names these are k's own columns.
func project(k *KPI, below []string) (*projection, error) {
	if below == nil {
		p := &projection{}
		var fields []arrow.Field
		for i, c := range k.Columns {
			p.columns = append(p.columns, projected{of: i, by: -1})
			fields = append(fields, arrow.Field{Name: c.Name, Type: arrowTypes[c.Type], Nullable: true})
		}
		p.schema = arrow.NewSchema(fields, nil)
		return p, nil
	}
	sql := "\n" + k.sql
	at := strings.LastIndex(sql, "\nSELECT\n") + 1
	list, _, ok := strings.Cut(strings.TrimPrefix(sql[at:], "SELECT\n"), "\nFROM ")
	lines := strings.Split(list, ",\n")
	if !ok || len(lines) != len(k.Columns) {
		return nil, errors.New("its last SELECT has other columns than its head")
	}
	p := &projection{}
	var fields []arrow.Field
	for i, line := range lines {
		column, name, err := parseColumn(strings.TrimSpace(line), below)
		if err != nil {
			return nil, err
		}
		t, known := arrowTypes[k.Columns[i].Type]
		if name != k.Columns[i].Name || !known {
			return nil, fmt.Errorf("column %s is not %s", name, k.Columns[i].Name)
		}
		p.columns = append(p.columns, column)
		fields = append(fields, arrow.Field{Name: name, Type: t, Nullable: true})
	}
	p.schema = arrow.NewSchema(fields, nil)
	return p, nil
}

func parseColumn(text string, below []string) (c projected, name string, err error) {
	c.by = -1
	names := []string{"", ""}
	if m := plainColumn.FindStringSubmatch(text); m != nil {
		names[0], name = m[1], m[1]
	} else if m := zeroColumn.FindStringSubmatch(text); m != nil {
		names[0], name, c.zero = m[1], m[2], true
	} else if m := ratioColumn.FindStringSubmatch(text); m != nil {
		names[0], names[1], name = m[1], m[2], m[3]
		if c.by = slices.Index(below, names[1]); c.by < 0 {
			return c, name, fmt.Errorf("there is no %s below", names[1])
		}
	} else {
		return c, name, fmt.Errorf("column %q is not understood", text)
	}
	if c.of = slices.Index(below, names[0]); c.of < 0 {
		return c, name, fmt.Errorf("there is no %s below", names[0])
	}
	return c, name, nil
}

// result makes the columns of rows: each value is nil, int64, float64, string, bool or
// event.Micros.
func (p *projection) result(rows [][]any) *Result {
	b := array.NewRecordBuilder(memory.DefaultAllocator, p.schema)
	defer b.Release()
	for i, c := range p.columns {
		to := b.Field(i)
		to.Reserve(len(rows))
		for _, row := range rows {
			c.append(to, row)
		}
	}
	r := &Result{schema: p.schema}
	r.add(b.NewRecordBatch())
	return r
}

func (c *projected) append(to array.Builder, row []any) {
	v := row[c.of]
	if v == nil && c.zero {
		v = int64(0)
	}
	if c.by >= 0 {
		n, ok := v.(int64)
		if d, _ := row[c.by].(int64); ok && d != 0 {
			to.(*array.Float64Builder).Append(float64(n) / float64(d))
		} else {
			to.AppendNull()
		}
		return
	}
	switch v := v.(type) {
	case nil:
		to.AppendNull()
	case int64:
		if narrow, ok := to.(*array.Int32Builder); ok {
			narrow.Append(int32(v))
		} else {
			to.(*array.Int64Builder).Append(v)
		}
	case float64:
		to.(*array.Float64Builder).Append(v)
	case bool:
		to.(*array.BooleanBuilder).Append(v)
	case string:
		to.(*array.StringBuilder).Append(v)
	case event.Micros:
		to.(*array.TimestampBuilder).Append(arrow.Timestamp(v))
	}
}
