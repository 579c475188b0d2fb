package query

import (
	"errors"
	"log/slog"
	"time"
)

// WorkerOptions say how the statements of analysts are run: each in a process of
// its own for the organisation and what the role may see, so that whatever a
// statement does to its process, nobody else notices.
type WorkerOptions struct {
	// Command starts a worker: a program that calls RunWorker. Empty runs
	// statements in this process, which is for tests only.
	Command []string
	// UID and GID are taken on by workers when this process is root; 0 is 65534,
	// which systems call nobody.
	UID, GID int
	// Memory of a worker's instance in bytes; 0 is 512 MiB.
	Memory int64
	// Timeout ends a statement, its wait and its sending included; 0 is 60 s.
	Timeout time.Duration
	// MaxRows and MaxBytes bound a result, which is not held in memory; 0 are
	// 50,000,000 rows and 8 GiB.
	MaxRows  int
	MaxBytes int64
	// Running is how many statements run at once over all organisations, the
	// others wait; 0 is 4. One organisation gets at most half of them, which share the
	// threads that Options give an organisation: with more, statements of the same
	// moment only take the cores from each other. Half of these may have run for less
	// than 0.2 s: short statements follow each other, and pass those that are long.
	Running int
	// Processes bounds workers, idle ones included; 0 is 16.
	Processes int
	// Idle is how long a worker stays for the next statement; 0 is one minute.
	Idle time.Duration
	// MinPeople is the k of figures for those who may not see persons: none is about
	// fewer people, and all are rounded to multiples of it; 0 is 10.
	MinPeople int
	// Logger is told when a worker starts and how it ends; nil is silent.
	Logger *slog.Logger
}

const (
	nobody               = 65534
	defaultWorkerMemory  = 512 << 20
	defaultWorkerTimeout = time.Minute
	defaultWorkerRows    = 50_000_000
	defaultWorkerBytes   = 8 << 30
	defaultRunning       = 4
	defaultProcesses     = 16
	defaultIdle          = time.Minute
	defaultMinPeople     = 10
	// workerGrace is what a worker gets beyond the deadline to end its statement by
	// itself; DuckDB's interrupt takes 20 ms as a rule and 0.8 s at worst.
	workerGrace = time.Second
	// workerStart bounds how long a worker takes to be ready; 0.1 s as a rule.
	workerStart = 10 * time.Second
)

func (o *WorkerOptions) setDefaults() {
	setDefault(&o.UID, nobody)
	setDefault(&o.GID, nobody)
	setDefault(&o.Memory, defaultWorkerMemory)
	setDefault(&o.Timeout, defaultWorkerTimeout)
	setDefault(&o.MaxRows, defaultWorkerRows)
	setDefault(&o.MaxBytes, defaultWorkerBytes)
	setDefault(&o.Running, defaultRunning)
	setDefault(&o.Processes, defaultProcesses)
	setDefault(&o.Idle, defaultIdle)
	setDefault(&o.MinPeople, defaultMinPeople)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// perOrg is how many statements of an organisation run at once, so that it cannot keep
// the others waiting.
func (o *WorkerOptions) perOrg() int { return max(1, o.Running/2) }

func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

func (o *WorkerOptions) validate() error {
	if o.UID < 0 || o.GID < 0 || o.Memory < 0 || o.Timeout < 0 || o.MaxRows < 0 || o.MaxBytes < 0 || o.Running < 0 || o.Processes < 0 || o.Idle < 0 || o.MinPeople < 0 {
		return errors.New("query: negative limit of workers")
	}
	return nil
}
