package bench

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
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
}

const (
	syncProbes    = 200
	syncProbeTime = time.Second / 2
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

func (m Machine) write(w io.Writer) error {
	return writeFacts(w,
		"machine", fmt.Sprintf("%s, %d cores, %.0f MiB, %s, Linux %s, %s", m.CPU, m.Cores, m.MemoryMiB, m.OS, m.Kernel, m.Go),
		"data folder", fmt.Sprintf("%s; fdatasync of 4 KiB: p50 %s, p99 %s", m.FileSystem, micros(m.SyncP50), micros(m.SyncP99)),
	)
}
