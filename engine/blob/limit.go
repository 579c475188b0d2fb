package blob

import (
	"context"
	"fmt"
	"io"
	"iter"
)

// Limit returns s with at most n operations at work at once; n must be
// positive. The others wait for their turn or the end of their ctx.
//
// A body is at work while its Read runs, and a List while it looks for the next
// object: a caller who holds many bodies, or deletes what it lists, cannot
// block itself.
func Limit(s Store, n int) Store {
	return &limitStore{s, make(chan struct{}, n)}
}

type limitStore struct {
	Store
	slots chan struct{}
}

// Unwrap returns the store below.
func (l *limitStore) Unwrap() Store { return l.Store }

func (l *limitStore) acquire(ctx context.Context) error {
	select {
	case l.slots <- struct{}{}:
		return nil
	default:
	}
	select {
	case l.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the blob store: %w", ctx.Err())
	}
}

func (l *limitStore) release() { <-l.slots }

// do runs f in a slot.
func (l *limitStore) do(ctx context.Context, f func() error) error {
	if err := l.acquire(ctx); err != nil {
		return err
	}
	defer l.release()
	return f()
}

func (l *limitStore) Put(ctx context.Context, key string, r io.ReadSeeker, ifAbsent bool) error {
	return l.do(ctx, func() error { return l.Store.Put(ctx, key, r, ifAbsent) })
}

func (l *limitStore) Get(ctx context.Context, key string, off, n int64) (body io.ReadCloser, err error) {
	err = l.do(ctx, func() error {
		body, err = l.Store.Get(ctx, key, off, n)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &limitBody{body, ctx, l}, nil
}

type limitBody struct {
	io.ReadCloser
	ctx   context.Context
	store *limitStore
}

func (b *limitBody) Read(p []byte) (n int, err error) {
	err = b.store.do(b.ctx, func() error {
		n, err = b.ReadCloser.Read(p)
		return err
	})
	return n, err
}

func (l *limitStore) Stat(ctx context.Context, key string) (info Info, err error) {
	err = l.do(ctx, func() error {
		info, err = l.Store.Stat(ctx, key)
		return err
	})
	return info, err
}

func (l *limitStore) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		if err := l.acquire(ctx); err != nil {
			yield(Info{}, err)
			return
		}
		held := true
		defer func() {
			if held {
				l.release()
			}
		}()
		for info, err := range l.Store.List(ctx, prefix) {
			l.release()
			held = false
			if !yield(info, err) || err != nil {
				return
			}
			if err := l.acquire(ctx); err != nil {
				yield(Info{}, err)
				return
			}
			held = true
		}
	}
}

func (l *limitStore) Delete(ctx context.Context, keys ...string) error {
	return l.do(ctx, func() error { return l.Store.Delete(ctx, keys...) })
}
