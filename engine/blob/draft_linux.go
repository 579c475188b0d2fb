package blob

import (
	"os"

	"golang.org/x/sys/unix"
)

// writeOut begins to write the bytes [from, to) to disk and waits for those before
// them. It makes nothing durable; where the file system cannot do it, Sync is what
// writes them.
func writeOut(f *os.File, from, to int64) {
	fd := int(f.Fd()) //nolint:gosec // small
	_ = unix.SyncFileRange(fd, from, to-from, unix.SYNC_FILE_RANGE_WRITE)
	if before := max(0, from-draftStep); before < from {
		_ = unix.SyncFileRange(fd, before, from-before, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
	}
}
