package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// maxRead is the limit for the 99th percentile of readers' answers.
const maxRead = 500 * time.Millisecond

// ReadersReport is the result of Readers.
type ReadersReport struct {
	Bench          string             `json:"bench"`
	Machine        Machine            `json:"machine"`
	Rate           float64            `json:"rate"` // pixel requests per second asked for
	Connections    int                `json:"connections"`
	Readers        int                `json:"readers"`
	Pause          float64            `json:"pause_seconds"`
	Alone          Traffic            `json:"alone"`   // pixels without readers
	Beside         Traffic            `json:"beside"`  // pixels with readers
	Answers        map[string]Latency `json:"answers"` // of readers, by question
	Before         Latency            `json:"before"`  // an easy SQL question
	Runaway        string             `json:"runaway"` // what a runaway statement was answered
	RunawaySeconds float64            `json:"runaway_seconds"`
	AfterRunaway   Latency            `json:"after_runaway"`
	Killed         string             `json:"killed"` // what a statement was answered whose process was killed
	FirstAfterKill float64            `json:"first_after_kill_us"`
	AfterKill      Latency            `json:"after_kill"`
	Events         int64              `json:"events"`
	Stored         int64              `json:"stored"`
	Ratio          float64            `json:"ratio"` // what RatioOf says
	RatioOf        string             `json:"ratio_of"`
	Checks         []Check            `json:"checks"`
}

// OK reports whether all checks passed.
func (r *ReadersReport) OK() bool { return passed(r.Checks) }

func (r *ReadersReport) summarise() {
	read, growth := r.Answers[everything], ratio(r.Beside.Latency.P99, r.Alone.Latency.P99)
	limit := statementLimit.Seconds() + 2
	r.Ratio, r.RatioOf = growth, "99th percentile of pixels with readers over that without"
	r.Checks = []Check{
		{"stored = answered", number(r.Events), number(r.Stored), r.Stored == r.Events},
		{"pixels not sent", "0", number(r.Alone.Unsent + r.Beside.Unsent), r.Alone.Unsent+r.Beside.Unsent == 0},
		{"readers' answers, p99", "≤ " + micros(float64(maxRead.Microseconds())), micros(read.P99), read.Count > 0 && read.P99 <= float64(maxRead.Microseconds())},
		{"pixels, p99, with readers / without", "≤ 2.0", fmt.Sprintf("%.1f", growth), growth <= 2},
		{"runaway statement ends", fmt.Sprintf("504 sql_timeout in %.0f s", limit), fmt.Sprintf("%s in %.1f s", r.Runaway, r.RunawaySeconds), r.Runaway == "504 sql_timeout" && r.RunawaySeconds < limit},
		{"after it, p50 / before", "≤ 1.5", fmt.Sprintf("%.1f", ratio(r.AfterRunaway.P50, r.Before.P50)), ratio(r.AfterRunaway.P50, r.Before.P50) <= 1.5},
		{"worker killed", "503 sql_worker_ended", r.Killed, r.Killed == "503 sql_worker_ended"},
	}
}

// WriteText writes the report as people read it.
func (r *ReadersReport) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "Readers of SQL and KPIs beside pixel requests, on a table of %s events\n", number(r.Events))
	if err := r.Machine.write(w); err != nil {
		return err
	}
	fmt.Fprintf(w, "  load         %s requests/s asked for; %d readers, %.1f s between an answer and the next question\n"+
		"  cores busy   server %.2f without readers, %.2f with\n\n", number(int64(r.Rate)), r.Readers, r.Pause, r.Alone.ServerCores, r.Beside.ServerCores)
	rows := [][]string{{"", "answers", "p50", "p99", "p99.9", "max"}, r.Alone.Latency.row("pixel, no readers"), r.Beside.Latency.row("pixel, readers")}
	rows = append(rows, answerRows(r.Answers)...)
	rows = append(rows, r.Before.row("easy SQL, alone"), r.AfterRunaway.row("after the runaway"), r.AfterKill.row("after the kill"))
	if err := table(w, rows); err != nil {
		return err
	}
	fmt.Fprintf(w, "  first answer after the kill: %s\n", micros(r.FirstAfterKill))
	return writeChecks(w, r.Checks)
}

// answerRows are rows of latencies by question.
func answerRows(answers map[string]Latency) (rows [][]string) {
	for _, name := range slices.Sorted(maps.Keys(answers)) {
		l := answers[name]
		rows = append(rows, l.row(name))
	}
	return rows
}

func (r *ReadersReport) charts() []Chart {
	read := r.Answers[everything]
	return []Chart{{Title: "Latency", Unit: "ms", Bars: []Bar{
		{"p50", "pixel alone", r.Alone.Latency.P50 / 1e3}, {"p99", "pixel alone", r.Alone.Latency.P99 / 1e3},
		{"p50", "pixel beside readers", r.Beside.Latency.P50 / 1e3}, {"p99", "pixel beside readers", r.Beside.Latency.P99 / 1e3},
		{"p50", "readers", read.P50 / 1e3}, {"p99", "readers", read.P99 / 1e3},
	}}}
}
