package bench

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// engines are those of bench kpi, in the order of the page.
var engines = []string{"mailwake", "DuckDB", "ClickHouse"}

// growth is how the times of bench kpi grow over reports of several numbers of events.
type growth struct {
	sizes  []int64
	sheets []*Sheet
}

// sizeName writes a number of events as people say it.
func sizeName(n int64) string {
	if n >= 1_000_000 && n%1_000_000 == 0 {
		return number(n/1_000_000) + " M"
	}
	return number(n)
}

func (g *growth) kpis() (names []string) {
	for _, f := range g.sheets[0].Figures {
		if f.Of == engines[0]+" p50" {
			names = append(names, f.Name)
		}
	}
	return names
}

// p50 is the median time in ms of a KPI on an engine at each size, 0 where it is not known.
func (g *growth) p50(kpi, engine string) (ms []float64) {
	for _, s := range g.sheets {
		ms = append(ms, s.value(kpi, engine+" p50"))
	}
	return ms
}

// write writes the table, and the plot as a file beside the page.
func (g *growth) write(dir string, page io.Writer) error {
	rows := [][]string{{"p50, ms"}}
	for _, engine := range engines {
		for _, size := range g.sizes {
			rows[0] = append(rows[0], engine+" "+sizeName(size))
		}
	}
	for _, kpi := range g.kpis() {
		row := []string{kpi}
		for _, engine := range engines {
			for _, ms := range g.p50(kpi, engine) {
				row = append(row, shortOrNone(ms))
			}
		}
		rows = append(rows, row)
	}
	fmt.Fprintf(page, "\n## How KPIs grow with the number of events\n\n```\n")
	if err := table(page, rows); err != nil {
		return err
	}
	var svg bytes.Buffer
	if err := g.draw(&svg); err != nil {
		return err
	}
	const file = "kpi-growth.svg"
	fmt.Fprintf(page, "```\n\n![Time of each KPI over the number of events](%s)\n", file)
	return os.WriteFile(filepath.Join(dir, file), svg.Bytes(), 0o644) //nolint:gosec // reports are for everybody
}

func shortOrNone(v float64) string {
	if v == 0 {
		return "–"
	}
	return short(v)
}

const (
	growthWidth  = 900
	growthHeight = 460
	growthLeft   = 70
	growthTop    = 40
	growthBottom = 40
)

// draw plots a thin line for each KPI and a thick one of their median, for each
// engine; both axes are logarithmic.
func (g *growth) draw(w io.Writer) error {
	least, most := math.Inf(1), 0.0
	for _, kpi := range g.kpis() {
		for _, engine := range engines {
			for _, ms := range g.p50(kpi, engine) {
				if ms > 0 {
					least, most = min(least, ms), max(most, ms)
				}
			}
		}
	}
	low, high := math.Floor(math.Log10(least)), math.Ceil(math.Log10(most))
	first, last := math.Log10(float64(g.sizes[0])), math.Log10(float64(g.sizes[len(g.sizes)-1]))
	x := func(size int64) float64 {
		return growthLeft + (math.Log10(float64(size))-first)/max(last-first, 1e-9)*(growthWidth-growthLeft-130)
	}
	y := func(ms float64) float64 {
		return growthHeight - growthBottom - (math.Log10(ms)-low)/max(high-low, 1e-9)*(growthHeight-growthTop-growthBottom)
	}
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", growthWidth, growthHeight)
	out.WriteString(`<rect width="100%" height="100%" fill="#fff"/>` + "\n" + `<text x="8" y="20" font-size="14">Time of each KPI (thin) and their median (thick), p50 over the number of events, both logarithmic</text>` + "\n")
	for decade := low; decade <= high; decade++ {
		at := y(math.Pow(10, decade))
		fmt.Fprintf(&out, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s ms</text>`+"\n", growthLeft, at, growthWidth-130, growthLeft-6, at+4, short(math.Pow(10, decade)))
	}
	for _, size := range g.sizes {
		fmt.Fprintf(&out, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x(size), growthHeight-14, html.EscapeString(sizeName(size)))
	}
	for i, engine := range engines {
		g.lines(&out, engine, chartColours[i], x, y)
	}
	out.WriteString("</svg>\n")
	_, err := io.WriteString(w, out.String())
	return err
}

// lines draws those of one engine.
func (g *growth) lines(out *strings.Builder, engine, colour string, x func(int64) float64, y func(float64) float64) {
	line := func(ms []float64, style string) (end float64) {
		var path strings.Builder
		for i, v := range ms {
			if v > 0 {
				end = y(v)
				fmt.Fprintf(&path, "%.1f,%.1f ", x(g.sizes[i]), end)
			}
		}
		if end > 0 {
			fmt.Fprintf(out, `<polyline points="%s" fill="none" stroke="%s" %s/>`+"\n", strings.TrimSpace(path.String()), colour, style)
		}
		return end
	}
	at := make([][]float64, len(g.sizes))
	for _, kpi := range g.kpis() {
		times := g.p50(kpi, engine)
		line(times, `stroke-width="0.7" opacity="0.5"`)
		for i, ms := range times {
			if ms > 0 {
				at[i] = append(at[i], ms)
			}
		}
	}
	medians := make([]float64, len(at))
	for i := range at {
		medians[i] = median(at[i])
	}
	if end := line(medians, `stroke-width="3"`); end > 0 {
		fmt.Fprintf(out, `<text x="%d" y="%.1f" fill="%s">%s, median</text>`+"\n", growthWidth-124, end+4, colour, engine)
	}
}
