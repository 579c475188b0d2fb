package blob

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// MemStore keeps objects in this process and loses them with it: for tests.
type MemStore struct {
	name string
	mu   struct {
		sync.RWMutex
		objects map[string]memObject
	}
}

// memObject is never changed after it was put, so readers share its bytes.
type memObject struct {
	data     []byte
	modified time.Time
}

// Mem returns an empty store; name appears in its URLs.
func Mem(name string) *MemStore {
	m := &MemStore{name: name}
	m.mu.objects = map[string]memObject{}
	return m
}

// Put implements Store.
func (m *MemStore) Put(ctx context.Context, key string, r io.ReadSeeker, ifAbsent bool) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	size, err := rewind(r)
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	var buf bytes.Buffer
	buf.Grow(int(size))
	if err := copyBody(ctx, &buf, r, size); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, there := m.mu.objects[key]; there && ifAbsent {
		return fmt.Errorf("put %s: %w", key, ErrExists)
	}
	m.mu.objects[key] = memObject{data: buf.Bytes(), modified: time.Now()}
	return nil
}

// Get implements Store.
func (m *MemStore) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	o, err := m.object(ctx, key)
	if err == nil {
		err = checkRange(off)
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	size := int64(len(o.data))
	from := min(off, size)
	if n < 0 || n > size-from {
		n = size - from
	}
	return io.NopCloser(&ctxReader{ctx, bytes.NewReader(o.data[from : from+n])}), nil
}

// Stat implements Store.
func (m *MemStore) Stat(ctx context.Context, key string) (Info, error) {
	o, err := m.object(ctx, key)
	if err != nil {
		return Info{}, fmt.Errorf("stat %s: %w", key, err)
	}
	return Info{Key: key, Size: int64(len(o.data)), Modified: o.modified}, nil
}

func (m *MemStore) object(ctx context.Context, key string) (memObject, error) {
	if err := CheckKey(key); err != nil {
		return memObject{}, err
	}
	if err := ctx.Err(); err != nil {
		return memObject{}, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	o, there := m.mu.objects[key]
	if !there {
		return memObject{}, ErrNotFound
	}
	return o, nil
}

// List implements Store; it shows the objects of the moment it began.
func (m *MemStore) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		m.mu.RLock()
		objects := maps.Clone(m.mu.objects)
		m.mu.RUnlock()
		for _, key := range slices.Sorted(maps.Keys(objects)) {
			if !strings.HasPrefix(key, prefix) {
				continue
			}
			if err := ctx.Err(); err != nil {
				yield(Info{}, fmt.Errorf("list %q: %w", prefix, err))
				return
			}
			o := objects[key]
			if !yield(Info{Key: key, Size: int64(len(o.data)), Modified: o.modified}, nil) {
				return
			}
		}
	}
}

// Delete implements Store.
func (m *MemStore) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := CheckKey(key); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("delete %d keys: %w", len(keys), err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range keys {
		delete(m.mu.objects, key)
	}
	return nil
}

// URL implements Store.
func (m *MemStore) URL(key string) string { return "mem://" + m.name + "/" + key }
