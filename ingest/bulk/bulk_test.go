package bulk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"mailwake/engine/classify"
	"mailwake/engine/event"
	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// refuses13 is consent that recipient 13 does not give.
type refuses13 struct{}

func (refuses13) Decide(_ event.OrgID, recipient event.RecipientID, _ event.Kind) registry.Verdict {
	return registry.Verdict{Allow: recipient != 13}
}

var judge = sync.OnceValue(func() *classify.Classifier { return classify.New(classify.Options{}) })

func newReader() *Reader {
	return &Reader{
		Consent: refuses13{}, Classifier: judge(), Clock: func() time.Time { return noon },
		LastIDs: func(context.Context, event.OrgID) (event.EmailID, event.RecipientID, error) { return 50, 100, nil },
	}
}

func read(t testing.TB, format string, body []byte) Batch {
	t.Helper()
	b, err := newReader().Read(context.Background(), 1, format, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// eventsOf reads the events of a batch as the log is read.
func eventsOf(t testing.TB, b Batch) []event.Interaction {
	t.Helper()
	var rows event.Decoder
	events := make([]event.Interaction, 0, b.Events.Len())
	for row := range b.Events.All() {
		var in event.Interaction
		if err := rows.Decode(row, &in); err != nil {
			t.Fatal(err)
		}
		events = append(events, in)
	}
	return events
}

func TestNDJSONRow(t *testing.T) {
	b := read(t, NDJSON, []byte(`{"occurred_at":"2026-07-01T14:00:00.000001+02:00","kind":"click","email_id":7,"recipient_id":9,"component":3,"id":"abc","user_agent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:109.0) Gecko/20100101 Firefox/121.0","ip":"198.51.100.7"}

{"occurred_at":1782900000000000,"kind":"open","email_id":7,"recipient_id":13}
{"occurred_at":1782900000000000,"kind":"reply","email_id":7,"recipient_id":9,"actor":"bot","device":"mobile","client":"X","os":"Y","reason":"why","component":null}
`))
	if len(b.Errors) > 0 || b.Rows != 3 || b.NotAllowed != 1 || b.Events.Len() != 2 {
		t.Fatalf("batch %+v", b)
	}
	events := eventsOf(t, b)
	first := event.Interaction{
		Org: 1, ID: reportedID("abc"), OccurredAt: event.At(noon) + 1, ReceivedAt: event.At(noon), Kind: event.Click, Email: 7, Recipient: 9, Component: 3,
		Actor: event.Human, Device: event.Desktop, Client: "Firefox", OS: "Windows", Source: event.API,
		UserAgent: "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:109.0) Gecko/20100101 Firefox/121.0",
	}
	if events[0] != first || first.ID >= 0 {
		t.Errorf("got  %+v\nwant %+v", events[0], first)
	}
	second := event.Interaction{
		Org: 1, OccurredAt: 1782900000000000, ReceivedAt: event.At(noon), Kind: event.Reply, Email: 7, Recipient: 9,
		Actor: event.Bot, Device: event.Mobile, Client: "X", OS: "Y", Reason: "why", Source: event.API,
	}
	if events[1] != second {
		t.Errorf("got  %+v\nwant %+v", events[1], second)
	}
}

func TestRowFaults(t *testing.T) {
	const good = `{"occurred_at":1782900000000000,"kind":"open","email_id":1,"recipient_id":1}`
	with := func(member string) string { return strings.TrimSuffix(good, "}") + "," + member + "}" }
	cases := []struct{ line, field, code string }{
		{`nonsense`, "", codeNotJSON}, {`[1]`, "", codeNotJSON}, {`"x"`, "", codeNotJSON}, {good + good, "", codeNotJSON}, {"{\"kind\":\"\xff\"}", "", codeUTF8},
		{`{}`, "occurred_at", codeMissing}, {`{"occurred_at":1}`, "kind", codeMissing}, {`{"occurred_at":1,"kind":"open"}`, "email_id", codeMissing},
		{`{"occurred_at":1,"kind":"open","email_id":1}`, "recipient_id", codeMissing}, {strings.Replace(good, "1782900000000000", "null", 1), "occurred_at", codeMissing},
		{strings.Replace(good, "1782900000000000", "5", 1), "occurred_at", codeRange}, {strings.Replace(good, "1782900000000000", `"yesterday"`, 1), "occurred_at", codeValue},
		{strings.Replace(good, "1782900000000000", `true`, 1), "occurred_at", codeType}, {strings.Replace(good, "1782900000000000", "1e300", 1), "occurred_at", codeRange},
		{strings.Replace(good, "open", "invalid", 1), "kind", codeValue}, {strings.Replace(good, "open", "dance", 1), "kind", codeValue},
		{strings.Replace(good, `"open"`, "1", 1), "kind", codeType}, {strings.Replace(good, `"email_id":1`, `"email_id":51`, 1), "email_id", codeEmail},
		{strings.Replace(good, `"email_id":1`, `"email_id":0`, 1), "email_id", codeEmail}, {strings.Replace(good, `"email_id":1`, `"email_id":-1`, 1), "email_id", codeEmail},
		{strings.Replace(good, `"email_id":1`, `"email_id":1.5`, 1), "email_id", codeRange}, {strings.Replace(good, `"email_id":1`, `"email_id":"1"`, 1), "email_id", codeType},
		{strings.Replace(good, `"recipient_id":1`, `"recipient_id":101`, 1), "recipient_id", codeRecipient},
		{with(`"component":-1`), "component", codeRange}, {with(`"component":2147483648`), "component", codeRange}, {with(`"address":"a@b.c"`), "", codeField},
		{with(`"ip":"1.2.3"`), "ip", codeValue}, {with(`"actor":"god"`), "actor", codeValue}, {with(`"device":"fridge"`), "device", codeValue},
		{with(`"client":"` + strings.Repeat("x", maxText+1) + `"`), "client", codeLong}, {with(`"id":"` + strings.Repeat("x", maxID+1) + `"`), "id", codeLong},
	}
	for _, c := range cases {
		b := read(t, NDJSON, []byte(good+"\n"+c.line+"\n"+good+"\n"))
		want := []RowError{{Row: 1, Field: c.field, Code: c.code}}
		if !reflect.DeepEqual(b.Errors, want) || b.Rows != 3 || b.Wrong != 1 {
			t.Errorf("%.90s\ngot  %+v (%d rows)\nwant %+v", c.line, b.Errors, b.Rows, want)
		}
	}
}

func TestLimits(t *testing.T) {
	line := []byte(`{"occurred_at":1782900000000000,"kind":"open","email_id":1,"recipient_id":1}` + "\n")
	if b := read(t, NDJSON, bytes.Repeat(line, MaxRows)); b.Events.Len() != MaxRows {
		t.Errorf("%d events of %d rows", b.Events.Len(), MaxRows)
	}
	wrong := bytes.Repeat([]byte("x\n"), MaxRows)
	if b := read(t, NDJSON, wrong); len(b.Errors) != maxErrors || b.Wrong != MaxRows {
		t.Errorf("%d errors told, %d counted", len(b.Errors), b.Wrong)
	}
	for name, c := range map[string]struct {
		format string
		body   []byte
		code   string
	}{
		"a row too many":       {NDJSON, bytes.Repeat(line, MaxRows+1), "bulk_too_large"},
		"a wrong row too many": {NDJSON, append(wrong, "x\n"...), "bulk_too_large"},
		"too many bytes":       {NDJSON, bytes.Repeat(append(bytes.Repeat([]byte(" "), maxLine-2), 10), MaxBytes/(maxLine-1)+1), "bulk_too_large"},
		"a long line":          {NDJSON, bytes.Repeat([]byte("x"), maxLine+1), "bulk_invalid"},
		"no Arrow":             {Arrow, []byte("hello"), "bulk_invalid"},
		"nothing of Arrow":     {Arrow, nil, "bulk_invalid"},
		"another format":       {"text/csv", line, "unsupported_media_type"},
	} {
		_, err := newReader().Read(context.Background(), 1, c.format, bytes.NewReader(c.body))
		if problem.Of(err).Code != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
}

// A few bytes that announce a gigabyte get no room for it.
func TestArrowLengthsAreBounded(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := newReader().Read(context.Background(), 1, Arrow, strings.NewReader("\xff\xff\xff\xff\x00\x00\x00\x40"))
	runtime.ReadMemStats(&after)
	if problem.Of(err).Code != "bulk_invalid" || after.TotalAlloc-before.TotalAlloc > 1<<28 {
		t.Errorf("%v; %d bytes were allocated", err, after.TotalAlloc-before.TotalAlloc)
	}
}

// TestArrowSaysTheSame sends random rows both ways and expects the same batch.
func TestArrowSaysTheSame(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 2))
		var lines bytes.Buffer
		b := newTable(rng.IntN(2) == 0)
		kinds, last := event.Kinds()[1:], int64(50)
		if faulty := seed%2 == 0; faulty {
			kinds, last = append(event.Kinds(), "dance"), 52
		}
		for range rng.IntN(1200) { // of which some need more than one block
			r := map[string]any{"occurred_at": 1782900000000000 + rng.Int64N(1e9), "kind": pick(rng, kinds), "email_id": 1 + rng.Int64N(last), "recipient_id": 1 + rng.Int64N(100)}
			for name, values := range map[string][]string{"user_agent": {"Mozilla/5.0", "curl/8"}, "ip": {"198.51.100.1", "::1"}, "actor": {"bot", "human"}, "id": {"a", "b"}, "client": {"é", "z"}} {
				if rng.IntN(3) == 0 {
					r[name] = pick(rng, values)
				}
			}
			if rng.IntN(3) == 0 {
				r["component"] = rng.Int64N(5) - int64(seed+1)%2
			}
			text, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			lines.Write(append(text, '\n'))
			b.add(r)
		}
		got, want := read(t, Arrow, b.stream(t)), read(t, NDJSON, lines.Bytes())
		events, expected := eventsOf(t, got), eventsOf(t, want)
		got.Events, want.Events = nil, nil
		if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(events, expected) {
			t.Fatalf("seed %d:\nArrow  %+v %+v\nNDJSON %+v %+v", seed, got, events, want, expected)
		}
	}
}

