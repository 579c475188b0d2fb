package bench

import (
	"fmt"
	"io"
)

// PixelServer is one side of the comparison; the figures are medians of rounds.
type PixelServer struct {
	PerSecond       float64      `json:"requests_per_second"`
	P50             float64      `json:"p50_us"`
	P99             float64      `json:"p99_us"`
	P999            float64      `json:"p999_us"`
	CPU             float64      `json:"server_cpu_us"` // per request
	CPUWithDrain    float64      `json:"server_cpu_us_with_drain"`
	EventsPerSecond float64      `json:"events_per_second_with_drain"`
	PeakMiB         float64      `json:"server_peak_rss_mb"`
	Rounds          []PixelRound `json:"rounds"`
}

// PixelReport is the result of Pixel.
type PixelReport struct {
	Bench        string      `json:"bench"`
	Machine      Machine     `json:"machine"`
	Connections  int         `json:"connections"`
	Threads      int         `json:"generator_threads"`
	Recipients   int         `json:"recipients"`
	RequestBytes int         `json:"request_bytes"`
	Baseline     PixelServer `json:"baseline"`
	Mailwake     PixelServer `json:"mailwake"`
	Half         Traffic     `json:"half_of_peak"` // open loop, at half of what Mailwake's rounds reached
	// Nginx answers its empty_gif and writes a buffered access log; nil: NginxAbsent says why.
	Nginx             *PixelServer `json:"nginx,omitempty"`
	NginxAbsent       string       `json:"nginx_absent,omitempty"`
	NginxRatio        float64      `json:"nginx_ratio,omitempty"` // requests per second, mailwake over nginx
	Ratio             float64      `json:"ratio"`                 // requests per second, mailwake over baseline
	CPURatio          float64      `json:"cpu_ratio"`             // server CPU per request, while loaded
	CPURatioWithDrain float64      `json:"cpu_ratio_with_drain"`  // the same with all that was put off
	Events            int64        `json:"events"`                // answered by mailwake, warm-ups included
	Stored            int64        `json:"stored"`
	Checks            []Check      `json:"checks"`
}

// OK reports whether all checks passed.
func (r *PixelReport) OK() bool { return passed(r.Checks) }

func (s *PixelServer) summarise() {
	of := func(figure func(PixelRound) float64) float64 { return medianOf(s.Rounds, figure) }
	s.PerSecond = of(func(r PixelRound) float64 { return r.PerSecond })
	s.P50 = of(func(r PixelRound) float64 { return r.Latency.P50 })
	s.P99 = of(func(r PixelRound) float64 { return r.Latency.P99 })
	s.P999 = of(func(r PixelRound) float64 { return r.Latency.P999 })
	s.CPU = of(func(r PixelRound) float64 { return r.ServerCPU })
	s.CPUWithDrain = of(func(r PixelRound) float64 { return r.CPUWithDrain })
	s.EventsPerSecond = of(func(r PixelRound) float64 { return r.EventsPerSecond })
	s.PeakMiB = of(func(r PixelRound) float64 { return r.PeakMiB })
}

func (r *PixelReport) summarise() {
	r.Baseline.summarise()
	r.Mailwake.summarise()
	if r.Nginx != nil {
		r.Nginx.summarise()
		r.NginxRatio = ratio(r.Mailwake.PerSecond, r.Nginx.PerSecond)
	}
	r.Ratio = ratio(r.Mailwake.PerSecond, r.Baseline.PerSecond)
	r.CPURatio = ratio(r.Mailwake.CPU, r.Baseline.CPU)
	r.CPURatioWithDrain = ratio(r.Mailwake.CPUWithDrain, r.Baseline.CPUWithDrain)
	r.Checks = []Check{
		{"stored = answered", number(r.Events), number(r.Stored), r.Stored == r.Events},
		{"requests/s over baseline", fmt.Sprintf("≥ %.2f", minRatio), fmt.Sprintf("%.3f", r.Ratio), r.Ratio >= minRatio},
		{"server CPU per request over baseline", fmt.Sprintf("≤ %.2f", maxCPURatio), fmt.Sprintf("%.3f", r.CPURatio),
			r.CPURatio > 0 && r.CPURatio <= maxCPURatio},
		{"p99 at half of the peak, all sent", "≤ " + micros(maxHalfP99), micros(r.Half.Latency.P99), r.Half.Requests > 0 && r.Half.Unsent == 0 && r.Half.Latency.P99 <= maxHalfP99},
	}
}

