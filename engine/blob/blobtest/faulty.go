package blobtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"mailwake/engine/blob"
)

// Op names an operation of a blob.Store.
type Op string

// The operations. OpRead is the first read of a body from Get.
const (
	OpPut    Op = "put"
	OpGet    Op = "get"
	OpRead   Op = "read"
	OpStat   Op = "stat"
	OpList   Op = "list"
	OpDelete Op = "delete"
)

// When says where an operation fails.
type When int

// Before the effect nothing has happened; after it everything has, and only the
// answer is lost. An operation that only looks fails the same way for both,
// except OpList, which then yields all objects first.
const (
	Never When = iota
	Before
	After
)

// Fault is what happens to one call. Err nil means ErrInjected, transient.
type Fault struct {
	When When
	Err  error
}

// ErrInjected is wrapped by the errors that come from a Faulty store.
var ErrInjected = errors.New("injected fault")

// Faulty is a store that fails on script. It may be used and scripted
// concurrently; without a script it never fails.
type Faulty struct {
	blob.Store
	mu struct {
		sync.Mutex
		calls  map[Op]int
		nth    map[Op]map[int]Fault
		script func(Op, string) Fault
	}
}

// NewFaulty wraps s.
func NewFaulty(s blob.Store) *Faulty {
	f := &Faulty{Store: s}
	f.mu.calls, f.mu.nth = map[Op]int{}, map[Op]map[int]Fault{}
	return f
}

// FailNth makes the n-th call of op from now, counted from 1, meet fault.
func (f *Faulty) FailNth(op Op, n int, fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.nth[op] == nil {
		f.mu.nth[op] = map[int]Fault{}
	}
	f.mu.nth[op][f.mu.calls[op]+n] = fault
}

// Script makes every call ask script, which must be safe for concurrent use; it
// is not asked for calls that FailNth has settled. The key is the prefix for
// OpList and the first key for OpDelete. Nil ends it.
func (f *Faulty) Script(script func(op Op, key string) Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.script = script
}

// Calls returns how often op has been called, failed calls included.
func (f *Faulty) Calls(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.calls[op]
}

// Unwrap returns the store below.
func (f *Faulty) Unwrap() blob.Store { return f.Store }

// next counts a call and returns the errors before and after its effect.
func (f *Faulty) next(op Op, key string) (before, after error) {
	f.mu.Lock()
	f.mu.calls[op]++
	fault, settled := f.mu.nth[op][f.mu.calls[op]]
	script := f.mu.script
	f.mu.Unlock()
	if !settled && script != nil {
		fault = script(op, key)
	}
	err := fault.Err
	if err == nil {
		err = blob.Transient(fmt.Errorf("%s %s: %w", op, key, ErrInjected))
	}
	switch fault.When {
	case Before:
		return err, nil
	case After:
		return nil, err
	default:
		return nil, nil
	}
}

// do runs effect between the faults.
func (f *Faulty) do(op Op, key string, effect func() error) error {
	before, after := f.next(op, key)
	if before != nil {
		return before
	}
	if err := effect(); err != nil {
		return err
	}
	return after
}

// Put implements blob.Store.
func (f *Faulty) Put(ctx context.Context, key string, r io.ReadSeeker, ifAbsent bool) error {
	return f.do(OpPut, key, func() error { return f.Store.Put(ctx, key, r, ifAbsent) })
}

// Get implements blob.Store.
func (f *Faulty) Get(ctx context.Context, key string, off, n int64) (body io.ReadCloser, err error) {
	before, after := f.next(OpGet, key)
	if err := errors.Join(before, after); err != nil {
		return nil, err
	}
	if body, err = f.Store.Get(ctx, key, off, n); err != nil {
		return nil, err
	}
	return &faultyBody{ReadCloser: body, f: f, key: key}, nil
}

type faultyBody struct {
	io.ReadCloser
	f    *Faulty
	key  string
	read bool
}

func (b *faultyBody) Read(p []byte) (int, error) {
	if !b.read {
		b.read = true
		before, after := b.f.next(OpRead, b.key)
		if err := errors.Join(before, after); err != nil {
			return 0, err
		}
	}
	return b.ReadCloser.Read(p)
}

// Stat implements blob.Store.
func (f *Faulty) Stat(ctx context.Context, key string) (info blob.Info, err error) {
	err = f.do(OpStat, key, func() error {
		info, err = f.Store.Stat(ctx, key)
		return err
	})
	return info, err
}

// List implements blob.Store.
func (f *Faulty) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		before, after := f.next(OpList, prefix)
		if before != nil {
			yield(blob.Info{}, before)
			return
		}
		for info, err := range f.Store.List(ctx, prefix) {
			if !yield(info, err) || err != nil {
				return
			}
		}
		if after != nil {
			yield(blob.Info{}, after)
		}
	}
}

// Delete implements blob.Store.
func (f *Faulty) Delete(ctx context.Context, keys ...string) error {
	first := ""
	if len(keys) > 0 {
		first = keys[0]
	}
	return f.do(OpDelete, first, func() error { return f.Store.Delete(ctx, keys...) })
}
