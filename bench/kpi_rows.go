package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// sameRows compares two answers, rows as lines of JSON, by what they say: numbers
// may be texts and differ in the last digits of a quotient, times may be written
// in several ways, truth as 1.
func sameRows(a, b string) error {
	rows, others := json.NewDecoder(strings.NewReader(a)), json.NewDecoder(strings.NewReader(b))
	rows.UseNumber()
	others.UseNumber()
	for i := 1; ; i++ {
		var x, y map[string]any
		errX, errY := rows.Decode(&x), others.Decode(&y)
		if errX == io.EOF && errY == io.EOF {
			return nil
		}
		if errX != nil || errY != nil {
			return fmt.Errorf("row %d: %w and %w", i, orNone(errX), orNone(errY))
		}
		for column, v := range x {
			if w, ok := y[column]; !ok || !sameValue(v, w) {
				return fmt.Errorf("row %d: %s is %v and %v", i, column, v, w)
			}
		}
	}
}

func orNone(err error) error {
	if err == nil {
		return fmt.Errorf("there is one")
	}
	return err
}

func sameValue(a, b any) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := plainValue(a), plainValue(b)
	if x == y {
		return true
	}
	f, errF := strconv.ParseFloat(x, 64)
	g, errG := strconv.ParseFloat(y, 64)
	return errF == nil && errG == nil && math.Abs(f-g) <= 1e-9*max(math.Abs(f), math.Abs(g))
}

// plainValue writes times as microseconds and truth as a number.
func plainValue(v any) string {
	if v, ok := v.(bool); ok {
		if v {
			return "1"
		}
		return "0"
	}
	text := fmt.Sprint(v)
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999", "2006-01-02 15:04:05.999999", time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return strconv.FormatInt(at.UnixMicro(), 10)
		}
	}
	return text
}