func pick(rng *rand.Rand, values []string) string { return values[rng.IntN(len(values))] }

// table builds an Arrow stream, its texts dictionary-coded or not.
type table struct {
	names    []string
	builders []array.Builder
}

func newTable(coded bool) *table {
	b := &table{names: []string{"occurred_at", "email_id", "recipient_id", "component", "kind", "user_agent", "ip", "actor", "id", "client"}}
	for i := range b.names {
		var of arrow.DataType = arrow.BinaryTypes.String
		switch {
		case i == 0:
			of = arrow.FixedWidthTypes.Timestamp_us
		case i < 4:
			of = arrow.PrimitiveTypes.Int64
		case coded:
			of = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}
		}
		b.builders = append(b.builders, array.NewBuilder(memory.DefaultAllocator, of))
	}
	return b
}

func (b *table) add(r map[string]any) {
	for i, name := range b.names {
		v, column := r[name], b.builders[i]
		if at, ok := column.(*array.TimestampBuilder); ok {
			at.Append(arrow.Timestamp(v.(int64)))
		} else if v == nil {
			column.AppendNull()
		} else if err := column.AppendValueFromString(fmt.Sprint(v)); err != nil {
			panic(err)
		}
	}
}

func (b *table) stream(t testing.TB) []byte {
	var fields []arrow.Field
	var columns []arrow.Array
	for i, name := range b.names {
		columns = append(columns, b.builders[i].NewArray())
		fields = append(fields, arrow.Field{Name: name, Type: columns[i].DataType(), Nullable: true})
	}
	rec := array.NewRecordBatch(arrow.NewSchema(fields, nil), columns, int64(columns[0].Len()))
	var out bytes.Buffer
	w := ipc.NewWriter(&out, ipc.WithSchema(rec.Schema()))
	if err := w.Write(rec); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestPlainSaysTheSame holds the fast reader of lines against the one that knows
// all of JSON, on lines that are spoilt in small ways.
func TestPlainSaysTheSame(t *testing.T) {
	const line = `{"occurred_at":"2026-07-01T12:00:00Z","kind":"open", "email_id": 1,"recipient_id":12,"component":0,"user_agent":"Mozilla/5.0 (ü)","id":"a","os":"x y"}`
	spoilers := []string{`"`, `\`, `\u0041`, `{`, `}`, `,`, `:`, ` `, `0`, `9`, `-`, `.5`, `e2`, `null`, `"kind":"click",`, "\t", "999999999999999999", ""}
	taken := 0
	for seed := range uint64(20_000) {
		rng := rand.New(rand.NewPCG(seed, 5))
		spoilt := line
		for range rng.IntN(3) {
			from := rng.IntN(len(spoilt))
			to := min(len(spoilt), from+rng.IntN(3)*rng.IntN(12))
			spoilt = spoilt[:from] + pick(rng, spoilers) + spoilt[to:]
		}
		fast, full := newLineParser(), newLineParser()
		if !fast.plain(spoilt) {
			continue
		}
		taken++
		v, err := full.json.Parse(spoilt)
		if err != nil {
			t.Fatalf("seed %d: %s is no JSON: %v", seed, spoilt, err)
		}
		v.GetObject().Visit(full.visit)
		if full.code != "" || fast.in != full.in || fast.texts != full.texts {
			t.Fatalf("seed %d: %s\nfast %+v %q\nfull %+v %q, %s %s", seed, spoilt, fast.in, fast.texts, full.in, full.texts, full.field, full.code)
		}
	}
	if taken < 1000 {
		t.Errorf("only %d lines were plain", taken)
	}
}

// FuzzRead looks for bodies that crash or hang a reader.
func FuzzRead(f *testing.F) {
	f.Add(true, []byte(`{"occurred_at":1782900000000000,"kind":"open","email_id":1,"recipient_id":1}`))
	f.Fuzz(func(t *testing.T, lines bool, body []byte) {
		format := Arrow
		if lines {
			format = NDJSON
		}
		b, err := newReader().Read(context.Background(), 1, format, bytes.NewReader(body))
		if err == nil && len(b.Errors) == 0 && b.Rows != b.Events.Len()+b.NotAllowed {
			t.Errorf("%d rows became %d events", b.Rows, b.Events.Len())
		}
	})
}

func BenchmarkRead(b *testing.B) {
	const rows = 10_000
	var lines bytes.Buffer
	coded := newTable(true)
	for i := range rows {
		agent := fmt.Sprintf("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:%d.0) Gecko/20100101 Firefox/121.0", i%40)
		at, email, recipient := int64(1782900000000000+i), 1+i%50, 1+i%12
		fmt.Fprintf(&lines, `{"occurred_at":%d,"kind":"open","email_id":%d,"recipient_id":%d,"user_agent":%q}`+"\n", at, email, recipient, agent)
		coded.add(map[string]any{"occurred_at": at, "kind": "open", "email_id": email, "recipient_id": recipient, "user_agent": agent})
	}
	for _, c := range []struct {
		format string
		body   []byte
	}{{NDJSON, lines.Bytes()}, {Arrow, coded.stream(b)}} {
		b.Run(c.format[strings.LastIndexByte(c.format, '/')+1:], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if got := read(b, c.format, c.body); got.Events.Len() != rows {
					b.Fatal(got.Events.Len())
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
		})
	}
}
