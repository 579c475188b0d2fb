package main

import (
	"path/filepath"
	"testing"
	"time"

	"mailwake/bench"
)

// TestBench runs the measurements that need the real server, over little: what they
// count has to be exact, what they time is not looked at.
func TestBench(t *testing.T) {
	setup := bench.Setup{Env: []string{asBinary + "=1", "GORACE=atexit_sleep_ms=0"}, Dir: t.TempDir(), Peers: "none", Azurite: "../../engine/blob/blobtest/azurite", StopLimit: patience}
	of := func(events int64) bench.WorldOptions { return bench.WorldOptions{Setup: setup, Events: events} }
	reports := t.TempDir()
	for name, run := range map[string]func() (bench.Sheet, error){
		"bulk": func() (bench.Sheet, error) {
			return bench.Bulk(t.Context(), bench.BulkOptions{WorldOptions: of(50_000), Duration: time.Millisecond})
		},
		"flush": func() (bench.Sheet, error) {
			return bench.Flush(t.Context(), of(100_000))
		},
		"compact": func() (bench.Sheet, error) {
			return bench.Compact(t.Context(), of(100_000))
		},
		"restart": func() (bench.Sheet, error) {
			return bench.Restart(t.Context(), bench.RestartOptions{WorldOptions: of(5000), LogMB: 1})
		},
		"kpi": func() (bench.Sheet, error) {
			return bench.KPI(t.Context(), bench.KPIOptions{WorldOptions: of(5000), Runs: 1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := run()
			if err != nil {
				t.Fatal(err)
			}
			if s.Bench != name || s.Events < 5000 || s.Stored != s.Events || len(s.Figures) < 4 {
				t.Errorf("%+v", s)
			}
			for _, c := range s.Checks {
				if c.Limit == "equal rows" {
					t.Errorf("%s: %s", c.Name, c.Got)
				}
			}
			if err := bench.Save(reports, name, &s); err != nil {
				t.Error(err)
			}
		})
	}
	for _, of := range []string{"bulk.json", "kpi-1.svg", "README.md"} {
		if found, _ := filepath.Glob(filepath.Join(reports, of)); len(found) != 1 {
			t.Errorf("no %s", of)
		}
	}
}
