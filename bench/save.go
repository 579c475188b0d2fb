package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Report is what each measurement returns.
type Report interface {
	WriteText(w io.Writer) error
	OK() bool
	charts() []Chart
}

// saved lists the reports of a folder in the order they are shown, and makes one
// to read each into.
var saved = []struct {
	name string
	make func() Report
}{
	{"pixel", newSheet}, {"bulk", newSheet}, {"fresh", func() Report { return &FreshReport{} }},
	{"flush", newSheet}, {"compact", newSheet}, {"restart", newSheet}, {"kpi", newSheet}, {"sql", func() Report { return &ReadersReport{} }},
	{"decide", newSheet}, {"soak", func() Report { return &SoakReport{} }},
}

func newSheet() Report { return &Sheet{} }

// Save writes a report as NAME.json into a folder, and renders the folder anew.
func Save(dir, name string, r Report) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // reports are for everybody
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, name+".json"), append(text, '\n'), 0o644); err != nil { //nolint:gosec // as above
		return err
	}
	return Render(dir)
}

// Render writes README.md and the plots of the reports in a folder.
func Render(dir string) error {
	var page bytes.Buffer
	page.WriteString("# Measured\n\nEach part is one run of `mailwake bench NAME --report DIR`, which writes NAME.json and this page. Ratios count, not absolutes:\nthe machine is small and shared. A check that says MISSED is a goal that was not reached.\n")
	for _, kind := range saved {
		text, err := os.ReadFile(filepath.Join(dir, kind.name+".json"))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		r := kind.make()
		if err := json.Unmarshal(text, r); err != nil {
			return fmt.Errorf("read report %s: %w", kind.name, err)
		}
		fmt.Fprintf(&page, "\n## bench %s\n\n```\n", kind.name)
		if err := r.WriteText(&page); err != nil {
			return err
		}
		page.WriteString("```\n")
		if err := drawCharts(dir, kind.name, r, &page); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "README.md"), page.Bytes(), 0o644) //nolint:gosec // as above
}

func drawCharts(dir, name string, r Report, page io.Writer) error {
	for i, c := range r.charts() {
		var svg bytes.Buffer
		if err := c.WriteSVG(&svg); err != nil {
			return err
		}
		file := fmt.Sprintf("%s-%d.svg", name, i+1)
		if err := os.WriteFile(filepath.Join(dir, file), svg.Bytes(), 0o644); err != nil { //nolint:gosec // as above
			return err
		}
		fmt.Fprintf(page, "\n![%s](%s)\n", c.Title, file)
	}
	return nil
}
