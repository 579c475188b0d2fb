package wal

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"mailwake/engine/wal/waltest"
)

// TestSimulate runs random histories of appends, truncations, restarts, full
// disks and losses of power against a list of what was acknowledged. How many is
// MAILWAKE_SEEDS, 300 by default.
func TestSimulate(t *testing.T) {
	seeds := uint64(300)
	if env := os.Getenv("MAILWAKE_SEEDS"); env != "" {
		n, err := strconv.ParseUint(env, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		seeds = n
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			newSim(t, seed).run(30)
		})
	}
}

// sim is one history. An Append call is named by its number; each of its records
// says which call it belongs to, which of its records it is and how many there are.
type sim struct {
	t    *testing.T
	rng  *rand.Rand
	disk *waltest.Disk
	opt  Options
	log  *Log

	truncated LSN
	mu        struct {
		sync.Mutex
		calls   int
		acked   map[int]LSN    // call -> group
		failed  map[int]bool   // call -> may be there
		never   map[int]bool   // call -> must not be there
		durable map[LSN]string // what OnDurable was given
		floor   LSN            // highest group acknowledged before the last Open
	}
}

func newSim(t *testing.T, seed uint64) *sim {
	s := &sim{t: t, rng: rand.New(rand.NewPCG(seed, 1)), disk: waltest.NewDisk()}
	s.mu.acked, s.mu.failed, s.mu.never = map[int]LSN{}, map[int]bool{}, map[int]bool{}
	s.mu.durable = map[LSN]string{}
	s.opt = Options{Dir: dir, SegmentBytes: 1024 << s.rng.IntN(5), OnDurable: s.onDurable}
	return s
}

func (s *sim) onDurable(lsn LSN, frames []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, twice := s.mu.durable[lsn]; twice {
		s.t.Errorf("OnDurable got group %d twice", lsn)
	}
	s.mu.durable[lsn] = string(frames)
}

func (s *sim) run(steps int) {
	s.open()
	for range steps {
		switch s.rng.IntN(11) {
		case 10:
			s.shred()
		case 0:
			s.truncate()
		case 1:
			_ = s.log.Close() // clean, or not if the log has stopped
			s.open()
		case 2, 3:
			s.crash()
		case 4:
			s.fullDisk()
		default:
			s.appends()
		}
		if s.t.Failed() {
			s.t.Fatalf("disk:\n%v", s.disk)
		}
	}
	if err := s.log.Close(); err != nil {
		s.t.Fatal(err)
	}
}

// appends runs a few calls at once.
func (s *sim) appends() {
	var wg sync.WaitGroup
	for range 1 + s.rng.IntN(6) {
		n, size := 1+s.rng.IntN(4), s.rng.IntN(400)
		if s.rng.IntN(10) == 0 {
			size = 3000 // spans many sectors
		}
		wg.Go(func() { s.append(n, size) })
	}
	wg.Wait()
}

func (s *sim) append(n, size int) {
	s.mu.Lock()
	call := s.mu.calls
	s.mu.calls++
	s.mu.Unlock()
	var records []string
	for i := range n {
		records = append(records, fmt.Sprintf("%d %d %d %s", call, i, n, strings.Repeat("x", size)))
	}
	lsn, err := s.log.Append(context.Background(), framed(records...), n)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.mu.acked[call] = lsn
		if lsn <= s.mu.floor {
			s.t.Errorf("call %d: group %d was given out before the log was opened", call, lsn)
		}
		if !strings.Contains(s.mu.durable[lsn], string(framed(records...))) {
			s.t.Errorf("call %d: OnDurable has not seen it in group %d", call, lsn)
		}
	case errors.Is(err, syscall.ENOSPC):
		s.mu.never[call] = true
	default:
		s.mu.failed[call] = true
	}
}

func (s *sim) truncate() {
	last := s.log.Last()
	if last == 0 {
		return
	}
	upTo := s.log.First() + LSN(s.rng.IntN(int(last-s.log.First())+2))
	if err := s.log.Truncate(upTo); err == nil || !errors.Is(err, syscall.ENOSPC) {
		s.truncated = max(s.truncated, upTo)
	}
}

