package query

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"mailwake/engine/problem"
)

// zoo has a value, an extreme or an awkward one, and NULL of many types.
const zoo = `SELECT * FROM (VALUES
 (1::BIGINT, 255::UTINYINT, 1.5::DOUBLE, 12.50::DECIMAL(10,2), true, '=1+1', TIMESTAMP '2026-01-02 03:04:05.123456', DATE '2026-02-03', [1, NULL, 3], {'a': 'x"', 'b': 2}, MAP {'k': 1}, 'one'::ENUM ('one', 'two'), 1::HUGEINT, TIMESTAMPTZ '2026-01-02 03:04:05+01'),
 (-9223372036854775808, 0, 'NaN', -0.01, false, E'-2 "q", <b>\nü\t日本', TIMESTAMP '1969-12-31 23:59:59', DATE '1969-12-31', [], {'a': NULL, 'b': NULL}, MAP {}, 'two', -5, TIMESTAMPTZ '2026-07-02 03:04:05Z'),
 (9007199254740993, 1, 'Infinity', 0, NULL, '+3', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
 (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
) AS t("=id", small, ratio, price, yes, text, "at", day, list, pair, map, kind, huge, zoned)`

func zooResult(t *testing.T, text string) *Result {
	t.Helper()
	db := newWorld(t).open(nil)
	res, err := db.SQL(t.Context(), Statement{Org: 1, Text: text})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(res.Close)
	return res
}

func written(t *testing.T, res *Result, f Format) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := res.Write(&b, f); err != nil {
		t.Fatalf("%s: %v", f, err)
	}
	return b.Bytes()
}

const zooJSON = `[
{"=id":1,"small":255,"ratio":1.5,"price":12.50,"yes":true,"text":"=1+1","at":"2026-01-02T03:04:05.123456Z","day":"2026-02-03","list":[1,null,3],"pair":{"a":"x\"","b":2},"map":[{"key":"k","value":1}],"kind":"one","huge":1,"zoned":"2026-01-02T02:04:05Z"},
{"=id":-9223372036854775808,"small":0,"ratio":null,"price":-0.01,"yes":false,"text":"-2 \"q\", \u003cb\u003e\nü\t日本","at":"1969-12-31T23:59:59Z","day":"1969-12-31","list":[],"pair":{"a":null,"b":null},"map":[],"kind":"two","huge":-5,"zoned":"2026-07-02T03:04:05Z"},
{"=id":9007199254740993,"small":1,"ratio":null,"price":0.00,"yes":null,"text":"+3","at":null,"day":null,"list":null,"pair":null,"map":null,"kind":null,"huge":null,"zoned":null},
{"=id":null,"small":null,"ratio":null,"price":null,"yes":null,"text":null,"at":null,"day":null,"list":null,"pair":null,"map":null,"kind":null,"huge":null,"zoned":null}
]
`

func TestJSON(t *testing.T) {
	res := zooResult(t, zoo)
	got := written(t, res, JSON)
	if string(got) != zooJSON {
		t.Errorf("got\n%s\nwant\n%s", got, zooJSON)
	}
	var rows, lines []map[string]any
	if err := json.Unmarshal(got, &rows); err != nil || len(rows) != 4 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	in := bufio.NewScanner(bytes.NewReader(written(t, res, NDJSON)))
	for in.Scan() {
		var row map[string]any
		if err := json.Unmarshal(in.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, row)
	}
	if !reflect.DeepEqual(lines, rows) {
		t.Errorf("NDJSON has %v, JSON %v", lines, rows)
	}
	none := zooResult(t, "SELECT 1 AS a WHERE false")
	if got := string(written(t, none, JSON)); got != "[]\n" {
		t.Errorf("no rows are %q", got)
	}
	if got := string(written(t, none, NDJSON)); got != "" {
		t.Errorf("no rows are %q", got)
	}
}

