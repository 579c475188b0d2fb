package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"mailwake/engine"
	"mailwake/engine/blob"
	"mailwake/engine/lake"
	"mailwake/engine/registry"
)

// node is the storage of one process: what serve, inspect and verify share.
//
//	folder lock ─▶ blob store ─▶ lake ─┐
//	               registry ───────────┴▶ engine
type node struct {
	flags    storeFlags
	store    *blob.Metered
	registry *registry.Registry
	lake     *lake.Lake
	closers  []func() error // in order of opening
}

// lockFolder makes sure that one process at a time uses a data folder; the kernel
// releases the lock when the process ends, however it ends.
func lockFolder(dir string) (io.Closer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create data folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("data folder %s is in use by another mailwake process; stop it or choose another with --data", dir)
		}
		return nil, fmt.Errorf("lock data folder: %w", err)
	}
	return f, nil
}

// openNode opens the registry and the lake of a data folder that is locked.
func openNode(ctx context.Context, flags storeFlags, logger *slog.Logger) (n *node, err error) {
	n = &node{flags: flags}
	opened := n // a return of an error sets n to nil
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.Close())
		}
	}()
	store, err := blob.Open(ctx, flags.Storage, os.Getenv)
	if err != nil {
		return nil, fmt.Errorf("open storage: %w", err)
	}
	n.store = blob.Meter(blob.Retry(blob.Limit(store, 32), blob.RetryPolicy{}))
	n.registry, err = registry.Open(ctx, registry.Options{DSN: flags.Registry})
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	n.closers = append(n.closers, n.registry.Close)
	n.lake, err = lake.Open(ctx, lake.Options{
		Store: n.store, CatalogPath: flags.Catalog, CacheDir: filepath.Join(flags.Data, "cache"),
		CacheBytes: flags.CacheMB << 20, Logger: logger,
	})
	if err != nil {
		return nil, fmt.Errorf("open lake: %w", err)
	}
	n.closers = append(n.closers, n.lake.Close)
	return n, nil
}

// engineOptions are the engine's options for this node.
func (n *node) engineOptions(logger *slog.Logger) engine.Options {
	f := n.flags
	return engine.Options{
		Dir: f.Data, Node: f.Node, Registry: n.registry, Lake: n.lake, Logger: logger,
		LogLimit: f.LogLimitMB << 20, FlushRows: f.FlushRows, FlushBytes: f.FlushMB << 20, FlushAge: f.FlushAge,
	}
}

// Close closes what is open, newest first.
func (n *node) Close() error {
	var errs []error
	for i := len(n.closers) - 1; i >= 0; i-- {
		errs = append(errs, n.closers[i]())
	}
	n.closers = nil
	return errors.Join(errs...)
}
