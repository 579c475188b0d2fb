//go:build !unix

package ingest

// pushOnce leaves pending to the connection's goroutine.
func (c *conn) pushOnce(uintptr) bool { return true }