// WriteText writes the report as people read it.
func (r *PixelReport) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "Durable pixel requests against the same server storing nothing\n")
	if err := r.Machine.write(w); err != nil {
		return err
	}
	fmt.Fprintf(w, "  load         %d connections, %d generator thread(s), requests of %d bytes, %s recipients\n\n",
		r.Connections, r.Threads, r.RequestBytes, number(r.Recipients))
	rows := [][]string{{"", "requests/s", "p50", "p99", "p99.9", "server CPU", "generator CPU", "other cores", "with drain: events/s", "CPU", "drain", "peak RSS"}}
	for i := range max(len(r.Baseline.Rounds), len(r.Mailwake.Rounds)) {
		if i < len(r.Baseline.Rounds) {
			rows = append(rows, r.Baseline.Rounds[i].row(fmt.Sprintf("baseline %d", i+1)))
		}
		if i < len(r.Mailwake.Rounds) {
			rows = append(rows, r.Mailwake.Rounds[i].row(fmt.Sprintf("mailwake %d", i+1)))
		}
	}
	rows = append(rows, r.Baseline.row("baseline, median"), r.Mailwake.row("mailwake, median"))
	if r.Nginx != nil {
		rows = append(rows, r.Nginx.row("nginx with access log, median"))
	}
	rows = append(rows, []string{"ratio", fmt.Sprintf("%.3f", r.Ratio), "", "", "", fmt.Sprintf("%.3f", r.CPURatio), "", "", "",
		fmt.Sprintf("%.3f", r.CPURatioWithDrain)})
	if err := table(w, rows); err != nil {
		return err
	}
	if h := r.Half; h.Requests > 0 {
		fmt.Fprintf(w, "\n  mailwake at half of its peak, %s requests/s, from when each was due: p50 %s, p99 %s, p99.9 %s\n",
			number(int64(h.PerSecond)), micros(h.Latency.P50), micros(h.Latency.P99), micros(h.Latency.P999))
	}
	switch {
	case r.Nginx != nil:
		fmt.Fprintf(w, "\n  mailwake over nginx (empty_gif, workers auto, access log with a buffer of 64 KiB): %.3f\n", r.NginxRatio)
	case r.NginxAbsent != "":
		fmt.Fprintf(w, "\n  no nginx beside: %s\n", r.NginxAbsent)
	}
	return writeChecks(w, r.Checks)
}

func (r *PixelRound) row(name string) []string {
	return []string{name, number(int64(r.PerSecond)), micros(r.Latency.P50), micros(r.Latency.P99), micros(r.Latency.P999),
		cpu(r.ServerCPU), cpu(r.GeneratorCPU), fmt.Sprintf("%.2f", r.OtherCores), number(int64(r.EventsPerSecond)), cpu(r.CPUWithDrain),
		fmt.Sprintf("%.2f s", r.DrainSeconds), fmt.Sprintf("%.0f MiB", r.PeakMiB)}
}

func (s *PixelServer) row(name string) []string {
	return []string{name, number(int64(s.PerSecond)), micros(s.P50), micros(s.P99), micros(s.P999), cpu(s.CPU), "", "",
		number(int64(s.EventsPerSecond)), cpu(s.CPUWithDrain), "", fmt.Sprintf("%.0f MiB", s.PeakMiB)}
}

// cpu writes microseconds per request.
func cpu(us float64) string { return fmt.Sprintf("%.2f µs", us) }
