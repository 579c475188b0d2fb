//go:build linux && cgo

package wal

/*
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

struct ends { int ask, answer; };

static uint64_t micros(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

// serve makes the files durable whose numbers come in, and answers each with an
// errno, and above its 32 bits how many microseconds that took: by the disk, since
// whoever asked may get a processor back later. Eventfds add numbers up and take no
// zero, so both are sent plus one; a question of one more than the largest file number
// ends the thread.
static void *serve(void *arg) {
	struct ends e = *(struct ends *)arg;
	uint64_t word, begin, last = 0;
	free(arg);
	prctl(PR_SET_NAME, "fdatasync");
	while (!last) {
		if (read(e.ask, &word, sizeof word) != sizeof word)
			continue;
		last = word > INT32_MAX;
		begin = micros();
		word = (last || fdatasync((int)(word - 1)) == 0) ? 1 : (uint64_t)errno + 1;
		word |= (micros() - begin) << 32;
		while (write(e.answer, &word, sizeof word) != sizeof word) {}
	}
	return NULL;
}

// start runs serve on a thread that no signal is delivered to.
static int start(int ask, int answer) {
	struct ends *e = malloc(sizeof *e);
	pthread_t thread;
	pthread_attr_t attr;
	sigset_t all, before;
	int err;
	if (e == NULL)
		return ENOMEM;
	e->ask = ask;
	e->answer = answer;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 64 << 10);
	err = pthread_create(&thread, &attr, serve, e);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err != 0)
		free(e);
	return err;
}
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// syncer makes files durable on a thread of its own, outside of Go's scheduler.
// A system call that blocks keeps a processor of the scheduler until a monitor
// takes it away, and the goroutine then has to get one back: under load that cost
// as much as the fsync itself. Here the caller is parked like one that waits for
// a connection. The thread starts with the first call.
type syncer struct {
	mu     sync.Mutex // one question at a time
	failed bool       // the thread cannot be had: goroutines block instead
	ask    int        // eventfd that the thread reads
	answer *os.File   // eventfd that it writes, nil before the start
	times  syncTimes
}

// lastWord ends the thread.
const lastWord = math.MaxInt32 + 1

func (s *syncer) sync(f *os.File) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answer == nil && !s.failed {
		s.failed = s.start() != nil
	}
	if s.failed {
		return s.times.of(f.Sync)
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	var took time.Duration
	if err := raw.Control(func(fd uintptr) { took, failed = s.call(uint64(fd) + 1) }); err != nil {
		return err
	}
	s.times.add(took)
	if failed != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: failed}
	}
	return nil
}

func (s *syncer) start() error {
	ask, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return err
	}
	answer, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return errors.Join(err, unix.Close(ask))
	}
	if errno := C.start(C.int(ask), C.int(answer)); errno != 0 {
		return errors.Join(syscall.Errno(errno), unix.Close(ask), unix.Close(answer))
	}
	s.ask, s.answer = ask, os.NewFile(uintptr(answer), "fdatasync")
	return nil
}

// call asks the thread and waits for its answer.
func (s *syncer) call(question uint64) (took time.Duration, err error) {
	var word [8]byte
	binary.NativeEndian.PutUint64(word[:], question)
	if _, err := unix.Write(s.ask, word[:]); err != nil {
		return 0, fmt.Errorf("ask: %w", err)
	}
	if _, err := s.answer.Read(word[:]); err != nil {
		return 0, fmt.Errorf("wait: %w", err)
	}
	answer := binary.NativeEndian.Uint64(word[:])
	took = time.Duration(answer>>32) * time.Microsecond
	if errno := syscall.Errno(uint32(answer) - 1); errno != 0 {
		return took, errno
	}
	return took, nil
}

// close ends the thread. No call may follow.
func (s *syncer) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answer == nil {
		return nil
	}
	_, err := s.call(lastWord) // after the answer it touches neither end
	err = errors.Join(err, unix.Close(s.ask), s.answer.Close())
	s.answer, s.failed = nil, true
	return err
}
