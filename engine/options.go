package engine

import (
	"errors"
	"log/slog"
	"time"

	"mailwake/engine/lake"
	"mailwake/engine/registry"
	"mailwake/engine/wal"
)

// Options configure an Engine. Dir, Registry and Lake are required.
type Options struct {
	Dir      string // data folder; the log lives in Dir/wal
	Node     uint8  // this node's number among those that share a table
	Registry *registry.Registry
	Lake     *lake.Lake
	Logger   *slog.Logger

	LogLimit   int64         // bytes of unflushed log at which Append refuses; default 4 GiB
	FlushRows  int           // rows of one organisation that start a flush; default 262,144
	FlushBytes int64         // bytes of one organisation's tail that start a flush; default 64 MiB
	FlushAge   time.Duration // age of the oldest unflushed row that starts a flush; default 1 minute

	// Log carries test hooks of the log (file system, metadata); its folder,
	// limit and callbacks are set by the engine.
	Log wal.Options
}

func (o *Options) setDefaults() error {
	if o.Dir == "" || o.Registry == nil || o.Lake == nil {
		return errors.New("engine: Dir, Registry and Lake are required")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	defaultTo(&o.LogLimit, 4<<30)
	defaultTo(&o.FlushRows, 1<<18)
	defaultTo(&o.FlushBytes, 64<<20)
	defaultTo(&o.FlushAge, time.Minute)
	return nil
}

func defaultTo[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
