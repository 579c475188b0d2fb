//go:build !linux

package ingest

import "net"

// front returns ln: fasthttp serves everything.
func (*Public) front(ln net.Listener) (net.Listener, func() error, error) {
	return ln, func() error { return nil }, nil
}
