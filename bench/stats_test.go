package bench

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := median(c.in); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.in, got, c.want)
		}
	}
}

func TestSlope(t *testing.T) {
	for _, c := range []struct {
		xs, ys []float64
		want   float64
	}{
		{nil, nil, 0}, {[]float64{1}, []float64{5}, 0}, {[]float64{2, 2}, []float64{1, 9}, 0},
		{[]float64{0, 1, 2}, []float64{1, 3, 5}, 2}, {[]float64{0, 1, 2, 3}, []float64{5, 5, 5, 5}, 0}, {[]float64{1, 2, 3}, []float64{0, -2, -1}, -0.5},
	} {
		if got := slope(c.xs, c.ys); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("slope of %v over %v is %v, want %v", c.ys, c.xs, got, c.want)
		}
	}
}

func TestSlowCalls(t *testing.T) {
	const ms = time.Millisecond
	fast, slow := timedCalls{ms, 5000}, timedCalls{2 * ms, 1000} // 200 and 2,000 ns
	almost := timedCalls{ms, 1700}
	got := callsOf([]timedCalls{fast, slow, slow, almost, slow, fast, fast, fast, fast, fast, fast, fast, fast, fast, fast})
	if want := (calls{MedianNS: 200, Slow: 6. / 18, LongestMS: 4}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if none := callsOf(nil); none != (calls{}) {
		t.Errorf("of nothing: %+v", none)
	}
	var total time.Duration
	for _, s := range callSlices(10 * ms) {
		if s.took < callSlice || s.calls == 0 {
			t.Errorf("a slice of %v with %d calls", s.took, s.calls)
		}
		total += s.took
	}
	if total < 10*ms {
		t.Errorf("watched for %v", total)
	}
}

func TestSoakSummary(t *testing.T) {
	for _, c := range []struct {
		perMinute float64
		ok        bool
	}{{0, true}, {1, true}, {5, false}, {-50, true}} {
		r := SoakReport{Events: 1, Stored: 1}
		for i := range 121 { // ten minutes: steep in the first half, then as asked
			rss := 100 + min(float64(i), 60) + max(0, float64(i)-60)/12*c.perMinute
			r.Samples = append(r.Samples, Sample{Seconds: float64(i) * 5, RSSMiB: rss})
		}
		r.summarise()
		if math.Abs(r.Slope-c.perMinute) > 0.01 || r.OK() != c.ok || r.RSSAt[1] != 160 {
			t.Errorf("%v MiB/min: slope %v, ok %v, at %v", c.perMinute, r.Slope, r.OK(), r.RSSAt)
		}
	}
}

func TestPixelSummary(t *testing.T) {
	server := func(name string, perSecond, cpu float64) *runner {
		r := &runner{node: &node{Process: &Process{name: name}}, withDrain: cpu}
		for _, f := range []float64{1, 2} { // the machine is slower for a while
			r.slices = append(r.slices, Traffic{Requests: int64(perSecond * f), Seconds: 1, PerSecond: perSecond * f, ServerCPU: cpu / f})
		}
		return r
	}
	for _, c := range []struct {
		ratio, cpu float64
		ok         bool
	}{{0.9, 1.15, true}, {0.89, 1, false}, {1, 1.16, false}} {
		const name = "256 connections"
		b := pixelBench{sheet: &Sheet{}, levels: []pixelLevel{{name: name, servers: []*runner{server("baseline", 1000, 10), server("mailwake", 1000*c.ratio, 10*c.cpu)}}}}
		b.report()
		s := b.sheet
		if math.Abs(s.Ratio-c.ratio) > 1e-9 || math.Abs(s.value(name, cpuOverBaseline)-c.cpu) > 1e-9 || s.OK() != c.ok {
			t.Errorf("%+v: ratio %v, CPU %v, ok %v", c, s.Ratio, s.value(name, cpuOverBaseline), s.OK())
		}
		if least, most := s.value(name, leastSlice), s.value(name, mostSlice); math.Abs(least-c.ratio) > 1e-9 || math.Abs(most-c.ratio) > 1e-9 {
			t.Errorf("%+v: slices from %v to %v", c, least, most)
		}
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567", -100: "-100"} {
		if got := number(n); got != want {
			t.Errorf("%d is written %s", n, got)
		}
	}
	for us, want := range map[float64]string{12: "12 µs", 1234: "1.23 ms", 12345: "12.3 ms", 2.5e6: "2.50 s"} {
		if got := micros(us); got != want {
			t.Errorf("%v is written %s", us, got)
		}
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := table(&b, [][]string{{"", "p50"}, {"µs →", "1"}, {"a", "1234"}}); err != nil {
		t.Fatal(err)
	}
	if want := "         p50\n  µs →     1\n  a     1234\n"; b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}

func TestOptions(t *testing.T) {
	var p PixelOptions
	if err := p.setDefaults(2); err != nil || len(p.Levels) != 3 || p.Threads != 1 || p.Rounds != 16 || p.Duration != time.Second || p.Binary == "" {
		t.Errorf("%+v, %v", p, err)
	}
	var s SoakOptions
	if err := s.setDefaults(16); err != nil || s.Rate != 20_000 || s.Duration != 30*time.Minute || s.SampleEvery != 5*time.Second || s.Threads != 4 {
		t.Errorf("%+v, %v", s, err)
	}
	for want, err := range map[string]error{
		"connections": (&PixelOptions{Levels: []int{1 << 20}}).setDefaults(2),
		"threads":     (&PixelOptions{Setup: Setup{Threads: 3}, Levels: []int{8, 2}}).setDefaults(2),
		"rounds":      (&PixelOptions{Rounds: -1}).setDefaults(2),
		"duration":    (&FreshOptions{Duration: -time.Second}).setDefaults(2),
		"probes":      (&FreshOptions{Duration: 24 * time.Hour, ProbeEvery: time.Millisecond}).setDefaults(2),
		"rate":        (&SoakOptions{Rate: 1e9}).setDefaults(2),
		"sample":      (&SoakOptions{Duration: time.Second, SampleEvery: time.Second}).setDefaults(2),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestProgress(t *testing.T) {
	var b bytes.Buffer
	silent := (&Setup{Progress: &b}).progress()
	silent.step("nobody asked")
	silent.end()
	if b.Len() != 0 {
		t.Errorf("%q was written to what is no terminal", b.String())
	}
}
