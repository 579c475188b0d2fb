// A worker may open no file by itself: its parent opens them and passes them, open,
// through a socket. DuckDB can only open by path. So this open, which takes the
// place of the C library's for DuckDB in the same program, hands out a copy of
// descriptor n for the name "pin-n.parquet", and is the system's open for any
// other. Positions are not shared: DuckDB reads with pread.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PINS 65536
static _Atomic int pins[PINS]; // descriptor + 1; 0 is none

void mailwake_pin(int number, int fd) { atomic_store(&pins[number], fd + 1); }

int mailwake_unpin(int number) { return atomic_exchange(&pins[number], 0) - 1; }

extern int mailwake_empty;

static int pinned(const char *path) {
	// DuckDB looks there for the memory it may use, which it was told, and does not
	// bear that a file is there and cannot be opened.
	if (mailwake_empty >= 0 && strcmp(path, "/proc/self/cgroup") == 0) {
		return mailwake_empty;
	}
	const char *name = strrchr(path, '/');
	name = name ? name + 1 : path;
	if (strncmp(name, "pin-", 4) != 0) {
		return -1;
	}
	char *end;
	long number = strtol(name + 4, &end, 10);
	if (end == name + 4 || strcmp(end, ".parquet") != 0 || number < 0 || number >= PINS) {
		return -1;
	}
	return atomic_load(&pins[number]) - 1;
}

int open(const char *path, int flags, ...) {
	mode_t mode = 0;
	if (flags & (O_CREAT | O_TMPFILE)) {
		va_list args;
		va_start(args, flags);
		mode = va_arg(args, mode_t);
		va_end(args);
	}
	int fd = pinned(path);
	if (fd >= 0) {
		if ((flags & O_ACCMODE) != O_RDONLY) {
			errno = EROFS;
			return -1;
		}
		return fcntl(fd, F_DUPFD_CLOEXEC, 3);
	}
	return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) __attribute__((alias("open")));
