package query

import (
	"fmt"
	"io"
	"mime"
	"strconv"
	"strings"

	"mailwake/engine/problem"
)

// Format is a way to write a Result.
type Format string

// The formats.
const (
	JSON    Format = "json"    // an array of objects
	NDJSON  Format = "ndjson"  // an object per line
	CSV     Format = "csv"     // RFC 4180 with a header line, safe to open in a spreadsheet
	Arrow   Format = "arrow"   // Arrow IPC stream
	Parquet Format = "parquet" // one Parquet file
	Table   Format = "table"   // aligned text for people
)

// formats lists the formats in the order of preference, each with its media types;
// the first one is what answers are labelled with.
var formats = []struct {
	format Format
	types  []string
}{
	{JSON, []string{"application/json"}},
	{NDJSON, []string{"application/x-ndjson", "application/ndjson", "application/jsonl"}},
	{CSV, []string{"text/csv"}},
	{Arrow, []string{"application/vnd.apache.arrow.stream"}},
	{Parquet, []string{"application/vnd.apache.parquet", "application/parquet"}},
	{Table, []string{"text/plain"}},
}

// ParseFormat returns the format of a name. Problem: format_unknown.
func ParseFormat(name string) (Format, error) {
	for _, f := range formats {
		if name == string(f.format) {
			return f.format, nil
		}
	}
	return "", problem.New(400, "format_unknown", "There is no format %q; there are json, ndjson, csv, arrow, parquet and table.", name)
}

// ContentType returns the media type with its parameters.
func (f Format) ContentType() string {
	for _, known := range formats {
		if f == known.format {
			if strings.HasPrefix(known.types[0], "text/") {
				return known.types[0] + "; charset=utf-8"
			}
			return known.types[0]
		}
	}
	return "application/octet-stream"
}

// Negotiate returns the format that an Accept header likes best; JSON if it is
// empty, damaged or names no format of ours.
func Negotiate(accept string) Format {
	best, weight := JSON, 0.0
	for i := len(formats) - 1; i >= 0; i-- {
		for _, media := range formats[i].types {
			if q := quality(accept, media); q > 0 && q >= weight {
				best, weight = formats[i].format, q
			}
		}
	}
	return best
}

// quality is the weight of media in accept: that of the most exact range for it.
func quality(accept, media string) float64 {
	found, exactness := 0.0, -1
	kind, _, _ := strings.Cut(media, "/")
	for part := range strings.SplitSeq(accept, ",") {
		name, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q := 1.0
		if text, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(text, 64); err != nil {
				continue
			}
		}
		exact := -1
		switch name {
		case media:
			exact = 2
		case kind + "/*":
			exact = 1
		case "*/*":
			exact = 0
		}
		if exact > exactness {
			found, exactness = q, exact
		}
	}
	return found
}

// Write writes the whole result. An error is the writer's, or of a column whose
// type the format has no form for.
func (r *Result) Write(w io.Writer, f Format) error {
	switch f {
	case JSON:
		return r.writeJSON(w)
	case NDJSON:
		return r.writeNDJSON(w)
	case CSV:
		return r.writeCSV(w)
	case Arrow:
		return r.writeArrow(w)
	case Parquet:
		return r.writeParquet(w)
	case Table:
		return r.WriteTable(w, 0)
	}
	return fmt.Errorf("write result: unknown format %q", f)
}
