//go:build !race

package ingest

import (
	"syscall"
	"unsafe"
)

func readOnce(fd uintptr, b []byte) (int, syscall.Errno) { return once(syscall.SYS_READ, fd, b) }

func writeOnce(fd uintptr, b []byte) (int, syscall.Errno) { return once(syscall.SYS_WRITE, fd, b) }

// once makes a system call that never blocks, without telling the scheduler: on a
// busy machine its monitor takes such a call for one that blocks, and takes the
// processor away and gives it back, which costs two switches of threads.
func once(call, fd uintptr, b []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}
