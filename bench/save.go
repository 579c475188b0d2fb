package bench

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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

// Sized is the name of a report of so many events, of which a folder may have several.
func Sized(name string, events int64) string { return fmt.Sprintf("%s-%d", name, events) }

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

// Render writes README.md and the plots of the reports in a folder. A measurement may
// have several reports, NAME-SIZE.json.
func Render(dir string) error {
	var page bytes.Buffer
	page.WriteString("# Measured\n\nEach part is one run of `mailwake bench NAME --report DIR`, which writes its JSON and this page. Ratios count, not absolutes:\nthe machine is small and shared. A check that says MISSED is a goal that was not reached.\n")
	for _, kind := range saved {
		files, err := reportsOf(dir, kind.name)
		if err != nil {
			return err
		}
		var grown growth
		for _, file := range files {
			r := kind.make()
			if err := render(dir, file, r, &page); err != nil {
				return err
			}
			if s, ok := r.(*Sheet); ok && file.size > 0 {
				grown.sizes, grown.sheets = append(grown.sizes, file.size), append(grown.sheets, s)
			}
		}
		if len(grown.sizes) > 1 {
			if err := grown.write(dir, &page); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(filepath.Join(dir, "README.md"), page.Bytes(), 0o644) //nolint:gosec // as above
}

// reportFile is one report of a folder.
type reportFile struct {
	name string // without .json
	size int64  // 0: it is the only one of its kind
}

// reportsOf lists the reports of one kind, smaller sizes first.
func reportsOf(dir, kind string) (files []reportFile, err error) {
	paths, err := filepath.Glob(filepath.Join(dir, kind+"*.json"))
	for _, path := range paths {
		f := reportFile{name: strings.TrimSuffix(filepath.Base(path), ".json")}
		if size, ok := strings.CutPrefix(f.name, kind+"-"); ok {
			if f.size, err = strconv.ParseInt(size, 10, 64); err != nil {
				return nil, fmt.Errorf("report %s: %w", path, err)
			}
		} else if f.name != kind {
			continue
		}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b reportFile) int { return cmp.Compare(a.size, b.size) })
	return files, err
}

// render adds a report to the page, and its plots to the folder.
func render(dir string, file reportFile, r Report, page io.Writer) error {
	text, err := os.ReadFile(filepath.Join(dir, file.name+".json"))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, r); err != nil {
		return fmt.Errorf("read report %s: %w", file.name, err)
	}
	title := file.name
	if file.size > 0 {
		title = strings.TrimSuffix(title, fmt.Sprintf("-%d", file.size)) + ", " + sizeName(file.size)
	}
	fmt.Fprintf(page, "\n## bench %s\n\n```\n", title)
	if err := r.WriteText(page); err != nil {
		return err
	}
	fmt.Fprintf(page, "```\n")
	return drawCharts(dir, file.name, r, page)
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
