package bench

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// progress tells a person what is being done: on a terminal in one line that is
// rewritten, else, if that was asked for, in one line a step.
type progress struct {
	w        io.Writer // nil: silent
	terminal bool
}

func (s *Setup) progress() progress {
	terminal := false
	if f, ok := s.Progress.(*os.File); ok {
		info, err := f.Stat()
		terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	if s.Progress == nil || (!terminal && !s.ForceProgress) {
		return progress{}
	}
	return progress{w: s.Progress, terminal: terminal}
}

func (p progress) step(format string, args ...any) {
	switch {
	case p.w == nil:
	case p.terminal:
		fmt.Fprintf(p.w, "\r\x1b[K"+format, args...)
	default:
		fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// bar shows how much of a whole is done, how fast, and how long the rest will take.
func (p progress) bar(done, all int64, what string, took time.Duration) {
	if p.w == nil {
		return
	}
	const width = 30
	full := int(done * width / max(all, 1))
	rate := float64(done) / max(took.Seconds(), 1e-9)
	left := time.Duration(float64(all-done) / max(rate, 1e-9) * float64(time.Second)).Round(time.Second)
	p.step("[%s%s] %s of %s %s, %s/s, %v left", strings.Repeat("█", full), strings.Repeat("░", width-full), number(done), number(all), what, number(int64(rate)), left)
}

// end leaves the line empty for what is printed next.
func (p progress) end() {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
