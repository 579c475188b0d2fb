package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// sampler makes requests from the document: what fits it, and what does not quite.
type sampler struct {
	*rand.Rand
	// params are values of parameters and fields that exist, by name.
	params map[string][]string
	// wild is the share of values that do not fit their schema.
	wild float64
	// plain keeps to what is required or in params, and to examples.
	plain bool
}

// texts are what people and programs send where a text is asked for.
var texts = []string{
	"", "a", "acme", "jo@customer.example", "<jo@customer.example>", "Jö Ünïcode <jo@xn--bcher-kva.example>", "🦉", "\u2028", "\x00", "\r\nBcc: x@y.example",
	"../../etc/passwd", "%2e%2e%2f", "'; DROP TABLE emails; --", "{{.}}", "null", "NaN", "-1", "9223372036854775808", "1e400", "text/html", "2026-02-30T25:61:00Z",
	"https://example.com/?q=1#f", "javascript:alert(1)", "=cmd|' /C calc'!A0", "contact", "recipient", "required", "denied", "\u202egnp.exe", "a/b", ".", "..",
	strings.Repeat("x", 300), strings.Repeat("é", 70_000),
}

// numbers are at the edges of what counters hold.
var numbers = []any{0, 1, 2, -1, 1.5, 1 << 31, 1 << 53, json.Number("9223372036854775807"), json.Number("-9223372036854775808"), json.Number("18446744073709551616"), json.Number("1e308")}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func (s *sampler) chance(p float64) bool { return !s.plain && s.Float64() < p }

// value fits schema, save for the share of wild ones.
func (s *sampler) value(schema *huma.Schema, depth int) any {
	if schema.Ref != "" {
		schema = document().Components.Schemas.SchemaFromRef(schema.Ref)
	}
	if s.chance(s.wild) {
		return s.misfit()
	}
	if len(schema.Enum) > 0 {
		return pick(s.Rand, schema.Enum)
	}
	switch schema.Type {
	case huma.TypeObject:
		return s.object(schema, depth)
	case huma.TypeArray:
		least := 0
		if schema.MinItems != nil {
			least = *schema.MinItems
		}
		out := []any{}
		if s.plain {
			least = max(least, 1)
		}
		for range min(max(least, s.IntN(4)), max(8-depth, least)) {
			out = append(out, s.value(schema.Items, depth+1))
		}
		return out
	case huma.TypeString:
		return s.text(schema)
	case huma.TypeInteger, huma.TypeNumber:
		if schema.Minimum != nil {
			return int64(*schema.Minimum) + s.Int64N(3)
		}
		if s.chance(0.2) { // what the schema does not forbid
			return pick(s.Rand, []int64{-1, 1 << 40, math.MaxInt64, math.MinInt64})
		}
		return s.IntN(3)
	case huma.TypeBoolean:
		return s.chance(0.5)
	}
	return s.misfit()
}

func (s *sampler) object(schema *huma.Schema, depth int) map[string]any {
	out := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		property := schema.Properties[name]
		if slices.Contains(schema.Required, name) || s.plain && s.params[name] != nil || s.chance(0.5) && depth < 6 {
			out[name] = s.value(property, depth+1)
			if known := s.params[name]; property.Type == huma.TypeString && len(property.Enum) == 0 && len(known) > 0 && !s.chance(0.3) {
				out[name] = pick(s.Rand, known)
			}
		}
	}
	if s.chance(s.wild / 2) {
		out[pick(s.Rand, texts[:8])] = s.misfit()
	}
	for _, name := range slices.Sorted(maps.Keys(out)) {
		if s.chance(s.wild / 4) {
			delete(out, name)
		}
	}
	return out
}

func (s *sampler) text(schema *huma.Schema) string {
	if len(schema.Examples) > 0 && (s.plain || s.chance(0.6)) {
		return fmt.Sprint(schema.Examples[0])
	}
	if s.plain {
		return "a"
	}
	for range 5 {
		text := pick(s.Rand, texts)
		n := len([]rune(text))
		if (schema.MaxLength == nil || n <= *schema.MaxLength) && (schema.MinLength == nil || n >= *schema.MinLength) {
			return text
		}
	}
	return "a"
}

func (s *sampler) misfit() any {
	return pick(s.Rand, []any{
		nil, true, pick(s.Rand, numbers), pick(s.Rand, texts), []any{}, map[string]any{}, []any{nil, 1, "x"}, map[string]any{"a": []any{map[string]any{}}},
	})
}

