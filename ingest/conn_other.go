//go:build !unix

package ingest

import (
	"net"
	"syscall"
)

// pushOnce leaves pending to the connection's goroutine.
func (c *conn) pushOnce(uintptr) bool { return true }

// directly returns nc as it is.
func directly(nc net.Conn, _ syscall.RawConn) net.Conn { return nc }
