package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Files that a server leaves in its data folder for clients on the same machine.
const (
	serverFile = "server.json"
	keyFile    = "admin.key"
)

// announce writes the addresses and, on the first start, the first administrator's
// key. The registry holds only the key's hash, so the file and the terminal are
// the only places where it can be read.
func (s *server) announce(ctx context.Context, at addresses) error {
	key, created, err := s.stack.node.registry.BootstrapAdmin(ctx)
	if err != nil {
		return fmt.Errorf("create administrator key: %w", err)
	}
	if created {
		path := filepath.Join(s.store.Data, keyFile)
		if err := writePrivate(path, []byte(key+"\n")); err != nil {
			return fmt.Errorf("write administrator key: %w", err)
		}
		fmt.Fprintf(s.out, "Administrator key, shown once and kept in %s:\n  %s\n", path, key)
	}
	text, err := json.MarshalIndent(at, "", "  ")
	if err != nil {
		return err
	}
	if err := writePrivate(filepath.Join(s.store.Data, serverFile), append(text, '\n')); err != nil {
		return fmt.Errorf("write addresses: %w", err)
	}
	return nil
}

// writePrivate replaces a file that only its owner may read.
func writePrivate(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(text); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
