package rollup

import (
	"strings"

	"mailwake/engine/event"
)

// Shape is what many events have in common.
type Shape struct {
	Kind                       event.Kind
	Actor                      event.Actor
	Device, Client, OS, Reason string
}

// Fact is an event of a known email and recipient. Shape numbers State.Shapes.
type Fact struct {
	At        event.Micros
	Shape     uint32
	Component int32
}

// maxShapes bounds the different shapes of one file, which are some hundreds.
const maxShapes = 1 << 16

// shapes numbers shapes.
type shapes struct {
	ids  map[Shape]uint32
	list []Shape
	// purposes has, for each, the bit of Consent that hides it, or 0.
	purposes []uint8
	sums     []uint64 // see digest
}

func newShapes() *shapes { return &shapes{ids: map[Shape]uint32{}} }

// id returns the number of x, which it keeps no text of.
func (s *shapes) id(x *Shape) uint32 {
	id, ok := s.ids[*x]
	if !ok {
		y := *x
		for _, text := range []*string{&y.Device, &y.Client, &y.OS, &y.Reason} {
			*text = strings.Clone(*text)
		}
		id = uint32(len(s.list))
		s.ids[y], s.list = id, append(s.list, y)
		var bit uint8
		if i, ok := purposeOf(y.Kind); ok {
			bit = 1 << i
		}
		s.purposes, s.sums = append(s.purposes, bit), append(s.sums, y.sum())
	}
	return id
}

// visible takes out of facts what the recipient's consent does not cover: a bit per
// purpose.
func (s *shapes) visible(facts []Fact, hidden uint8) []Fact {
	if hidden == 0 {
		return facts
	}
	kept := facts[:0]
	for _, f := range facts {
		if s.purposes[f.Shape]&hidden == 0 {
			kept = append(kept, f)
		}
	}
	return kept
}

// pair counts facts.
func (s *shapes) pair(facts []Fact) (p Pair) {
	s.add(&p, facts)
	return p
}

func (s *shapes) add(p *Pair, facts []Fact) {
	for i := range facts {
		x := &s.list[facts[i].Shape]
		p.Add(x.Kind, x.Actor, facts[i].At)
	}
}

// Human reports whether a person did it.
func (s *Shape) Human() bool { return isHuman(s.Actor) }

// Machine reports whether a machine did it.
func (s *Shape) Machine() bool { return isMachine(s.Actor) }

// Purpose numbers opens, clicks, attachment views and replies from 0. Other kinds
// have none.
func (s *Shape) Purpose() (i int, ok bool) { return purposeOf(s.Kind) }
