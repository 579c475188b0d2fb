package lake

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"mailwake/engine/blob"
)

// Lead makes this process the one that maintains the tables, until release is
// called or the process ends, however it ends: the lock is the kernel's, on a
// file beside the catalog, so it holds among all processes that can share a
// SQLite catalog. ok is false while another one leads. Only who leads may Receive:
// what was made for leaders that have ended is removed.
func (l *Lake) Lead(context.Context) (release func(), ok bool, err error) {
	f, err := os.OpenFile(l.opts.CatalogPath+".leader", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, false, fmt.Errorf("lead maintenance: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		err = errors.Join(err, f.Close())
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, false, nil
		}
		return nil, false, fmt.Errorf("lead maintenance: %w", err)
	}
	if err := blob.RemoveDrafts(l.madeDir(), madePrefix); err != nil {
		return nil, false, errors.Join(fmt.Errorf("lead maintenance: %w", err), f.Close())
	}
	return sync.OnceFunc(func() { _ = f.Close() }), true, nil
}
