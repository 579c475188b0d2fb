package bench

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Machine is what figures depend on.
type Machine struct {
	CPU        string  `json:"cpu"`
	Cores      int     `json:"cores"`
	MemoryMiB  float64 `json:"memory_mb"`
	OS         string  `json:"os"`
	Kernel     string  `json:"kernel"`
	Go         string  `json:"go"`
	FileSystem string  `json:"file_system"` // of the data folder
	SyncP50    float64 `json:"sync_p50_us"` // fdatasync of 4 KiB appended to a file in the data folder
	SyncP99    float64 `json:"sync_p99_us"`
	Calls      calls   `json:"system_calls"`
}

const (
	syncProbes    = 200
	syncProbeTime = time.Second / 2
	callProbeTime = 2 * time.Second
	callSlice     = time.Millisecond
	slowCall      = 3 // times the median
)

// machineOf describes the machine; dir is where data will be written. What the
// system does not tell stays empty.
func machineOf(dir string) (Machine, error) {
	m := Machine{
		CPU: cpuModel(), Cores: runtime.NumCPU(), OS: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(),
		Kernel: firstLine("/proc/sys/kernel/osrelease"), FileSystem: fileSystem(dir),
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		if n, err := parseKB(text, "MemTotal:"); err == nil {
			m.MemoryMiB = mib(n)
		}
	}
	times, err := syncTimes(dir)
	if err != nil {
		return m, fmt.Errorf("measure fsync: %w", err)
	}
	us := func(q float64) float64 {
		return float64(times[int(q*float64(len(times)-1))]) / float64(time.Microsecond)
	}
	m.SyncP50, m.SyncP99 = us(0.5), us(0.99)
	m.Calls = callsOf(callSlices(callProbeTime))
	return m, nil
}

func firstLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// syncTimes appends small blocks to a file in dir and returns how long each took
// to be on the disk, sorted.
func syncTimes(dir string) (times []time.Duration, err error) {
	f, err := os.Create(filepath.Join(dir, "sync-probe"))
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 4<<10)
	for start := time.Now(); len(times) < syncProbes && time.Since(start) < syncProbeTime; {
		if _, err := f.Write(block); err != nil {
			return nil, err
		}
		before := time.Now()
		if err := dataSync(f); err != nil {
			return nil, err
		}
		times = append(times, time.Since(before))
	}
	slices.Sort(times)
	return times, nil
}

// calls tells how much the machine is hindered though no processor is taken away, as guests
// of a hypervisor were seen to be: for tens of milliseconds at a time each system call costs
// ten times as much, and requests pile up at any server that is half busy.
type calls struct {
	MedianNS  float64 `json:"median_ns"`
	Slow      float64 `json:"slow_share"` // of the time, 0 to 1: at least three times the median
	LongestMS float64 `json:"slow_longest_ms"`
}

// callSlices makes the cheapest of system calls for d. For each slice of the time it
// returns how long that was and how often the call returned.
func callSlices(d time.Duration) (all []timedCalls) {
	const unwatched = 50 // calls between two looks at the clock
	for start, last, n := time.Now(), time.Duration(0), 0; last < d; {
		for range unwatched {
			syscall.Getppid()
		}
		n += unwatched
		if now := time.Since(start); now-last >= callSlice {
			all = append(all, timedCalls{now - last, n})
			last, n = now, 0
		}
	}
	return all
}

// timedCalls is a slice of time and the number of calls in it.
type timedCalls struct {
	took  time.Duration
	calls int
}

func (s timedCalls) each() float64 { return float64(s.took) / float64(s.calls) }

func callsOf(all []timedCalls) (c calls) {
	c.MedianNS = medianOf(all, timedCalls.each)
	var total, slow, stretch time.Duration
	for _, s := range all {
		total += s.took
		if s.each() < slowCall*c.MedianNS {
			stretch = 0
			continue
		}
		slow, stretch = slow+s.took, stretch+s.took
		c.LongestMS = max(c.LongestMS, float64(stretch)/float64(time.Millisecond))
	}
	c.Slow = ratio(float64(slow), float64(total))
	return c
}

func (c calls) String() string {
	return fmt.Sprintf("%.0f ns; %d times that and more for %.1f %% of %v, up to %.0f ms on end", c.MedianNS, slowCall, 100*c.Slow, callProbeTime, c.LongestMS)
}

func (m Machine) write(w io.Writer) error {
	facts := []string{
		"machine", fmt.Sprintf("%s, %d cores, %.0f MiB, %s, Linux %s, %s", m.CPU, m.Cores, m.MemoryMiB, m.OS, m.Kernel, m.Go),
		"data folder", fmt.Sprintf("%s; fdatasync of 4 KiB: p50 %s, p99 %s", m.FileSystem, micros(m.SyncP50), micros(m.SyncP99)),
	}
	if m.Calls.MedianNS > 0 { // older reports do not have it
		facts = append(facts, "system call", m.Calls.String())
	}
	return writeFacts(w, facts...)
}
