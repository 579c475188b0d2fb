package query

import (
	"os"
	"testing"
)

// TestMain makes this program a worker when it is started as one.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		if os.Getenv(probing) != "" {
			os.Exit(probe())
		}
		os.Exit(RunWorker())
	}
	os.Exit(m.Run())
}
