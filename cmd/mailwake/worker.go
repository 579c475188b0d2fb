package main

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"mailwake/query"
	"mailwake/retention"
)

// sqlFlags bound the statements of analysts.
type sqlFlags struct {
	SQLTimeout   time.Duration `name:"sql-timeout" help:"Longest time of a statement." default:"60s"`
	SQLMemoryMB  int64         `name:"sql-memory-mb" help:"Memory of a statement's process, in MiB." default:"512"`
	SQLRows      int           `name:"sql-rows" help:"Most rows of a result." default:"50000000"`
	SQLMB        int64         `name:"sql-mb" help:"Largest result, in MiB." default:"8192"`
	SQLRunning   int           `name:"sql-running" help:"Statements that run at once; one organisation gets half of them, short ones (0.2 s) half of that." default:"4"`
	SQLProcesses int           `name:"sql-processes" help:"Most processes for statements, idle ones included." default:"16"`
	SQLIdle      time.Duration `name:"sql-idle" help:"How long an idle process is kept." default:"1m"`
	SQLUser      int           `name:"sql-uid" help:"User and group id that statements run as when the server is root." default:"65534"`
	SQLMinPeople int           `name:"sql-min-people" help:"Aggregate analysts see no figure of fewer people, and all rounded to multiples." default:"10"`
}

// options are the worker's options: this very program, started as a worker.
func (f *sqlFlags) options(logger *slog.Logger) (query.WorkerOptions, error) {
	self, err := os.Executable()
	if err != nil {
		return query.WorkerOptions{}, fmt.Errorf("find this program: %w", err)
	}
	return query.WorkerOptions{
		Command: []string{self, "worker"}, UID: f.SQLUser, GID: f.SQLUser, Memory: f.SQLMemoryMB << 20, Timeout: f.SQLTimeout,
		MaxRows: f.SQLRows, MaxBytes: f.SQLMB << 20, Running: f.SQLRunning, Processes: f.SQLProcesses, Idle: f.SQLIdle,
		MinPeople: f.SQLMinPeople, Logger: logger,
	}, nil
}

// workerOf returns what a process does that the server has started, for analysts'
// SQL or for a rewrite of files; nil for others. These are no commands of people's,
// and read no flags, configuration or environment.
func workerOf(args []string) func() int {
	if len(args) != 2 {
		return nil
	}
	switch args[1] {
	case "worker":
		return query.RunWorker
	case "rewrite-worker":
		return retention.RunWorker
	}
	return nil
}
