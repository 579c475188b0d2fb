package query

import (
	"bufio"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode"

	"github.com/apache/arrow-go/v18/arrow/array"
	"golang.org/x/text/width"
)

const (
	tableGap  = 2  // columns between two cells
	tableCell = 60 // widest cell of a table without a limit
	tableMin  = 8  // a cell is not cut below this
	absent    = "–"
	cut       = "…"
)

// WriteTable writes the result as aligned text: numbers to the right,
// fractions rounded to three places, NULL as –, control characters as �. With width above 0 a line takes at most that many
// columns of a terminal: wide cells are cut, and when even that does not do, each
// row becomes a block of lines. Width 0 limits cells only.
func (r *Result) WriteTable(w io.Writer, width int) error {
	out := bufio.NewWriter(w)
	t := r.text()
	sizes, fits := t.layout(width)
	switch {
	case len(t.names) == 0:
	case fits:
		t.writeGrid(out, sizes)
	default:
		t.writeBlocks(out, width)
	}
	if r.truncated {
		writeAll(out, "(more rows were cut off)\n")
	}
	return errors.Join(r.err, out.Flush())
}

// textTable is a result as text.
type textTable struct {
	names   []string
	numbers []bool
	rows    [][]string
}

func (r *Result) text() *textTable {
	t := &textTable{}
	for _, f := range r.schema.Fields() {
		t.names = append(t.names, printable(f.Name))
		t.numbers = append(t.numbers, isNumber(f.Type))
	}
	var text []byte
	for batch := range r.Batches() {
		for i := range int(batch.NumRows()) {
			row := make([]string, len(t.names))
			for f, column := range batch.Columns() {
				if column.IsNull(i) {
					row[f] = absent
					continue
				}
				if number, ok := column.(*array.Float64); ok {
					row[f] = rounded(number.Value(i))
					continue
				}
				text = appendCell(text[:0], column, i)
				row[f] = printable(string(text))
			}
			t.rows = append(t.rows, row)
		}
	}
	return t
}

// rounded is v with as many digits as people read of a rate.
func rounded(v float64) string {
	if a := math.Abs(v); a != 0 && a < 0.001 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

// layout returns the width of each column, and whether lines fit into limit.
func (t *textTable) layout(limit int) (sizes []int, fits bool) {
	sizes = make([]int, len(t.names))
	total := -tableGap
	for f := range sizes {
		sizes[f] = columns(t.names[f])
		for _, row := range t.rows {
			sizes[f] = max(sizes[f], columns(row[f]))
		}
		if limit <= 0 {
			sizes[f] = min(sizes[f], max(tableCell, columns(t.names[f])))
		}
		total += sizes[f] + tableGap
	}
	if limit <= 0 {
		return sizes, true
	}
	for total > limit {
		widest := -1
		for f := range sizes {
			floor := max(tableMin, columns(t.names[f]))
			if !t.numbers[f] && sizes[f] > floor && (widest < 0 || sizes[f] > sizes[widest]) {
				widest = f
			}
		}
		if widest < 0 {
			return sizes, false
		}
		sizes[widest]--
		total--
	}
	return sizes, true
}

func (t *textTable) writeGrid(out *bufio.Writer, sizes []int) {
	t.writeLine(out, t.names, sizes)
	rule := make([]string, len(sizes))
	for f, n := range sizes {
		rule[f] = strings.Repeat("─", n)
	}
	t.writeLine(out, rule, sizes)
	for _, row := range t.rows {
		t.writeLine(out, row, sizes)
	}
}

func (t *textTable) writeLine(out *bufio.Writer, cells []string, sizes []int) {
	var line strings.Builder
	for f, cell := range cells {
		if f > 0 {
			line.WriteString(strings.Repeat(" ", tableGap))
		}
		cell = shorten(cell, sizes[f])
		fill := strings.Repeat(" ", sizes[f]-columns(cell))
		if t.numbers[f] {
			line.WriteString(fill + cell)
		} else {
			line.WriteString(cell + fill)
		}
	}
	writeAll(out, strings.TrimRight(line.String(), " ")+"\n")
}

// writeBlocks writes a line per value.
func (t *textTable) writeBlocks(out *bufio.Writer, limit int) {
	names := 0
	for _, name := range t.names {
		names = max(names, columns(name))
	}
	room := max(tableMin, limit-names-tableGap)
	for i, row := range t.rows {
		if i > 0 {
			writeAll(out, strings.Repeat("─", min(limit, names+tableGap+tableMin))+"\n")
		}
		for f, cell := range row {
			writeAll(out, t.names[f]+strings.Repeat(" ", names-columns(t.names[f])+tableGap)+shorten(cell, room)+"\n")
		}
	}
}

// writeAll leaves the error to Flush, which reports the first one.
func writeAll(out *bufio.Writer, s string) { _, _ = out.WriteString(s) }

// printable replaces what would move a terminal's cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// columns is the number of columns that s takes on a terminal.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

func runeColumns(r rune) int {
	if r < 0x300 {
		return 1
	}
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// shorten cuts s to at most size columns.
func shorten(s string, size int) string {
	if columns(s) <= size {
		return s
	}
	n := 0
	for i, r := range s {
		if n+runeColumns(r) > size-1 {
			return s[:i] + cut
		}
		n += runeColumns(r)
	}
	return s
}
