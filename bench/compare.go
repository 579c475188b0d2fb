package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
)

// Comparison holds two reports of one kind, figure by figure.
type Comparison struct {
	Bench   string   `json:"bench"`
	Figures []Change `json:"figures"`
}

// Change is a figure of both reports.
type Change struct {
	Name  string  `json:"name"`
	A     float64 `json:"a"`
	B     float64 `json:"b"`
	Ratio float64 `json:"ratio"` // b over a; 0 if a is 0
}

// Compare reads two reports that were written as JSON. Single rounds and samples
// are left out.
func Compare(a, b string) (c Comparison, err error) {
	var figures [2]map[string]float64
	var kinds [2]string
	for i, path := range []string{a, b} {
		if kinds[i], figures[i], err = readFigures(path); err != nil {
			return c, err
		}
	}
	if kinds[0] != kinds[1] {
		return c, fmt.Errorf("compare: %s is a report of %q, %s of %q", a, kinds[0], b, kinds[1])
	}
	c.Bench = kinds[0]
	for _, name := range slices.Sorted(maps.Keys(figures[0])) {
		if other, ok := figures[1][name]; ok {
			c.Figures = append(c.Figures, Change{name, figures[0][name], other, ratio(other, figures[0][name])})
		}
	}
	return c, nil
}

func readFigures(path string) (kind string, figures map[string]float64, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", nil, fmt.Errorf("compare: %w", err)
	}
	var report map[string]any
	if err := json.Unmarshal(text, &report); err != nil {
		return "", nil, fmt.Errorf("compare: %s: %w", path, err)
	}
	kind, _ = report["bench"].(string)
	if kind == "" {
		return "", nil, fmt.Errorf("compare: %s is no report", path)
	}
	figures = map[string]float64{}
	collectFigures("", report, figures)
	return kind, figures, nil
}

// collectFigures walks objects; of lists it takes those whose entries have a name.
func collectFigures(name string, v any, into map[string]float64) {
	switch v := v.(type) {
	case float64:
		into[name] = v
	case map[string]any:
		for key, inner := range v {
			if name != "" {
				key = name + "." + key
			}
			collectFigures(key, inner, into)
		}
	case []any:
		for _, entry := range v {
			if f, ok := entry.(map[string]any); ok && f["of"] != nil {
				into[fmt.Sprintf("%v: %v", f["name"], f["of"])], _ = f["value"].(float64)
			}
		}
	}
}

// WriteText writes the comparison as people read it.
func (c *Comparison) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "%s: A and B\n", c.Bench)
	rows := [][]string{{"figure", "A", "B", "B / A"}}
	for _, f := range c.Figures {
		rows = append(rows, []string{f.Name, short(f.A), short(f.B), short(f.Ratio)})
	}
	return table(w, rows)
}
