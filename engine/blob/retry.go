package blob

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"time"
)

// RetryPolicy says how often and when a failed operation is tried again. Zero
// fields mean the defaults: 5 tries with pauses around 0.1, 0.2, 0.4 and 0.8 s.
type RetryPolicy struct {
	Tries int           // in all, 5
	First time.Duration // longest pause after the first try, 150 ms; it doubles
	Max   time.Duration // longest pause ever, 10 s
	// Notify, if not nil, hears of each try that will be repeated after wait.
	// It is called by the goroutine of the operation.
	Notify func(op, key string, try int, wait time.Duration, err error)
}

// Retry returns s with operations repeated while their error IsTransient. The
// last error is returned, still transient, once the tries are used up or ctx
// ends.
//
// Put with ifAbsent: a try that failed may have stored the object all the same,
// and the next one then finds it. So ErrExists after a failed try is compared
// with what is stored, byte for byte, and the same bytes mean success. A
// caller for whom it matters who was first must put something of its own into
// the body, since equal bodies cannot be told apart.
//
// Get repeats the opening of a body, not its reading; List goes on after the
// last key it has yielded.
func Retry(s Store, p RetryPolicy) Store {
	p.Tries = cmp.Or(p.Tries, 5)
	p.First = cmp.Or(p.First, 150*time.Millisecond)
	p.Max = cmp.Or(p.Max, 10*time.Second)
	return &retryStore{s, p}
}

type retryStore struct {
	Store
	policy RetryPolicy
}

// Unwrap returns the store below.
func (r *retryStore) Unwrap() Store { return r.Store }

// do calls f, with the number of the try from 1, until it succeeds or has no
// hope left.
func (r *retryStore) do(ctx context.Context, op, key string, f func(try int) error) error {
	for try := 1; ; try++ {
		err := f(try)
		if err == nil || !IsTransient(err) {
			return err
		}
		if try >= r.policy.Tries {
			return fmt.Errorf("tried %d times: %w", try, err)
		}
		wait := r.policy.pause(try)
		if r.policy.Notify != nil {
			r.policy.Notify(op, key, try, wait, err)
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("%w after %d tries, the last one: %v", ctx.Err(), try, err) //nolint:errorlint // the store's error must not make this one transient
		}
	}
}

// pause is between half and all of the doubled pause, so that stores that
// failed together do not come back together.
func (p RetryPolicy) pause(try int) time.Duration {
	most := p.First
	for range try - 1 {
		if most >= p.Max/2 {
			most = p.Max
			break
		}
		most *= 2
	}
	most = min(most, p.Max)
	return most/2 + rand.N(most/2+1)
}

func (r *retryStore) Put(ctx context.Context, key string, body io.ReadSeeker, ifAbsent bool) error {
	return r.do(ctx, "put", key, func(try int) error {
		err := r.Store.Put(ctx, key, body, ifAbsent)
		if try == 1 || !errors.Is(err, ErrExists) {
			return err
		}
		same, errSame := r.holds(ctx, key, body)
		switch {
		case errSame != nil:
			return fmt.Errorf("put %s: find out whether an earlier try has succeeded: %w", key, errSame)
		case same:
			return nil
		default:
			return err
		}
	})
}

// holds reports whether the object under key has the bytes of body.
func (r *retryStore) holds(ctx context.Context, key string, body io.ReadSeeker) (bool, error) {
	size, err := rewind(body)
	if err != nil {
		return false, err
	}
	info, err := r.Store.Stat(ctx, key)
	if err != nil || info.Size != size {
		return false, err
	}
	stored, err := r.Store.Get(ctx, key, 0, -1)
	if err != nil {
		return false, err
	}
	same, err := sameBytes(stored, body)
	return same, errors.Join(err, stored.Close())
}

func sameBytes(a, b io.Reader) (bool, error) {
	ra, rb := bufio.NewReaderSize(a, 64<<10), bufio.NewReaderSize(b, 64<<10)
	for {
		ca, errA := ra.ReadByte()
		cb, errB := rb.ReadByte()
		endA, endB := errors.Is(errA, io.EOF), errors.Is(errB, io.EOF)
		switch {
		case errA != nil && !endA:
			return false, errA
		case errB != nil && !endB:
			return false, errB
		case endA || endB:
			return endA && endB, nil
		case ca != cb:
			return false, nil
		}
	}
}

func (r *retryStore) Get(ctx context.Context, key string, off, n int64) (body io.ReadCloser, err error) {
	err = r.do(ctx, "get", key, func(int) error {
		body, err = r.Store.Get(ctx, key, off, n)
		return err
	})
	return body, err
}

func (r *retryStore) Stat(ctx context.Context, key string) (info Info, err error) {
	err = r.do(ctx, "stat", key, func(int) error {
		info, err = r.Store.Stat(ctx, key)
		return err
	})
	return info, err
}

func (r *retryStore) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		last, stopped := "", false
		err := r.do(ctx, "list", prefix, func(int) error {
			for info, err := range r.Store.List(ctx, prefix) {
				if err != nil {
					return err
				}
				if info.Key <= last {
					continue
				}
				last = info.Key
				if !yield(info, nil) {
					stopped = true
					return nil
				}
			}
			return nil
		})
		if err != nil && !stopped {
			yield(Info{}, err)
		}
	}
}

func (r *retryStore) Delete(ctx context.Context, keys ...string) error {
	return r.do(ctx, "delete", fmt.Sprintf("%d keys", len(keys)), func(int) error {
		return r.Store.Delete(ctx, keys...)
	})
}
