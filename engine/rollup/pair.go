package rollup

import (
	"mailwake/engine/event"
)

// Event is what counts of an interaction.
type Event struct {
	Email     event.EmailID
	Recipient event.RecipientID
	ID        int64 // below 0: others reported it, perhaps more than once
	At        event.Micros
	Received  event.Micros
	Component int32
	Shape
}

// purposes is the number of kinds that need a recipient's consent: opens, clicks,
// attachment views and replies, in this order wherever they are numbered.
const purposes = 4

// purposeOf numbers the kinds that need consent.
func purposeOf(k event.Kind) (int, bool) {
	return int(k) - int(event.Open), k >= event.Open && k <= event.Reply
}

// Deeds is what was done of one purpose. Times are set where the counts beside
// them are not 0.
type Deeds struct {
	Total, Human, Machine uint32
	First, Last           event.Micros
	FirstHuman, LastHuman event.Micros
}

// Pair is what happened of one email with one recipient.
type Pair struct {
	Sends, Deliveries, Bounces, Complaints, Unsubscriptions uint32
	Others                                                  uint32 // events of no kind known here

	FirstSent, FirstDelivered event.Micros
	Did                       [purposes]Deeds
}

func isHuman(a event.Actor) bool { return a == event.Human || a == event.Proxy }

func isMachine(a event.Actor) bool {
	return a == event.Prefetch || a == event.Scanner || a == event.Bot
}

// Add counts an event.
func (p *Pair) Add(k event.Kind, a event.Actor, at event.Micros) {
	if i, ok := purposeOf(k); ok {
		p.Did[i].add(a, at)
		return
	}
	switch k {
	case event.Sent:
		earliest(&p.FirstSent, p.Sends, at)
		p.Sends++
	case event.Delivered:
		earliest(&p.FirstDelivered, p.Deliveries, at)
		p.Deliveries++
	case event.Bounced:
		p.Bounces++
	case event.Complained:
		p.Complaints++
	case event.Unsubscribed:
		p.Unsubscriptions++
	default:
		p.Others++
	}
}

func (d *Deeds) add(a event.Actor, at event.Micros) {
	earliest(&d.First, d.Total, at)
	latest(&d.Last, d.Total, at)
	d.Total++
	switch {
	case isHuman(a):
		earliest(&d.FirstHuman, d.Human, at)
		latest(&d.LastHuman, d.Human, at)
		d.Human++
	case isMachine(a):
		d.Machine++
	}
}

// earliest sets t to the smaller of at and t, which is set if n is not 0.
func earliest[N uint32 | int64](t *event.Micros, n N, at event.Micros) {
	if n == 0 || at < *t {
		*t = at
	}
}

func latest[N uint32 | int64](t *event.Micros, n N, at event.Micros) {
	if n == 0 || at > *t {
		*t = at
	}
}

// Empty reports whether the pair stands for no event.
func (p *Pair) Empty() bool {
	return p.Sends|p.Deliveries|p.Bounces|p.Complaints|p.Unsubscriptions|p.Others|
		p.Did[0].Total|p.Did[1].Total|p.Did[2].Total|p.Did[3].Total == 0
}

// LastActive returns when a person did something last, and whether one did anything.
func (p *Pair) LastActive() (last event.Micros, active bool) {
	last = p.lastActive()
	return last, last != never
}

// lastActive returns never if no person did anything.
func (p *Pair) lastActive() event.Micros {
	last := never
	for i := range p.Did {
		if d := &p.Did[i]; d.Human > 0 {
			last = max(last, d.LastHuman)
		}
	}
	return last
}
