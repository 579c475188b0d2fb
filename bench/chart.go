package bench

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// Chart is a plot of a report: bars of figures side by side, one row each, their
// lengths by the logarithm if the values are far apart.
type Chart struct {
	Title string
	Unit  string
	Bars  []Bar
}

// Bar is one value.
type Bar struct {
	Name  string
	Of    string // decides the colour
	Value float64
}

const (
	chartWidth = 900
	chartLabel = 390 // of which for names
	chartBar   = 17
)

var chartColours = []string{"#1b6ca8", "#d97706", "#15803d", "#a21caf"}

// WriteSVG draws the chart.
func (c *Chart) WriteSVG(w io.Writer) error {
	least, most := math.Inf(1), 0.0
	for _, b := range c.Bars {
		if b.Value > 0 {
			least, most = min(least, b.Value), max(most, b.Value)
		}
	}
	logarithmic := most > 30*least
	colours := map[string]string{}
	height := 40 + len(c.Bars)*chartBar
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", chartWidth, height)
	fmt.Fprintf(&out, `<rect width="100%%" height="100%%" fill="#fff"/>`+"\n")
	title := c.Title + ", " + c.Unit
	if logarithmic {
		title += " (logarithmic)"
	}
	fmt.Fprintf(&out, `<text x="8" y="20" font-size="14">%s</text>`+"\n", html.EscapeString(title))
	for i, b := range c.Bars {
		if colours[b.Of] == "" {
			colours[b.Of] = chartColours[len(colours)%len(chartColours)]
		}
		part := b.Value / most
		if logarithmic && b.Value > 0 {
			low := math.Log(least) - 0.5
			part = (math.Log(b.Value) - low) / (math.Log(most) - low)
		}
		y, length := 34+i*chartBar, max(part*(chartWidth-chartLabel-90), 1)
		fmt.Fprintf(&out, `<text x="%d" y="%d" text-anchor="end">%s</text>`, chartLabel-8, y+11, html.EscapeString(b.Name+" · "+b.Of))
		fmt.Fprintf(&out, `<rect x="%d" y="%d" width="%.0f" height="%d" fill="%s"/>`, chartLabel, y, length, chartBar-4, colours[b.Of])
		fmt.Fprintf(&out, `<text x="%.0f" y="%d">%s</text>`+"\n", chartLabel+length+5, y+11, short(b.Value))
	}
	out.WriteString("</svg>\n")
	_, err := io.WriteString(w, out.String())
	return err
}

// charts of a sheet: one for each unit but that of quotients.
func (s *Sheet) charts() (charts []Chart) {
	places := map[string]int{}
	for _, f := range s.Figures {
		if f.Unit == "×" || strings.Contains(f.Of, "p99") || strings.Contains(f.Of, "bytes") {
			continue
		}
		at, ok := places[f.Unit]
		if !ok {
			at = len(charts)
			places[f.Unit], charts = at, append(charts, Chart{Title: s.Title, Unit: strings.TrimPrefix(f.Unit, "/")})
			if f.Unit == "/s" {
				charts[at].Unit = "per second"
			}
		}
		charts[at].Bars = append(charts[at].Bars, Bar{f.Name, f.Of, f.Value})
	}
	return charts
}

func (r *FreshReport) charts() []Chart {
	return []Chart{{Title: "Answer → visible", Unit: "ms", Bars: []Bar{
		{"p50", "SQL", r.SQL.P50 / 1e3}, {"p99", "SQL", r.SQL.P99 / 1e3}, {"p50", "KPI", r.KPI.P50 / 1e3}, {"p99", "KPI", r.KPI.P99 / 1e3}}}}
}

func (r *SoakReport) charts() []Chart {
	c := Chart{Title: "Resident memory", Unit: "MiB"}
	step := max(len(r.Samples)/40, 1)
	for i := 0; i < len(r.Samples); i += step {
		c.Bars = append(c.Bars, Bar{fmt.Sprintf("after %.0f s", r.Samples[i].Seconds), "RSS", r.Samples[i].RSSMiB})
	}
	return []Chart{c}
}
