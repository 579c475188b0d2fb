package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"strings"
	"testing"
	"time"
)

func pixelOptions(t *testing.T, flaws string) PixelOptions {
	return PixelOptions{Setup: fakeSetup(t, flaws), Levels: []int{4, 2}, Rounds: 2, Warmup: 10 * time.Millisecond, Duration: 40 * time.Millisecond}
}

func TestPixel(t *testing.T) {
	o := pixelOptions(t, "")
	var said bytes.Buffer
	o.Progress, o.ForceProgress = &said, true
	s, err := Pixel(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if s.Events == 0 || s.Stored != s.Events {
		t.Errorf("answered %d, stored %d", s.Events, s.Stored)
	}
	for _, level := range []string{"4 connections", "2 connections"} {
		for _, server := range []string{", baseline", ", mailwake"} {
			for _, of := range []string{"requests/s", "p50", "peak RSS"} {
				if s.value(level+server, of) <= 0 {
					t.Errorf("no %s of %s", of, level+server)
				}
			}
		}
		own, base := s.value(level+", mailwake", "requests/s"), s.value(level+", baseline", "requests/s")
		if got := s.value(level, overBaseline); math.Abs(got*base/own-1) > 1e-9 || s.value(level, leastSlice) > s.value(level, mostSlice) || s.value(level, halfP99) <= 0 {
			t.Errorf("%s: ratio %v of %v and %v in %+v", level, got, own, base, s.Figures)
		}
		if got := s.value(level, "fdatasyncs over 0.1 s at half of the peak"); got != 2 {
			t.Errorf("%s: %v long fdatasyncs, want the 2 that the metric has", level, got)
		}
	}
	if want := min(s.value("4 connections", overBaseline), s.value("2 connections", overBaseline)); s.Ratio != want {
		t.Errorf("ratio %v, want %v", s.Ratio, want)
	}
	if len(s.Peers) != 1 || !strings.Contains(s.Peers[0].Value, "is not installed") {
		t.Errorf("nginx that is absent: %+v", s.Peers)
	}
	// By turns: who was last in one round is first in the next one.
	if !strings.Contains(said.String(), "1 of 2: baseline\n4 connections, slice 1 of 2: mailwake\n4 connections, slice 2 of 2: mailwake\n4 connections, slice 2 of 2: baseline\n") {
		t.Errorf("progress: %s", said.String())
	}
	if left, _ := os.ReadDir(o.Dir); len(left) != 0 {
		t.Errorf("the data folder was left behind: %v", left)
	}
	checkReport(t, &s, []string{"4 connections, mailwake", "requests/s over baseline", "stored = sent"}, []string{"ratio", "figures"})
}

// checkReport looks for words in the text and for keys in the JSON of a report.
func checkReport(t *testing.T, r Report, words, keys []string) {
	t.Helper()
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, word := range words {
		if !strings.Contains(text.String(), word) {
			t.Errorf("no %q in:\n%s", word, text.String())
		}
	}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(raw, &object); err != nil {
		t.Fatal(err)
	}
	for _, key := range append(keys, "machine", "events", "stored", "checks") {
		if object[key] == nil {
			t.Errorf("no %q in %s", key, raw)
		}
	}
	machine, _ := object["machine"].(map[string]any)
	if machine["cores"] == 0.0 || machine["sync_p50_us"] == 0.0 || machine["kernel"] == "" || machine["file_system"] == "" {
		t.Errorf("machine: %v", machine)
	}
}

func TestPixelBesideNginx(t *testing.T) {
	o := pixelOptions(t, "")
	o.Levels, o.Rounds, o.Nginx = []int{3}, 1, o.Binary
	s, err := Pixel(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if s.value("3 connections, nginx", "requests/s") <= 0 || s.value("3 connections", "requests/s over nginx") <= 0 {
		t.Errorf("nginx: %+v", s)
	}
	checkReport(t, &s, []string{"empty_gif", "requests/s over nginx"}, nil)
}

func TestPixelFlaws(t *testing.T) {
	for flaws, want := range map[string]string{
		"lose=10":   "opens are stored",
		"forget=1":  "after the slices: ",
		"die=20":    "mailwake ended: exit status 3; its last output:\nfake: out of luck",
		"refuse=10": "answers were not 200",
		"blocked=1": `follow state "blocked"`,
		"noserve=1": "the disk is on fire",
		"away=1":    "192.0.2.1:80 is not a loopback address",
	} {
		t.Run(flaws, func(t *testing.T) {
			t.Parallel()
			o := pixelOptions(t, flaws)
			_, err := Pixel(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("got %v, want %q", err, want)
			}
			var count *CountError
			if isCount := errors.As(err, &count); isCount != (flaws == "lose=10" || flaws == "forget=1") {
				t.Errorf("a CountError: %v (%v)", isCount, err)
			} else if isCount && count.Stored >= count.Answered {
				t.Errorf("lost opens, but %+v", count)
			}
			if left, _ := os.ReadDir(o.Dir); len(left) != 0 {
				t.Errorf("the data folder was left behind: %v", left)
			}
		})
	}
}

func TestFresh(t *testing.T) {
	o := FreshOptions{Setup: fakeSetup(t, ""), Rate: 500, Warmup: 20 * time.Millisecond, Duration: 100 * time.Millisecond, ProbeEvery: 4 * time.Millisecond}
	r, err := Fresh(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Misses != 0 || r.Probes < 2 || r.SQL.Count == 0 || r.KPI.Count == 0 || r.SQL.Count+r.KPI.Count != r.Probes || r.Ack.Count != r.Probes {
		t.Errorf("probes: %+v", r)
	}
	if want := int64(10 + 50); r.Stored != r.Events || r.Events < want+r.Probes || r.Load.Requests != 50 || r.Load.Unsent != 0 {
		t.Errorf("answered %d, stored %d, background %+v", r.Events, r.Stored, r.Load)
	}
	checkReport(t, &r, []string{"answer → SQL count", "missed by the first query"}, []string{"sql", "kpi"})
}

// What is counted before the drain may be gone after it.
func TestLostByRestart(t *testing.T) {
	pixel := pixelOptions(t, "forget=1")
	pixel.Levels = []int{4} // no other follows that would find out
	_, err := Pixel(t.Context(), pixel)
	if err == nil || !strings.Contains(err.Error(), "after the last restart: ") || !errors.As(err, new(*CountError)) {
		t.Errorf("pixel: %v", err)
	}
	_, err = Fresh(t.Context(), FreshOptions{Setup: fakeSetup(t, "forget=1"), Rate: 1000, Warmup: 8 * time.Millisecond, Duration: 20 * time.Millisecond, ProbeEvery: 4 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "after a restart: ") || !errors.As(err, new(*CountError)) {
		t.Errorf("fresh: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	_, err := Fresh(t.Context(), FreshOptions{Setup: fakeSetup(t, "refuse=10"), Rate: 2000, Warmup: 10 * time.Millisecond, Duration: 20 * time.Millisecond, ProbeEvery: 9 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "answers were not 200") && !strings.Contains(err.Error(), "503") {
		t.Errorf("fresh: %v", err)
	}
	_, err = Soak(t.Context(), SoakOptions{Setup: fakeSetup(t, "refuse=10"), Rate: 2000, Duration: 40 * time.Millisecond, SampleEvery: 10 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "answers were not 200") {
		t.Errorf("soak: %v", err)
	}
}

// Nothing but the registry stands behind Decide, so that it needs no server.
func TestDecide(t *testing.T) {
	s, err := Decide(t.Context(), DecideOptions{Setup: fakeSetup(t, ""), People: 300, Decisions: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if s.value(decideTime, "mailwake") <= 0 || s.value(decideTime, "map") <= 0 || s.Ratio <= 0 || len(s.Checks) != 2 {
		t.Errorf("%+v", s)
	}
	checkReport(t, &s, []string{"one decision", "allocations of a decision"}, []string{"ratio"})
}

func TestFreshMiss(t *testing.T) {
	o := FreshOptions{Setup: fakeSetup(t, "late=1"), Rate: 1, Warmup: 8 * time.Millisecond, Duration: 60 * time.Millisecond, ProbeEvery: 4 * time.Millisecond}
	r, err := Fresh(t.Context(), o)
	if err != nil && !errors.As(err, new(*CountError)) {
		t.Fatal(err)
	}
	if r.Misses == 0 {
		t.Error("a server whose first query does not count was not found out")
	}
	r.summarise()
	if r.OK() {
		t.Error("a report with misses passes")
	}
}

func TestSoak(t *testing.T) {
	o := SoakOptions{Setup: fakeSetup(t, ""), Rate: 2000, Duration: 200 * time.Millisecond, AskEvery: 10 * time.Millisecond, SampleEvery: 10 * time.Millisecond}
	r, err := Soak(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Events != 400 || r.Stored != 400 || len(r.Samples) < 5 {
		t.Errorf("answered %d, stored %d, %d samples", r.Events, r.Stored, len(r.Samples))
	}
	if s := r.Samples[1]; s.LogMiB != 1 || s.TailRows != 42 || s.RSSMiB <= 0 || r.RSSMax < s.RSSMiB || r.RSSAt[3] <= 0 {
		t.Errorf("sample %+v of %+v", s, r)
	}
	if all := r.Answers[everything]; all.Count == 0 || all.P50 <= 0 {
		t.Errorf("no questions were answered: %+v", r.Answers)
	}
	checkReport(t, &r, []string{"RSS, MiB", "slope/min", "RSS, most", "a question a second"}, []string{"samples", "slope_mb_per_minute"})
}

func TestSoakWithoutMetrics(t *testing.T) {
	o := SoakOptions{Setup: fakeSetup(t, "nometrics=1"), Rate: 100, Duration: 10 * time.Second, SampleEvery: time.Second}
	start := time.Now()
	_, err := Soak(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "no mailwake_log_bytes") {
		t.Fatalf("got %v", err)
	}
	if time.Since(start) > 9*time.Second {
		t.Error("the load went on after the samples had failed")
	}
}
