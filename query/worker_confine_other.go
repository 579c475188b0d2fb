//go:build !linux

package query

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"time"
)

// confinement exists on Linux only.
type confinement struct {
	Root       bool
	UID, GID   int
	Namespaces bool
}

func startProcess([]string, string, bool, *os.File, *os.File) (*exec.Cmd, bool, error) {
	return nil, false, errors.New("SQL workers run on Linux only")
}

func socketPair(bool) (*net.UnixConn, *os.File, error) {
	return nil, nil, errors.New("SQL workers run on Linux only")
}

func (c *confinement) enter(*workerReady, *string)    {}
func (c *confinement) lock(*workerReady, workerSetup) {}
func limitProcessor(time.Duration)                    {}
