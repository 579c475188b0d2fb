package wal

import (
	"sync/atomic"
	"time"
)

// SyncBounds are the upper bounds of the classes of SyncTimes.
var SyncBounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second,
}

// SyncTimes says how long the disk took to make groups durable: what an Append cannot
// be faster than.
type SyncTimes struct {
	Counts [len(SyncBounds) + 1]uint64 // by the first of SyncBounds that is not less; the last: above all
	Sum    time.Duration
}

// syncTimes collects SyncTimes.
type syncTimes struct {
	counts [len(SyncBounds) + 1]atomic.Uint64
	sum    atomic.Int64
}

func (s *syncTimes) add(d time.Duration) {
	class := 0
	for class < len(SyncBounds) && d > SyncBounds[class] {
		class++
	}
	s.counts[class].Add(1)
	s.sum.Add(int64(d))
}

// of adds how long sync took.
func (s *syncTimes) of(sync func() error) error {
	begin := time.Now()
	err := sync()
	s.add(time.Since(begin))
	return err
}

func (s *syncTimes) read() (t SyncTimes) {
	for i := range s.counts {
		t.Counts[i] = s.counts[i].Load()
	}
	t.Sum = time.Duration(s.sum.Load())
	return t
}

// SyncTimes returns those since Open; with Options.VFS there are none.
func (l *Log) SyncTimes() SyncTimes {
	if own, ok := l.opt.VFS.(*osFiles); ok {
		return own.syncer.times.read()
	}
	return SyncTimes{}
}