func TestCSV(t *testing.T) {
	rows, err := csv.NewReader(bytes.NewReader(written(t, zooResult(t, zoo), CSV))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"'=id", "small", "ratio", "price", "yes", "text", "at", "day", "list", "pair", "map", "kind", "huge", "zoned"},
		{"1", "255", "1.5", "12.50", "true", "'=1+1", "2026-01-02T03:04:05.123456Z", "2026-02-03", "[1,null,3]", `{"a":"x\"","b":2}`, `[{"key":"k","value":1}]`, "one", "1", "2026-01-02T02:04:05Z"},
		{"-9223372036854775808", "0", "NaN", "-0.01", "false", "'-2 \"q\", <b>\nü\t日本", "1969-12-31T23:59:59Z", "1969-12-31", "[]", `{"a":null,"b":null}`, "[]", "two", "-5", "2026-07-02T03:04:05Z"},
		{"9007199254740993", "1", "+Inf", "0.00", "", "'+3", "", "", "", "", "", "", "", ""},
		{"", "", "", "", "", "", "", "", "", "", "", "", "", ""},
	}
	for i := range want {
		if !slices.Equal(rows[i], want[i]) {
			t.Errorf("row %d\n got %q\nwant %q", i, rows[i], want[i])
		}
	}
	for _, text := range []string{"=a", "+a", "-a", "@a", "\ta", "\ra"} {
		if harmless(text) != "'"+text {
			t.Errorf("%q becomes %q", text, harmless(text))
		}
	}
}

func TestArrowReadsBack(t *testing.T) {
	res := zooResult(t, "SELECT range AS i, 'n' || range AS s FROM range(5000)")
	in, err := ipc.NewReader(bytes.NewReader(written(t, res, Arrow)))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Release()
	n := 0
	for in.Next() {
		b := in.RecordBatch()
		for i := range int(b.NumRows()) {
			if b.Column(0).(*array.Int64).Value(i) != int64(n) || b.Column(1).ValueStr(i) != "n"+b.Column(0).ValueStr(i) {
				t.Fatalf("row %d is %s, %s", n, b.Column(0).ValueStr(i), b.Column(1).ValueStr(i))
			}
			n++
		}
	}
	if in.Err() != nil || n != 5000 {
		t.Errorf("%d rows, %v", n, in.Err())
	}
	all := zooResult(t, zoo)
	back, err := ipc.NewReader(bytes.NewReader(written(t, all, Arrow)))
	if err != nil {
		t.Fatal(err)
	}
	defer back.Release()
	if !back.Next() || !array.RecordApproxEqual(back.RecordBatch(), all.batches[0], array.WithNaNsEqual(true)) {
		t.Errorf("the zoo came back changed: %v", back.Err())
	}
}

