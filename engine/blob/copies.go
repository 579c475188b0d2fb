package blob

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

// CopyKind says why a store still has bytes that Delete or Put took away.
type CopyKind string

// Kinds of copies.
const (
	CopyVersion  CopyKind = "version"      // what a blob was before it was replaced or deleted
	CopySnapshot CopyKind = "snapshot"     // taken by somebody
	CopyDeleted  CopyKind = "soft_deleted" // deleted, and kept by the account for some days
)

// Copy is one copy that a storage account keeps beyond the current blobs.
type Copy struct {
	Key   string    `json:"key"`
	Kind  CopyKind  `json:"kind"`
	ID    string    `json:"id,omitempty"` // version or snapshot; empty for a deleted blob itself
	Bytes int64     `json:"bytes"`
	Until time.Time `json:"until,omitzero"` // when the account drops it by itself; zero: never
}

// Copier is what a Store is too when its account may keep copies. A folder and
// memory keep none; see CopiesOf.
type Copier interface {
	// Copies yields the copies of keys that begin with prefix.
	Copies(ctx context.Context, prefix string) iter.Seq2[Copy, error]
	// Expunge deletes copies for good. Those that the account or the credential does
	// not allow to be deleted are returned, with no error.
	Expunge(ctx context.Context, copies ...Copy) (left []Copy, err error)
	// Keeps is for how long the account keeps what is deleted from now on; 0 for
	// nothing. ErrNotTold when the credential may not know.
	Keeps(ctx context.Context) (time.Duration, error)
}

// ErrNotTold says that the account does not tell these credentials how long it
// keeps deleted blobs.
var ErrNotTold = errors.New("the storage account does not say how long it keeps deleted blobs")

// CopiesOf returns s, below any wrappers, as a Copier; ok is false for stores whose
// deletions are final.
func CopiesOf(s Store) (c Copier, ok bool) {
	for {
		if c, ok := s.(Copier); ok {
			return c, true
		}
		w, wraps := s.(interface{ Unwrap() Store })
		if !wraps {
			return nil, false
		}
		s = w.Unwrap()
	}
}

// ExpungeAll deletes all copies of wanted keys with prefix that may be deleted, and
// returns how many those were, and the rest. A live blob is not a copy.
func ExpungeAll(ctx context.Context, s Store, prefix string, wanted func(key string) bool) (done int, left []Copy, err error) {
	c, ok := CopiesOf(s)
	if !ok {
		return 0, nil, nil
	}
	var all []Copy
	for one, err := range c.Copies(ctx, prefix) {
		if err != nil {
			return 0, nil, fmt.Errorf("list copies that the storage account keeps: %w", err)
		}
		if wanted(one.Key) {
			all = append(all, one)
		}
	}
	if len(all) == 0 {
		return 0, nil, nil
	}
	left, err = c.Expunge(ctx, all...)
	return len(all) - len(left), left, err
}
