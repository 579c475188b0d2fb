package token

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	keyLen  = 32
	maxKeys = 256
)

// Ring holds the keys tokens are sealed with: the newest seals, all of them
// open. A Ring is safe for concurrent use and must not be copied.
type Ring struct {
	state   atomic.Pointer[state] // read by every Seal and Open
	scratch sync.Pool

	mu sync.Mutex // held while state is replaced
}

// state is an immutable set of keys.
type state struct {
	keys  []*key // by age, the last one is active
	byID  [maxKeys]*key
	dummy *key // opens nothing; stands in for unknown ids
}

type key struct {
	id      byte
	secret  [keyLen]byte
	created time.Time
	aead    cipher.AEAD
}

// NewRing returns a Ring with one fresh key, made at now. It lives in memory
// until Text is stored.
func NewRing(now time.Time) (*Ring, error) {
	k, err := freshKey(1, now)
	if err != nil {
		return nil, err
	}
	return ringOf([]*key{k})
}

// Rotate makes a fresh key, made at now, the active one; the keys before it
// still open. The 257th key takes the place of the oldest, whose tokens end.
//
// Store is called with the new Text before the key seals anything, because a
// token under a lost key is lost too; an error of store leaves the Ring as it
// was. A nil store is for rings that live in memory only.
//
// Where several processes share the keys, all must have the new text before one
// of them seals with it: add the new line before the last, which is active,
// everywhere, and then move it to the end.
func (r *Ring) Rotate(now time.Time, store func(text []byte) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()

	old := r.state.Load()
	keys := slices.Clone(old.keys)
	if len(keys) == maxKeys {
		keys = keys[1:]
	}
	k, err := freshKey(freeID(keys), now)
	if err != nil {
		return err
	}
	next, err := stateOf(append(keys, k))
	if err != nil {
		return err
	}
	if store != nil {
		if err := store(next.text()); err != nil {
			return fmt.Errorf("store rotated keys: %w", err)
		}
	}
	r.state.Store(next)
	return nil
}

// Active returns the id of the key that seals.
func (r *Ring) Active() byte { return r.state.Load().active().id }

// String names the Ring without its secrets.
func (r *Ring) String() string {
	s := r.state.Load()
	return fmt.Sprintf("token.Ring(%d keys, %d active)", len(s.keys), s.active().id)
}

// GoString keeps secrets out of %#v as well.
func (r *Ring) GoString() string { return r.String() }

func ringOf(keys []*key) (*Ring, error) {
	s, err := stateOf(keys)
	if err != nil {
		return nil, err
	}
	r := &Ring{scratch: sync.Pool{New: func() any { return new(scratch) }}}
	r.state.Store(s)
	return r, nil
}

func stateOf(keys []*key) (*state, error) {
	if len(keys) == 0 {
		return nil, errors.New("no keys")
	}
	s := &state{keys: keys}
	for _, k := range keys {
		if s.byID[k.id] != nil {
			return nil, fmt.Errorf("key id %d appears twice", k.id)
		}
		s.byID[k.id] = k
	}
	dummy, err := freshKey(0, time.Time{})
	if err != nil {
		return nil, err
	}
	s.dummy = dummy
	return s, nil
}

func (s *state) active() *key { return s.keys[len(s.keys)-1] }

func (s *state) key(id byte) (k *key, known bool) {
	if k := s.byID[id]; k != nil {
		return k, true
	}
	return s.dummy, false
}

// freeID returns the id after the newest key's that no key holds.
func freeID(keys []*key) byte {
	id := keys[len(keys)-1].id
	for {
		id++ // wraps at 256
		if !slices.ContainsFunc(keys, func(k *key) bool { return k.id == id }) {
			return id
		}
	}
}

func freshKey(id byte, now time.Time) (*key, error) {
	k := &key{id: id, created: now.UTC().Truncate(time.Second)}
	rand.Read(k.secret[:]) // never fails: the runtime ends the process instead
	return k, k.open()
}

func (k *key) open() error {
	block, err := aes.NewCipher(k.secret[:])
	if err != nil {
		return fmt.Errorf("open token key: %w", err)
	}
	k.aead, err = cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return fmt.Errorf("open token key: %w", err)
	}
	return nil
}
