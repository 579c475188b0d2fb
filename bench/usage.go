package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of CPU times in /proc: USER_HZ is 100 on every port of
// Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// Usage is what a process and its children use. These run the same program, whose pages
// count once.
type Usage struct {
	CPU  time.Duration // user and system, all threads, since its start
	RSS  int64         // resident bytes now
	Peak int64         // most resident bytes so far, each process at its own time

	program int64 // of a single process, resident bytes of files: its program and libraries
}

func usageOf(pid int) (Usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, fmt.Errorf("read CPU time: %w", err)
	}
	cpu, err := parseStat(stat)
	if err != nil {
		return Usage{}, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Usage{}, fmt.Errorf("read memory: %w", err)
	}
	if !bytes.Contains(status, []byte("VmRSS:")) { // it ends just now
		return Usage{}, fmt.Errorf("read memory of %d: %w", pid, fs.ErrNotExist)
	}
	rss, err := parseKB(status, "VmRSS:")
	if err != nil {
		return Usage{}, err
	}
	peak, err := parseKB(status, "VmHWM:")
	if err != nil {
		return Usage{}, err
	}
	program, err := parseKB(status, "RssFile:")
	return Usage{CPU: cpu, RSS: rss, Peak: peak, program: program}, err
}

// addChildren adds what the children of a process use.
func (u *Usage) addChildren(pid int) error {
	children, err := childrenOf(pid)
	if err != nil {
		return err
	}
	for _, child := range children {
		more, err := usageOf(child)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended, and counts when its parent has seen that
		}
		if err != nil {
			return err
		}
		u.CPU += more.CPU
		u.RSS += more.RSS - more.program
		u.Peak += more.Peak - more.program
	}
	return nil
}

// childrenOf returns the children of a process, which Linux lists by the thread that
// started them.
func childrenOf(pid int) (children []int, err error) {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil, fmt.Errorf("list children: %w", err)
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			return nil, fmt.Errorf("list children: %w", err)
		}
		for field := range strings.FieldsSeq(string(text)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				return nil, fmt.Errorf("list children: %w", err)
			}
			children = append(children, child)
		}
	}
	return children, nil
}

// parseStat returns utime + stime of /proc/PID/stat and those of children that have
// ended. The name of the program, in
// parentheses, may hold spaces and parentheses of its own.
func parseStat(b []byte) (time.Duration, error) {
	i := bytes.LastIndexByte(b, ')')
	fields := strings.Fields(string(b[i+1:]))
	const utime, cstime = 11, 14 // after the name
	if i < 0 || len(fields) <= cstime {
		return 0, fmt.Errorf("read CPU time: %.80q", b)
	}
	var ticks int64
	for _, f := range fields[utime : cstime+1] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read CPU time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// parseKB returns a size of /proc/PID/status or /proc/meminfo in bytes.
func parseKB(b []byte, name string) (int64, error) {
	for line := range strings.Lines(string(b)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok {
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read %s %w", name, err)
		}
		return kb << 10, nil
	}
	return 0, fmt.Errorf("read memory: no %s", name)
}

// reading is what a server, this program and the whole machine have used so far.
type reading struct {
	server       Usage
	own, machine time.Duration
}

func (p *Process) read() (reading, error) {
	u, err := p.Usage()
	r := reading{server: u, own: ownCPU()}
	if text, err := os.ReadFile("/proc/stat"); err == nil {
		r.machine = parseBusy(text)
	}
	return r, err
}

// parseBusy returns the CPU time of all processes of /proc/stat, with what a
// hypervisor took, and without interrupts, most of which are our own packets.
func parseBusy(b []byte) time.Duration {
	line, _, _ := strings.Cut(string(b), "\n")
	fields := strings.Fields(line)
	var ticks int64
	for _, i := range []int{1, 2, 3, 8} { // user, nice, system, steal
		if i < len(fields) {
			n, _ := strconv.ParseInt(fields[i], 10, 64) // a figure to be read with the others only
			ticks += n
		}
	}
	return time.Duration(ticks) * clockTick
}

// ownCPU is the CPU time of this program, which generates the load.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
