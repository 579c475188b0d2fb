package classify

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
)

// cache remembers what user agents mean. Every agent has two slots it may be
// in, given by its hash; a new one takes an empty slot or replaces the agent in
// the first. So memory is bounded, a hit takes no lock, and what a flood of new
// agents pushes out is merely read again.
type cache struct {
	seed  maphash.Seed
	mask  uint64
	slots []atomic.Pointer[agent]
	read  func(userAgent string) *agent
}

// newCache returns a cache of entries slots, rounded up to a power of two.
func newCache(entries int, read func(string) *agent) *cache {
	size := uint64(1) << bits.Len(uint(entries-1))
	return &cache{seed: maphash.MakeSeed(), mask: size - 1, slots: make([]atomic.Pointer[agent], size), read: read}
}

func (c *cache) get(userAgent []byte) *agent {
	userAgent = userAgent[:min(len(userAgent), MaxUserAgent)]
	first, second := c.places(maphash.Bytes(c.seed, userAgent))
	if a := first.Load(); a != nil && a.key == string(userAgent) {
		return a
	}
	if a := second.Load(); a != nil && a.key == string(userAgent) {
		return a
	}
	return c.miss(first, second, string(userAgent))
}

func (c *cache) getString(userAgent string) *agent {
	userAgent = userAgent[:min(len(userAgent), MaxUserAgent)]
	first, second := c.places(maphash.String(c.seed, userAgent))
	if a := first.Load(); a != nil && a.key == userAgent {
		return a
	}
	if a := second.Load(); a != nil && a.key == userAgent {
		return a
	}
	return c.miss(first, second, userAgent)
}

func (c *cache) places(hash uint64) (first, second *atomic.Pointer[agent]) {
	return &c.slots[hash&c.mask], &c.slots[hash>>32&c.mask]
}

// miss reads userAgent and remembers it. Doing that twice at a time is harmless.
func (c *cache) miss(first, second *atomic.Pointer[agent], userAgent string) *agent {
	a := c.read(userAgent)
	if !first.CompareAndSwap(nil, a) && !second.CompareAndSwap(nil, a) {
		first.Store(a)
	}
	return a
}