// shred removes everything, while others append.
func (s *sim) shred() {
	var wg sync.WaitGroup
	for range s.rng.IntN(3) {
		wg.Go(func() { s.append(1, 20) })
	}
	_ = s.log.Shred(func() error { // what fails is tried again some other time
		upTo := s.log.Last()
		err := s.log.Truncate(upTo)
		if err == nil || !errors.Is(err, syscall.ENOSPC) {
			s.truncated = max(s.truncated, upTo)
		}
		return err
	})
	wg.Wait()
}

// crash lets the power go off in the middle of some calls.
func (s *sim) crash() {
	s.disk.PowerOff(s.rng.IntN(12))
	s.appends()
	switch s.rng.IntN(4) {
	case 0:
		s.shred()
	case 1, 2:
		s.truncate()
	}
	s.appends()
	s.disk.PowerOff(0)
	_ = s.log.Close()
	for s.rng.IntN(3) == 0 { // again, while the log recovers
		s.disk = s.disk.Crash(s.rng)
		s.disk.PowerOff(1 + s.rng.IntN(8))
		s.opt.VFS = s.disk
		if l, err := Open(s.opt); err == nil {
			_ = l.Close()
		} else if !errors.Is(err, waltest.ErrPowerOff) {
			s.t.Fatalf("open: %v\n%v", err, s.disk)
		}
		s.disk.PowerOff(0)
	}
	s.disk = s.disk.Crash(s.rng)
	s.open()
}

func (s *sim) fullDisk() {
	s.disk.SetCapacity(s.disk.Used() + int64(s.rng.IntN(500)))
	s.appends()
	s.appends()
	switch s.rng.IntN(4) {
	case 0:
		s.shred()
		s.appends()
	case 1, 2:
		s.truncate()
		s.appends()
	}
	if err := s.log.Err(); err != nil {
		s.t.Fatalf("a full disk stopped the log: %v", err)
	}
	s.disk.SetCapacity(0)
	s.appends()
	s.check()
}

func (s *sim) open() {
	s.opt.VFS = s.disk
	l, err := Open(s.opt)
	if err != nil {
		s.t.Fatalf("open: %v\n%v", err, s.disk)
	}
	s.log = l
	s.check()
	// Groups whose calls failed may have been recovered; from now on they count.
	s.mu.Lock()
	defer s.mu.Unlock()
	for rec := range l.Read(0) {
		s.mu.durable[rec.LSN] = string(rec.Frames)
	}
	for _, lsn := range s.mu.acked {
		s.mu.floor = max(s.mu.floor, lsn)
	}
	for lsn := range s.mu.durable {
		if lsn > l.Last() {
			delete(s.mu.durable, lsn)
		}
	}
}

// check compares the log with what was acknowledged: each call is there once and
// whole, in the group it was told; a call that failed is there whole or not at all.
func (s *sim) check() {
	s.mu.Lock()
	defer s.mu.Unlock()
	got, err := contents(s.log)
	if err != nil {
		s.t.Fatalf("read: %v", err)
	}
	seen := map[int]LSN{}
	for lsn, records := range got {
		for i := 0; i < len(records); {
			var call, ordinal, n int
			if _, err := fmt.Sscan(records[i], &call, &ordinal, &n); err != nil || ordinal != 0 {
				s.t.Fatalf("group %d: record %q is not the first of a call", lsn, records[i])
			}
			for j := range n {
				if want := fmt.Sprintf("%d %d %d ", call, j, n); i+j >= len(records) || !strings.HasPrefix(records[i+j], want) {
					s.t.Fatalf("group %d has part of call %d", lsn, call)
				}
			}
			if at, twice := seen[call]; twice {
				s.t.Fatalf("call %d is in groups %d and %d", call, at, lsn)
			}
			seen[call] = lsn
			i += n
		}
	}
	for call, lsn := range s.mu.acked {
		if lsn > s.truncated && seen[call] != lsn {
			s.t.Fatalf("call %d was acknowledged in group %d, is in %d (log %d to %d)", call, lsn, seen[call], s.log.First(), s.log.Last())
		}
	}
	for call, lsn := range seen {
		if _, acked := s.mu.acked[call]; s.mu.never[call] || !acked && !s.mu.failed[call] {
			s.t.Fatalf("call %d is in group %d although it failed", call, lsn)
		}
		s.mu.acked[call] = lsn
	}
}
