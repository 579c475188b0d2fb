// Package blobtest tests and disturbs blob stores: AcceptanceTest is the one
// suite that every blob.Store must pass, Faulty fails on script, Proxy cuts the
// network, and Azurite runs a real Azure Blob server.
//
// Invariant: nothing here sleeps for a fixed time, and nothing it starts
// outlives the test process.
package blobtest

import (
	"bytes"
	"context"
	"io"
	"testing"

	"mailwake/engine/blob"
)

// Put stores data under key or ends the test.
func Put(t testing.TB, s blob.Store, key string, data []byte) {
	t.Helper()
	if err := s.Put(context.Background(), key, bytes.NewReader(data), false); err != nil {
		t.Fatal(err)
	}
}

// Get returns the content of key or ends the test.
func Get(t testing.TB, s blob.Store, key string) []byte {
	t.Helper()
	data, err := read(context.Background(), s, key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Keys returns the keys that begin with prefix, in the order of List, or ends
// the test.
func Keys(t testing.TB, s blob.Store, prefix string) []string {
	t.Helper()
	keys := []string{}
	for info, err := range s.List(context.Background(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	return keys
}

func read(ctx context.Context, s blob.Store, key string, off, n int64) ([]byte, error) {
	body, err := s.Get(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(body)
	if errClose := body.Close(); err == nil {
		err = errClose
	}
	return data, err
}
