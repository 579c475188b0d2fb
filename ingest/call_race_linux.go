//go:build race

package ingest

import (
	"errors"
	"syscall"
)

// The race detector takes from these calls what happened before what.

func readOnce(fd uintptr, b []byte) (int, syscall.Errno) { return once(syscall.Read, fd, b) }

func writeOnce(fd uintptr, b []byte) (int, syscall.Errno) { return once(syscall.Write, fd, b) }

func once(call func(int, []byte) (int, error), fd uintptr, b []byte) (int, syscall.Errno) {
	for {
		n, err := call(int(fd), b)
		errno, _ := errors.AsType[syscall.Errno](err) // 0 without an error
		if errno != syscall.EINTR {
			return n, errno
		}
	}
}
