package bench

import (
	"fmt"
	"io"
	"math"
)

const (
	// maxSlope is the growth of memory in the second half that still counts as flat:
	// 1 MiB a minute, or 2 % of the mean a minute where that is more, which is the
	// noise of a collector that frees memory in steps.
	maxSlope     = 1.0
	maxSlopePart = 0.02
	// minSlopeTime is the shortest second half, in seconds, that a slope is judged
	// by: in less time a cache that fills looks like a leak.
	minSlopeTime = 60
	// maxRSS is how much memory may ever be resident, MiB.
	maxRSS = 1024
)

// SoakReport is the result of Soak.
type SoakReport struct {
	Bench        string             `json:"bench"`
	Machine      Machine            `json:"machine"`
	Rate         float64            `json:"rate"` // requests per second asked for
	Connections  int                `json:"connections"`
	Recipients   int                `json:"recipients"`
	Load         Traffic            `json:"load"`
	Answers      map[string]Latency `json:"answers"` // of a question now and then, by question
	Samples      []Sample           `json:"samples"`
	RSSAt        [4]float64         `json:"rss_mb_at_25_50_75_100"` // MiB at these parts of the time, in percent
	RSSMax       float64            `json:"rss_max_mb"`             // most resident ever, as the kernel saw it
	Slope        float64            `json:"slope_mb_per_minute"`    // least squares over the second half
	MeanSecond   float64            `json:"rss_mean_second_half_mb"`
	LogMax       float64            `json:"log_max_mb"`
	TailMax      float64            `json:"tail_max_rows"`
	Events       int64              `json:"events"` // answered
	Stored       int64              `json:"stored"`
	DrainSeconds float64            `json:"drain_seconds"`
	Checks       []Check            `json:"checks"`
}

// OK reports whether all checks passed.
func (r *SoakReport) OK() bool { return passed(r.Checks) }

func (r *SoakReport) summarise() {
	r.RSSMax = r.Load.PeakMiB
	for _, s := range r.Samples { // which also saw processes that have ended
		r.RSSMax = max(r.RSSMax, s.RSSMiB)
	}
	end := r.Samples[len(r.Samples)-1].Seconds
	for i := range r.RSSAt {
		r.RSSAt[i] = r.nearest(end * float64(i+1) / 4).RSSMiB
	}
	var minutes, rss []float64
	for _, s := range r.Samples {
		r.LogMax, r.TailMax = max(r.LogMax, s.LogMiB), max(r.TailMax, s.TailRows)
		if s.Seconds >= end/2 {
			minutes, rss = append(minutes, s.Seconds/60), append(rss, s.RSSMiB)
			r.MeanSecond += s.RSSMiB
		}
	}
	r.MeanSecond /= float64(len(rss))
	r.Slope = slope(minutes, rss)
	limit := max(maxSlope, maxSlopePart*r.MeanSecond)
	r.Checks = []Check{
		{"stored = answered", number(r.Events), number(r.Stored), r.Stored == r.Events},
		{"requests not sent", "0", number(r.Load.Unsent), r.Load.Unsent == 0},
		{"RSS, most", fmt.Sprintf("≤ %d MiB", maxRSS), fmt.Sprintf("%.0f MiB", r.RSSMax), r.RSSMax <= maxRSS},
	}
	if end/2 >= minSlopeTime {
		r.Checks = append(r.Checks, Check{"RSS, second half", fmt.Sprintf("≤ %.1f MiB/min", limit), fmt.Sprintf("%+.2f MiB/min", r.Slope), r.Slope <= limit})
	}
}

// nearest returns the sample taken closest to a moment.
func (r *SoakReport) nearest(seconds float64) Sample {
	best := r.Samples[0]
	for _, s := range r.Samples {
		if math.Abs(s.Seconds-seconds) < math.Abs(best.Seconds-seconds) {
			best = s
		}
	}
	return best
}

// WriteText writes the report as people read it.
func (r *SoakReport) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "Memory under a steady load\n")
	if err := r.Machine.write(w); err != nil {
		return err
	}
	err := writeFacts(w,
		"load", fmt.Sprintf("%s requests/s asked for, %s done for %.0f s on %d connections: %s events, p50 %s, p99 %s, sent late by at most %s",
			number(int64(r.Rate)), number(int64(r.Load.PerSecond)), r.Load.Seconds, r.Connections, number(r.Events),
			micros(r.Load.Latency.P50), micros(r.Load.Latency.P99), micros(r.Load.LagUS)),
		"CPU", fmt.Sprintf("%s per event, %.2f cores busy; generator %s per event; others %.2f cores busy", cpu(r.Load.ServerCPU), r.Load.ServerCores, cpu(r.Load.GeneratorCPU), r.Load.OtherCores),
		"log, tail", fmt.Sprintf("at most %.1f MiB, %s rows", r.LogMax, number(int64(r.TailMax))),
		"drain", fmt.Sprintf("%.2f s", r.DrainSeconds),
	)
	if err != nil {
		return err
	}
	fmt.Fprintln(w)
	mb := func(v float64) string { return fmt.Sprintf("%.1f", v) }
	err = table(w, [][]string{
		{"RSS, MiB", "25 %", "50 %", "75 %", "100 %", "mean, 2nd half", "max", "slope/min"},
		{"", mb(r.RSSAt[0]), mb(r.RSSAt[1]), mb(r.RSSAt[2]), mb(r.RSSAt[3]), mb(r.MeanSecond), mb(r.RSSMax), fmt.Sprintf("%+.2f", r.Slope)},
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := table(w, append([][]string{{"a question a second", "answers", "p50", "p99", "p99.9", "max"}}, answerRows(r.Answers)...)); err != nil {
		return err
	}
	return writeChecks(w, r.Checks)
}
