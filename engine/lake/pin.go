package lake

import "sync"

// pins are the data files that this process is using: Collect leaves them.
type pins struct {
	mu        sync.Mutex
	snapshots map[*Snapshot]int
	keys      map[string]int
}

func (p *pins) init() {
	p.snapshots, p.keys = map[*Snapshot]int{}, map[string]int{}
}

// Pin keeps the files of s from being collected until release is called, however
// long that takes. A file that is pinned later than the grace of Collect after it
// was replaced may be gone.
func (l *Lake) Pin(s *Snapshot) (release func()) { return pin(&l.pins, l.pins.snapshots, s) }

func (l *Lake) pinKey(key string) (release func()) { return pin(&l.pins, l.pins.keys, key) }

func pin[T comparable](p *pins, uses map[T]int, what T) (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	uses[what]++
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if uses[what]--; uses[what] == 0 {
			delete(uses, what)
		}
	})
}

// pinned returns the keys in use.
func (p *pins) pinned() map[string]struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	keys := make(map[string]struct{}, len(p.keys))
	for key := range p.keys {
		keys[key] = struct{}{}
	}
	for s := range p.snapshots {
		for _, f := range s.files {
			keys[f.Path] = struct{}{}
		}
	}
	return keys
}