func TestParquetReadsBack(t *testing.T) {
	res := zooResult(t, zoo)
	if err := res.writable(Parquet); err != nil {
		t.Fatal(err)
	}
	in, err := file.NewParquetReader(bytes.NewReader(written(t, res, Parquet)))
	if err != nil {
		t.Fatal(err)
	}
	reader, err := pqarrow.NewFileReader(in, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	table, err := reader.ReadTable(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer table.Release()
	if table.NumRows() != 4 || table.NumCols() != 14 {
		t.Fatalf("%d rows of %d columns", table.NumRows(), table.NumCols())
	}
	for f, column := range res.batches[0].Columns() {
		for i := range 4 {
			if want, got := column.ValueStr(i), table.Column(f).Data().Chunk(0).ValueStr(i); got != want {
				t.Errorf("row %d of %s is %s, want %s", i, res.batches[0].ColumnName(f), got, want)
			}
		}
	}
	// The type that Parquet has no form for is refused before anything is written.
	odd := zooResult(t, "SELECT INTERVAL 3 DAY AS i")
	if err := odd.writable(Parquet); problem.Of(err).Code != "format_unsupported" {
		t.Errorf("got %v", err)
	}
	for _, f := range []Format{JSON, NDJSON, CSV, Arrow, Table} {
		if err := odd.writable(f); err != nil || len(written(t, odd, f)) == 0 {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// Types that have no form of their own are still written, as valid JSON.
func TestOddTypes(t *testing.T) {
	res := zooResult(t, `SELECT INTERVAL '1 month 2 days', TIME '01:02:03', uuid() AS u, '\xAA'::BLOB, '101'::BIT, NULL AS n, [[1], [2, 3]], [{'at': TIMESTAMP '2026-01-02 03:04:05'}],
 18446744073709551615::UBIGINT, 12345678901234567890123456789012345678::HUGEINT, 1.5::FLOAT, (3)::SMALLINT, [1, 2]::INTEGER[2], TIMESTAMP_S '2026-01-01 00:00:00', sum(1)`)
	var rows []map[string]any
	if err := json.Unmarshal(written(t, res, JSON), &rows); err != nil || len(rows) != 1 {
		t.Fatalf("%s: %v", written(t, res, JSON), err)
	}
	t.Logf("%s", written(t, res, JSON))
	for name, column := range res.batches[0].Columns() {
		if dt := column.DataType(); dt.ID() == arrow.UINT64 && column.ValueStr(0) != "18446744073709551615" {
			t.Errorf("column %d is %s", name, column.ValueStr(0))
		}
	}
	for _, part := range []string{`18446744073709551615`, `[[1],[2,3]]`, `[{"at":"2026-01-02T03:04:05Z"}]`, `"aa"`, `"2026-01-01T00:00:00Z"`, `[1,2]`, `12345678901234567890123456789012345678`, `"P1M2DT0S"`} {
		if !strings.Contains(string(written(t, res, JSON)), part) {
			t.Errorf("%s is not there", part)
		}
	}
}

type brokenWriter struct{ room int }

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.room -= len(p); w.room < 0 {
		return 0, errors.New("broken pipe")
	}
	return len(p), nil
}

func TestWriteErrorsAreReported(t *testing.T) {
	res := zooResult(t, "SELECT range AS i, 'text' AS s FROM range(10000)")
	for _, f := range []Format{JSON, NDJSON, CSV, Arrow, Parquet, Table} {
		if err := res.Write(&brokenWriter{room: 100}, f); err == nil {
			t.Errorf("%s: no error", f)
		}
	}
	if err := res.Write(&brokenWriter{}, "xml"); err == nil {
		t.Error("xml: no error")
	}
}

func TestFormats(t *testing.T) {
	for _, f := range formats {
		if got, err := ParseFormat(string(f.format)); err != nil || got != f.format {
			t.Errorf("%s: %s, %v", f.format, got, err)
		}
		if got := Negotiate(f.types[0]); got != f.format || !strings.HasPrefix(f.format.ContentType(), f.types[0]) {
			t.Errorf("%s: %s, %s", f.types[0], got, f.format.ContentType())
		}
	}
	if _, err := ParseFormat("JSON"); problem.Of(err).Code != "format_unknown" {
		t.Errorf("got %v", err)
	}
	for accept, want := range map[string]Format{
		"":                                       JSON,
		"*/*":                                    JSON,
		"text/*":                                 CSV,
		"image/png":                              JSON,
		"text/csv;q=0.5, text/plain":             Table,
		"text/csv;q=0.5, application/json;q=0.4": CSV,
		"text/csv, application/json":             JSON,
		"text/csv, */*;q=0.1":                    CSV,
		"application/json;q=0, */*":              NDJSON,
		"TEXT/CSV; charset=utf-8":                CSV,
		"text/html,application/xhtml+xml,*/*;q=0.8": JSON,
		";;;,text/csv;q=x,":                         JSON,
		"application/vnd.apache.arrow.stream":       Arrow,
	} {
		if got := Negotiate(accept); got != want {
			t.Errorf("%q: %s, want %s", accept, got, want)
		}
	}
}
