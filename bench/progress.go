package bench

import (
	"fmt"
	"io"
	"os"
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

// end leaves the line empty for what is printed next.
func (p progress) end() {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
