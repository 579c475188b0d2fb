package engine

import (
	"sync/atomic"
	"time"

	"mailwake/engine/wal"
)

type counters struct {
	appended, flushed, flushes, flushFailures atomic.Int64
	steps                                     [numSteps]atomic.Int64 // nanoseconds
}

// Steps of a flush.
const (
	stepGather = iota // rows into columns
	stepSort          // and build batches
	stepWrite         // Parquet blobs
	stepCommit
	stepRest // between pieces of the others, for requests that come meanwhile
	numSteps
)

// FlushSteps are the names of the steps of a flush, in order.
var FlushSteps = [numSteps]string{"gather", "sort", "write", "commit", "rest"}

// Stats is a reading of the Engine's counters and gauges.
type Stats struct {
	Appended      int64                   // events made durable since Open
	Flushed       int64                   // events committed to tables since Open
	Flushes       int64                   // commits since Open
	FlushFailures int64                   // flushes that failed and will be retried
	FlushTime     [numSteps]time.Duration // in each of FlushSteps
	LogBytes      int64                   // log not yet trimmed
	LogSyncs      wal.SyncTimes
	TailRows      int64         // events not yet in a table
	TailAge       time.Duration // age of the oldest of them
}

// Stats returns the present reading.
func (e *Engine) Stats() Stats {
	s := Stats{
		Appended: e.counts.appended.Load(), Flushed: e.counts.flushed.Load(),
		Flushes: e.counts.flushes.Load(), FlushFailures: e.counts.flushFailures.Load(),
		LogBytes: e.log.Size(), LogSyncs: e.log.SyncTimes(),
	}
	for i := range s.FlushTime {
		s.FlushTime[i] = time.Duration(e.counts.steps[i].Load())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range *e.tails.Load() {
		s.TailRows += int64(t.rows)
		s.TailAge = max(s.TailAge, t.age())
	}
	return s
}
