package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSlack looks at the slack of processes, which all threads that Go starts have.
func TestSlack(t *testing.T) {
	const tell = "MAILWAKE_TEST_SLACK"
	ns, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv(tell) != "" {
		fmt.Printf("slack %d\n", ns)
		return
	}
	for verb, want := range map[string]int{"serve": 500_000, "bench": ns} {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSlack$", verb)
		child.Env = append(os.Environ(), tell+"=1")
		out, err := child.CombinedOutput()
		if err != nil || !strings.Contains(string(out), fmt.Sprintf("slack %d\n", want)) {
			t.Errorf("%s: %v, want %d: %s", verb, err, want, out)
		}
	}
}
