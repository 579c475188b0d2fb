//go:build !linux || !cgo

package wal

import "os"

// syncer makes files durable. The caller's thread blocks.
type syncer struct{}

func (*syncer) sync(f *os.File) error { return f.Sync() }

func (*syncer) close() error { return nil }
