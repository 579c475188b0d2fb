//go:build !(linux && (amd64 || arm64))

package bench

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

var errPlatform = fmt.Errorf("bench measures on Linux, amd64 or arm64, only: %w", errors.ErrUnsupported)

type poller struct{}

func newPoller() (*poller, error)                          { return nil, errPlatform }
func (*poller) close() error                               { return nil }
func (*poller) connect(netip.AddrPort, int32) (int, error) { return 0, errPlatform }
func (*poller) wait(time.Duration) ([]int32, error)        { return nil, errPlatform }
func closeFD(int) error                                    { return nil }
func writeFD(int, []byte) (int, error)                     { return 0, errPlatform }
func readFD(int, []byte) (int, error)                      { return 0, errPlatform }
