package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
)

// Sheet is the report of a measurement whose result is a list of figures, of
// mailwake and of peers.
type Sheet struct {
	Bench    string    `json:"bench"`
	Title    string    `json:"title"`
	Machine  Machine   `json:"machine"`
	Settings []Setting `json:"settings"`
	Peers    []Setting `json:"peers"` // version and configuration of each, or why it is absent
	Figures  []Figure  `json:"figures"`
	Ratio    float64   `json:"ratio,omitempty"`    // what RatioOf says; absent without a baseline
	RatioOf  string    `json:"ratio_of,omitempty"` // which figures are divided
	Events   int64     `json:"events"`             // sent
	Stored   int64     `json:"stored"`             // counted after a drain and a restart
	Checks   []Check   `json:"checks"`
	Notes    []string  `json:"notes,omitempty"`
}

// Setting is a name and what it is set to.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Figure is one measured value: a cell in the row Name and the column Of.
type Figure struct {
	Name  string  `json:"name"`
	Of    string  `json:"of"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// OK reports whether all checks passed.
func (s *Sheet) OK() bool { return passed(s.Checks) }

func (s *Sheet) set(name string, value any) {
	s.Settings = append(s.Settings, Setting{name, fmt.Sprint(value)})
}

func (s *Sheet) peer(name, value string) { s.Peers = append(s.Peers, Setting{name, value}) }

func (s *Sheet) add(name, of string, value float64, unit string) {
	s.Figures = append(s.Figures, Figure{name, of, value, unit})
}

// stored notes how many events were sent and found, and checks that they are equal.
func (s *Sheet) stored(sent, found int64) {
	s.Events, s.Stored = sent, found
	s.Checks = append(s.Checks, Check{"stored = sent", number(sent), number(found), sent == found})
}

// atLeast checks a figure against a lower limit.
func (s *Sheet) atLeast(name string, limit, got float64) {
	s.Checks = append(s.Checks, Check{name, fmt.Sprintf("≥ %s", short(limit)), short(got), got >= limit})
}

// atMost checks a figure against an upper limit.
func (s *Sheet) atMost(name string, limit, got float64, unit string) {
	s.Checks = append(s.Checks, Check{name, fmt.Sprintf("≤ %s %s", short(limit), unit), short(got) + " " + unit, got <= limit})
}

// value returns a figure; 0 if there is none.
func (s *Sheet) value(name, of string) float64 {
	for _, f := range s.Figures {
		if f.Name == name && f.Of == of {
			return f.Value
		}
	}
	return 0
}

// grids returns the figures as rows and columns in the order of their first use; rows
// that share no column with those before start a table of their own.
func (s *Sheet) grids() (grids [][][]string) {
	var names []string
	cells := map[string][]Figure{}
	for _, f := range s.Figures {
		if cells[f.Name] == nil {
			names = append(names, f.Name)
		}
		cells[f.Name] = append(cells[f.Name], f)
	}
	for _, name := range names {
		header := []string(nil)
		if len(grids) > 0 {
			header = grids[len(grids)-1][0]
		}
		if !slices.ContainsFunc(cells[name], func(f Figure) bool { return slices.Contains(header, f.Of) }) {
			grids, header = append(grids, [][]string{nil}), []string{""}
		}
		row := []string{name}
		for _, f := range cells[name] {
			at := slices.Index(header, f.Of)
			if at < 0 {
				at, header = len(header), append(header, f.Of)
			}
			for len(row) <= at {
				row = append(row, "")
			}
			row[at] = short(f.Value) + " " + f.Unit
		}
		grid := &grids[len(grids)-1]
		*grid = append(*grid, row)
		(*grid)[0] = header
	}
	return grids
}

// short writes a value with three digits that count, or whole.
func short(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1000:
		return number(int64(math.Round(v)))
	case a >= 100 || v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// WriteText writes the report as people read it.
func (s *Sheet) WriteText(w io.Writer) error {
	fmt.Fprintln(w, s.Title)
	if err := s.Machine.write(w); err != nil {
		return err
	}
	for _, group := range [][]Setting{s.Settings, s.Peers} {
		var facts []string
		for _, f := range group {
			facts = append(facts, f.Name, f.Value)
		}
		if err := writeFacts(w, facts...); err != nil {
			return err
		}
	}
	for _, grid := range s.grids() {
		fmt.Fprintln(w)
		if err := table(w, grid); err != nil {
			return err
		}
	}
	if s.Ratio != 0 {
		fmt.Fprintf(w, "\n  ratio %s: %s\n", short(s.Ratio), s.RatioOf)
	}
	for _, note := range s.Notes {
		fmt.Fprintf(w, "  note: %s\n", note)
	}
	return writeChecks(w, s.Checks)
}
