package lake

import (
	"mailwake/engine/event"
)

// Code stands for a text within one Texts; 0 is the empty text and null.
type Code uint32

// The columns of Rows.Longs and Rows.Texts.
const (
	EventID = iota
	OccurredAt
	Delay // of when it was received, after OccurredAt
	EmailID
	RecipientID
	numLongs
)

// The columns of Rows.Texts.
const (
	Kind = iota
	Actor
	Reason
	Device
	Client
	OS
	Source
	UserAgent
	Network
	numTexts
)

// longColumn, componentColumn and textColumn are places in event.Schema.
var (
	longColumn = [numLongs]int{0, 1, 2, 4, 5}
	textColumn = [numTexts]int{3, 7, 8, 9, 10, 11, 12, 13, 14}
)

const componentColumn = 6

// RowBytes is what one row of Rows takes in memory.
const RowBytes = numLongs*8 + 4 + numTexts*4

// RowGroupRows is the number of rows that a Reader hands over at most and a
// Writer should be given at a time.
const RowGroupRows = rowGroupRows

// Rows are interactions as columns of equal length: what a merge moves without
// looking at single values. Texts are codes of the Texts that reader and writer
// share. The zero value is empty and ready to use.
type Rows struct {
	Longs     [numLongs][]int64
	Component []int32
	Texts     [numTexts][]Code
}

// Len is the number of rows.
func (r *Rows) Len() int { return len(r.Component) }

// Append adds the rows [from, to) of other, which uses the same Texts.
func (r *Rows) Append(other *Rows, from, to int) {
	for c := range r.Longs {
		r.Longs[c] = append(r.Longs[c], other.Longs[c][from:to]...)
	}
	r.Component = append(r.Component, other.Component[from:to]...)
	for c := range r.Texts {
		r.Texts[c] = append(r.Texts[c], other.Texts[c][from:to]...)
	}
}

// Move copies the rows [from, to) to at, which is before from.
func (r *Rows) Move(at, from, to int) {
	for c := range r.Longs {
		copy(r.Longs[c][at:], r.Longs[c][from:to])
	}
	copy(r.Component[at:], r.Component[from:to])
	for c := range r.Texts {
		copy(r.Texts[c][at:], r.Texts[c][from:to])
	}
}

// Truncate keeps the first n rows.
func (r *Rows) Truncate(n int) {
	for c := range r.Longs {
		r.Longs[c] = r.Longs[c][:n]
	}
	r.Component = r.Component[:n]
	for c := range r.Texts {
		r.Texts[c] = r.Texts[c][:n]
	}
}

// resize makes room for n rows, whose values are anything.
func (r *Rows) resize(n int) {
	if cap(r.Component) < n {
		for c := range r.Longs {
			r.Longs[c] = make([]int64, n)
		}
		r.Component = make([]int32, n)
		for c := range r.Texts {
			r.Texts[c] = make([]Code, n)
		}
	}
	r.Truncate(n)
}

// Less reports whether row i comes before row j of other in the order of a table:
// email, recipient, time, id.
func (r *Rows) Less(i int, other *Rows, j int) bool {
	if a, b := r.Longs[EmailID][i], other.Longs[EmailID][j]; a != b {
		return a < b
	}
	if a, b := r.Longs[RecipientID][i], other.Longs[RecipientID][j]; a != b {
		return a < b
	}
	if a, b := r.Longs[OccurredAt][i], other.Longs[OccurredAt][j]; a != b {
		return a < b
	}
	return r.Longs[EventID][i] < other.Longs[EventID][j]
}

// Occurred is when row i happened.
func (r *Rows) Occurred(i int) event.Micros { return event.Micros(r.Longs[OccurredAt][i]) }

// Received is when mailwake learnt of row i.
func (r *Rows) Received(i int) event.Micros {
	return event.Micros(r.Longs[OccurredAt][i] + r.Longs[Delay][i])
}

// Texts gives texts their codes. It is not safe for concurrent use.
type Texts struct {
	codes  map[string]Code
	values []string
	free   []Code
	bytes  int
}

// NewTexts returns an empty set.
func NewTexts() *Texts {
	return &Texts{codes: map[string]Code{"": 0}, values: []string{""}}
}

// Code returns the code of s and keeps s if it is new.
func (t *Texts) Code(s string) Code {
	if c, ok := t.codes[s]; ok {
		return c
	}
	return t.add(s)
}

func (t *Texts) codeOf(b []byte) Code {
	if c, ok := t.codes[string(b)]; ok { // without an allocation
		return c
	}
	return t.add(string(b))
}

func (t *Texts) add(s string) Code {
	c := Code(len(t.values)) //nolint:gosec // each takes memory, so there are fewer than 2^32
	if n := len(t.free); n > 0 {
		c, t.free = t.free[n-1], t.free[:n-1]
		t.values[c] = s
	} else {
		t.values = append(t.values, s)
	}
	t.codes[s] = c
	t.bytes += len(s)
	return c
}

// Value is the text of c.
func (t *Texts) Value(c Code) string { return t.values[c] }

// Bytes is the size of all texts.
func (t *Texts) Bytes() int { return t.bytes }

// Keep forgets every text that none of rows has, and that is not among pinned.
func (t *Texts) Keep(pinned []Code, rows ...*Rows) {
	used := make([]bool, len(t.values))
	used[0] = true
	for _, c := range pinned {
		used[c] = true
	}
	for _, r := range rows {
		for c := range r.Texts {
			for _, code := range r.Texts[c] {
				used[code] = true
			}
		}
	}
	for _, c := range t.free {
		used[c] = true // is not there
	}
	for c, keep := range used {
		if keep {
			continue
		}
		delete(t.codes, t.values[c])
		t.bytes -= len(t.values[c])
		t.values[c] = ""
		t.free = append(t.free, Code(c)) //nolint:gosec // it was a code before
	}
}
