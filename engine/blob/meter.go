package blob

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync/atomic"
	"time"
)

// Metered is a Store that counts what passes through it.
type Metered struct {
	Store
	put, get, stat, list, delete counter
}

// Stats are totals since the store was wrapped.
type Stats struct{ Put, Get, Stat, List, Delete OpStats }

// OpStats are the totals of one operation. ErrNotFound and ErrExists are
// answers, not errors. Bytes are those of bodies put and of bodies read. Busy
// is the time spent inside the store: for Get it includes the reading of the
// body, for List it leaves out what the caller does with the objects.
type OpStats struct {
	Calls, Errors, Bytes int64
	Busy                 time.Duration
}

// Meter returns s with counters.
func Meter(s Store) *Metered { return &Metered{Store: s} }

// Unwrap returns the store below.
func (m *Metered) Unwrap() Store { return m.Store }

// Stats returns the totals so far. Each number is exact; numbers of operations
// under way may not belong together.
func (m *Metered) Stats() Stats {
	return Stats{Put: m.put.load(), Get: m.get.load(), Stat: m.stat.load(), List: m.list.load(), Delete: m.delete.load()}
}

type counter struct{ calls, errors, bytes, nanos atomic.Int64 }

func (c *counter) load() OpStats {
	return OpStats{c.calls.Load(), c.errors.Load(), c.bytes.Load(), time.Duration(c.nanos.Load())}
}

// spent adds the time since start and counts err if it is one.
func (c *counter) spent(start time.Time, err error) {
	c.nanos.Add(int64(time.Since(start)))
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrExists) {
		c.errors.Add(1)
	}
}

// Put implements Store.
func (m *Metered) Put(ctx context.Context, key string, r io.ReadSeeker, ifAbsent bool) error {
	m.put.calls.Add(1)
	start := time.Now()
	err := m.Store.Put(ctx, key, r, ifAbsent)
	m.put.spent(start, err)
	if err == nil {
		if size, err := rewind(r); err == nil {
			m.put.bytes.Add(size)
		}
	}
	return err
}

// Get implements Store.
func (m *Metered) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	m.get.calls.Add(1)
	start := time.Now()
	body, err := m.Store.Get(ctx, key, off, n)
	m.get.spent(start, err)
	if err != nil {
		return nil, err
	}
	return &meteredBody{body, &m.get}, nil
}

type meteredBody struct {
	io.ReadCloser
	c *counter
}

func (b *meteredBody) Read(p []byte) (int, error) {
	start := time.Now()
	n, err := b.ReadCloser.Read(p)
	b.c.bytes.Add(int64(n))
	if errors.Is(err, io.EOF) {
		b.c.spent(start, nil)
	} else {
		b.c.spent(start, err)
	}
	return n, err
}

// Stat implements Store.
func (m *Metered) Stat(ctx context.Context, key string) (Info, error) {
	m.stat.calls.Add(1)
	start := time.Now()
	info, err := m.Store.Stat(ctx, key)
	m.stat.spent(start, err)
	return info, err
}

// List implements Store.
func (m *Metered) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		m.list.calls.Add(1)
		start := time.Now()
		for info, err := range m.Store.List(ctx, prefix) {
			m.list.spent(start, err)
			if !yield(info, err) {
				return
			}
			start = time.Now()
		}
		m.list.spent(start, nil)
	}
}

// Delete implements Store.
func (m *Metered) Delete(ctx context.Context, keys ...string) error {
	m.delete.calls.Add(1)
	start := time.Now()
	err := m.Store.Delete(ctx, keys...)
	m.delete.spent(start, err)
	return err
}
