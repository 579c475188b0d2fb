package bench

import (
	"fmt"
	"io"
	"time"
)

// FreshReport is the result of Fresh.
type FreshReport struct {
	Bench         string  `json:"bench"`
	Machine       Machine `json:"machine"`
	Rate          float64 `json:"rate"` // background requests per second asked for
	Connections   int     `json:"connections"`
	Recipients    int     `json:"recipients"`
	Load          Traffic `json:"load"`            // the background, while measured; CPU is of queries too
	Probes        int64   `json:"probes"`          // while measured
	Misses        int64   `json:"misses"`          // probes that the first query did not count, warm-up included
	LongestLateUS float64 `json:"longest_late_us"` // until a miss was counted after all
	Ack           Latency `json:"ack"`             // pixel request to its answer
	SQL           Latency `json:"sql"`             // answer of the pixel to the answer of the query
	KPI           Latency `json:"kpi"`
	Events        int64   `json:"events"` // answered, probes and warm-up included
	Stored        int64   `json:"stored"`
	DrainSeconds  float64 `json:"drain_seconds"`
	Checks        []Check `json:"checks"`
}

// OK reports whether all checks passed.
func (r *FreshReport) OK() bool { return passed(r.Checks) }

func (r *FreshReport) summarise() {
	limit := float64(maxFresh) / float64(time.Microsecond)
	r.Checks = []Check{
		{"missed by the first query", "0", number(r.Misses), r.Misses == 0},
		{"stored = answered", number(r.Events), number(r.Stored), r.Stored == r.Events},
		{"SQL: ack → visible, p99", "< " + micros(limit), micros(r.SQL.P99), r.SQL.Count > 0 && r.SQL.P99 < limit},
		{"KPI: ack → visible, p99", "< " + micros(limit), micros(r.KPI.P99), r.KPI.Count > 0 && r.KPI.P99 < limit},
		{"background requests not sent", "0", number(r.Load.Unsent), r.Load.Unsent == 0},
	}
}

// WriteText writes the report as people read it.
func (r *FreshReport) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "From the answer of a pixel to the answer of a query that counts it\n")
	if err := r.Machine.write(w); err != nil {
		return err
	}
	fmt.Fprintf(w, "  load         %s requests/s asked for, %s done (%s recipients), p99 %s, sent late by at most %s\n"+
		"  cores busy   server %.2f, all but server and generator %.2f\n\n",
		number(int64(r.Rate)), number(int64(r.Load.PerSecond)), number(r.Recipients),
		micros(r.Load.Latency.P99), micros(r.Load.LagUS), r.Load.ServerCores, r.Load.OtherCores)
	err := table(w, [][]string{
		{"", "probes", "p50", "p99", "p99.9", "max"},
		r.Ack.row("pixel request → answer"), r.SQL.row("answer → SQL count"), r.KPI.row("answer → KPI"),
	})
	if err != nil {
		return err
	}
	return writeChecks(w, r.Checks)
}

func (l Latency) row(name string) []string {
	return []string{name, number(l.Count), micros(l.P50), micros(l.P99), micros(l.P999), micros(l.Max)}
}