// param is a parameter's value as text.
func (s *sampler) param(p *huma.Param) string {
	if known := s.params[p.Name]; len(known) > 0 && !s.chance(s.wild) {
		return pick(s.Rand, known)
	}
	if s.chance(s.wild) {
		return pick(s.Rand, texts)
	}
	return fmt.Sprint(s.value(p.Schema, 0))
}

// request makes one request of an operation.
func (s *sampler) request(r route, base string) (*http.Request, error) {
	path, query := r.Path, url.Values{}
	header := http.Header{}
	for _, p := range r.Parameters {
		switch {
		case p.In == "path":
			text := s.param(p)
			if text == "" || text == "." || text == ".." { // another address
				text = "x"
			}
			path = strings.Replace(path, "{"+p.Name+"}", url.PathEscape(text), 1)
		case p.In == "query" && (p.Required || s.chance(0.5)):
			query.Set(p.Name, s.param(p))
			if s.chance(s.wild / 4) {
				query.Add(p.Name, s.param(p))
			}
		case p.In == "header" && s.chance(0.5):
			header.Set(p.Name, strings.Map(printableASCII, s.param(p)))
		}
	}
	media, body := s.body(r)
	address := base + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequest(r.Method, address, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = header
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	return req, nil
}

func printableASCII(c rune) rune {
	if c < ' ' || c > '~' {
		return -1
	}
	return c
}

// body makes a body of one of the media types that the operation takes.
func (s *sampler) body(r route) (media, text string) {
	if r.RequestBody == nil {
		if s.chance(s.wild) {
			return "application/json", `{"a":1}`
		}
		return "", ""
	}
	var types []string
	for t := range r.RequestBody.Content {
		types = append(types, t)
	}
	slices.Sort(types)
	media = pick(s.Rand, types)
	content := r.RequestBody.Content[media]
	switch {
	case s.chance(s.wild / 4):
		media = pick(s.Rand, []string{"", "text/plain", "application/xml", "a/b/c; x", "application/json; charset=utf-16"})
	case s.chance(s.wild / 4):
		return media, ""
	}
	if content.Schema == nil || content.Schema.Type == huma.TypeString {
		return media, s.file(media)
	}
	out, err := json.Marshal(s.value(content.Schema, 0))
	if err != nil {
		return media, "{"
	}
	if s.chance(s.wild / 4) {
		out = out[:s.IntN(len(out)+1)]
	}
	if s.chance(s.wild/4) && len(out) > 0 {
		out[s.IntN(len(out))] ^= byte(1 << s.IntN(8))
	}
	return media, string(out)
}

// file makes lines of CSV, NDJSON or a mail, and breaks some of them.
func (s *sampler) file(media string) string {
	var b strings.Builder
	switch media {
	case "text/csv":
		b.WriteString("kind,external_id,address,follow,open\n")
		for range s.IntN(5) {
			fmt.Fprintf(&b, "%s,%s,%s,%s,%s\n", pick(s.Rand, []string{"", "contact", "account", "x"}), pick(s.Rand, []string{"", "c-1"}),
				pick(s.Rand, []string{"", "jo@customer.example", "nobody"}), pick(s.Rand, []string{"", "denied", "allowed", "\""}), pick(s.Rand, []string{"", "unknown", "\x00"}))
		}
	case "application/x-ndjson":
		schema := document().Components.Schemas.Map()["NewPreference"]
		for range s.IntN(5) {
			line, _ := json.Marshal(s.value(schema, 0))
			b.Write(append(line, '\n'))
		}
	default:
		to := pick(s.Rand, texts[:20])
		if s.plain {
			to = "jo@customer.example"
		}
		fmt.Fprintf(&b, "From: a@acme.example\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <%s@x.example>\r\nContent-Type: %s\r\n\r\n%s",
			to, pick(s.Rand, texts[:20]), strconv.Itoa(s.IntN(5)), pick(s.Rand, []string{"text/html", "multipart/mixed; boundary=x", "text/plain", ";;"}),
			pick(s.Rand, []string{"<p>hi</p>", "--x\r\nContent-Type: text/html\r\n\r\n<a href=\"https://e.example/\">e</a>\r\n--x--", "", "\x00\xff"}))
	}
	text := b.String()
	if s.chance(s.wild) && text != "" {
		cut := s.IntN(len(text))
		text = text[:cut] + pick(s.Rand, texts) + text[cut:]
	}
	return text
}
