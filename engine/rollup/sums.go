package rollup

import (
	"math"

	"mailwake/engine/event"
)

// never is before all times.
const never = event.Micros(math.MinInt64)

// Sums add up pairs: of an email, of a recipient, or of all. Times are set where
// the counts they go with are not 0; LastActive is never where no person did
// anything.
type Sums struct {
	Pairs                         int64
	Sent, Bounced, Delivered      int64 // pairs: with a sent event; of these, bounced; not bounced
	Complained, Unsubscribed      int64 // pairs
	Confirmed                     int64 // pairs with an open or a click by a person
	Did                           [purposes]Doers
	FirstSent                     event.Micros
	FirstOpened, FirstOpenedHuman event.Micros
	LastOpened, LastOpenedHuman   event.Micros
	LastActive                    event.Micros
}

// Doers says how often something was done, and in how many pairs.
type Doers struct {
	Total, Human, Machine      int64
	Unique, ByHuman, ByMachine int64
}

// Active reports whether a person did anything.
func (s *Sums) Active() bool { return s.LastActive != never }

// NewSums returns the sums of nothing.
func NewSums() Sums { return Sums{LastActive: never} }

// Count adds a pair that is not empty.
func (s *Sums) Count(p *Pair) {
	if p.Sends > 0 {
		earliest(&s.FirstSent, s.Sent, p.FirstSent)
	}
	if d := &p.Did[0]; d.Total > 0 {
		earliest(&s.FirstOpened, s.Did[0].Unique, d.First)
		latest(&s.LastOpened, s.Did[0].Unique, d.Last)
		if d.Human > 0 {
			earliest(&s.FirstOpenedHuman, s.Did[0].ByHuman, d.FirstHuman)
			latest(&s.LastOpenedHuman, s.Did[0].ByHuman, d.LastHuman)
		}
	}
	s.LastActive = max(s.LastActive, p.lastActive())
	s.count(p, 1)
}

// remove takes a pair's counts back. The times stay: it is for pairs that come
// back with more events.
func (s *Sums) remove(p *Pair) { s.count(p, -1) }

func (s *Sums) count(p *Pair, n int64) {
	s.Pairs += n
	if p.Sends > 0 {
		s.Sent += n
		if p.Bounces > 0 {
			s.Bounced += n
		} else {
			s.Delivered += n
		}
	}
	if p.Complaints > 0 {
		s.Complained += n
	}
	if p.Unsubscriptions > 0 {
		s.Unsubscribed += n
	}
	if p.Did[0].Human > 0 || p.Did[1].Human > 0 {
		s.Confirmed += n
	}
	for i := range p.Did {
		if p.Did[i].Total > 0 {
			s.Did[i].count(&p.Did[i], n)
		}
	}
}

func (d *Doers) count(p *Deeds, n int64) {
	d.Total += n * int64(p.Total)
	d.Human += n * int64(p.Human)
	d.Machine += n * int64(p.Machine)
	d.Unique += n
	if p.Human > 0 {
		d.ByHuman += n
	}
	if p.Machine > 0 {
		d.ByMachine += n
	}
}

// Add adds up two sums of different pairs.
func (s *Sums) Add(t *Sums) {
	if t.Sent > 0 {
		earliest(&s.FirstSent, s.Sent, t.FirstSent)
	}
	if t.Did[0].Unique > 0 {
		earliest(&s.FirstOpened, s.Did[0].Unique, t.FirstOpened)
		latest(&s.LastOpened, s.Did[0].Unique, t.LastOpened)
	}
	if t.Did[0].ByHuman > 0 {
		earliest(&s.FirstOpenedHuman, s.Did[0].ByHuman, t.FirstOpenedHuman)
		latest(&s.LastOpenedHuman, s.Did[0].ByHuman, t.LastOpenedHuman)
	}
	s.LastActive = max(s.LastActive, t.LastActive)
	s.Pairs += t.Pairs
	s.Sent += t.Sent
	s.Bounced += t.Bounced
	s.Delivered += t.Delivered
	s.Complained += t.Complained
	s.Unsubscribed += t.Unsubscribed
	s.Confirmed += t.Confirmed
	for i := range s.Did {
		d, e := &s.Did[i], &t.Did[i]
		d.Total += e.Total
		d.Human += e.Human
		d.Machine += e.Machine
		d.Unique += e.Unique
		d.ByHuman += e.ByHuman
		d.ByMachine += e.ByMachine
	}
}
