package bench

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Check is one figure held against its limit.
type Check struct {
	Name  string `json:"name"`
	Limit string `json:"limit"`
	Got   string `json:"got"`
	OK    bool   `json:"ok"`
}

// Latency is a distribution in microseconds.
type Latency struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_us"`
	P99   float64 `json:"p99_us"`
	P999  float64 `json:"p999_us"`
	Max   float64 `json:"max_us"`
}

func latencyOf(h *hdrhistogram.Histogram) Latency {
	us := func(ns int64) float64 { return float64(ns) / float64(time.Microsecond) }
	return Latency{
		Count: h.TotalCount(), P50: us(h.ValueAtPercentile(50)), P99: us(h.ValueAtPercentile(99)),
		P999: us(h.ValueAtPercentile(99.9)), Max: us(h.Max()),
	}
}

// Traffic is what a load has seen, and what it cost.
type Traffic struct {
	Requests     int64   `json:"requests"`
	NotOK        int64   `json:"not_ok"` // answers with a status other than 200
	Unsent       int64   `json:"unsent"` // due, and never sent for want of a free connection
	Seconds      float64 `json:"seconds"`
	PerSecond    float64 `json:"requests_per_second"`
	Latency      Latency `json:"latency"`
	LagUS        float64 `json:"lag_us"`             // longest delay between due and sent
	ServerCPU    float64 `json:"server_cpu_us"`      // of the server's process, per request
	GeneratorCPU float64 `json:"generator_cpu_us"`   // of this process, per request
	ServerCores  float64 `json:"server_cores_busy"`  // CPU time of the server over time
	OtherCores   float64 `json:"other_cores_busy"`   // of all other processes, hypervisor included: noise
	PeakMiB      float64 `json:"server_peak_rss_mb"` // most resident memory of the server so far, MiB
}

// trafficOf describes a run between two readings.
func trafficOf(r Result, before, after reading) Traffic {
	server, own := after.server.CPU-before.server.CPU, after.own-before.own
	t := Traffic{
		Requests: r.Answered, NotOK: r.NotOK, Unsent: r.Unsent, Seconds: r.Elapsed.Seconds(), PerSecond: r.PerSecond(),
		Latency: latencyOf(r.Latency), LagUS: float64(r.Lag) / float64(time.Microsecond), PeakMiB: mib(after.server.Peak),
		ServerCPU: perRequest(server, r.Answered), GeneratorCPU: perRequest(own, r.Answered),
	}
	if r.Elapsed > 0 {
		t.ServerCores = server.Seconds() / r.Elapsed.Seconds()
		t.OtherCores = max(0, after.machine-before.machine-server-own).Seconds() / r.Elapsed.Seconds()
	}
	return t
}

// perRequest returns microseconds.
func perRequest(d time.Duration, n int64) float64 {
	if n == 0 {
		return 0
	}
	return float64(d) / float64(time.Microsecond) / float64(n)
}

// table writes rows of cells aligned, the first column left and the others right.
func table(w io.Writer, rows [][]string) error {
	if len(rows) == 0 {
		return nil
	}
	widths := map[int]int{}
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			if i == 0 {
				b.WriteString("  " + cell + pad)
			} else {
				b.WriteString("  " + pad + cell)
			}
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(b.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// writeFacts writes name and value pairs aligned.
func writeFacts(w io.Writer, facts ...string) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for i := 0; i+1 < len(facts); i += 2 {
		fmt.Fprintf(t, "  %s\t%s\n", facts[i], facts[i+1])
	}
	return t.Flush()
}

func writeChecks(w io.Writer, checks []Check) error {
	rows := [][]string{{"check", "limit", "got", ""}}
	for _, c := range checks {
		verdict := "ok"
		if !c.OK {
			verdict = "MISSED"
		}
		rows = append(rows, []string{c.Name, c.Limit, c.Got, verdict})
	}
	fmt.Fprintln(w)
	return table(w, rows)
}

// passed reports whether all checks did.
func passed(checks []Check) bool {
	for _, c := range checks {
		if !c.OK {
			return false
		}
	}
	return true
}

// number writes n with thousands separators.
func number[T int | int64](n T) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// cpu writes microseconds per request.
func cpu(us float64) string { return fmt.Sprintf("%.2f µs", us) }

// micros writes a latency in the unit people read it in.
func micros(us float64) string {
	switch {
	case us >= 1e6:
		return fmt.Sprintf("%.2f s", us/1e6)
	case us >= 1e4:
		return fmt.Sprintf("%.1f ms", us/1e3)
	case us >= 1e3:
		return fmt.Sprintf("%.2f ms", us/1e3)
	default:
		return fmt.Sprintf("%.0f µs", us)
	}
}
