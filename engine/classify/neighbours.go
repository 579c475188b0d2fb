package classify

import (
	"slices"

	"mailwake/engine/event"
)

// NeighbourRules changes whenever a rule of Reclassify changes a label.
const NeighbourRules = 1

// The reasons that Reclassify gives. They are stored; their meaning never changes.
const (
	ReasonBurst             = "burst"               // scanner: many links within seconds
	ReasonManyNetworks      = "many_networks"       // scanner: many networks within minutes
	ReasonGatewayAtDelivery = "gateway_at_delivery" // scanner: a probable gateway, just after the mail was delivered
)

const (
	burstLinks  = 3 // different links …
	burstWindow = 10_000_000
	// … within 10 s: gateways fetch all links of a mail at once, people read.
	manyNetworks   = 3
	networksWindow = 120_000_000
	deliveryWindow = 5 * 60_000_000 // gateways look at mail before, or right after, it is in the mailbox
)

// Hit is one interaction of a recipient with an email, as far as its neighbours
// matter.
type Hit struct {
	At        event.Micros
	Kind      event.Kind
	Component int32
	Network   string
	Actor     event.Actor
	Reason    string
}

// Reclassify judges the hits of one recipient on one email, in the order of time,
// by what single requests do not show. It turns hits of people, and of nobody
// known, into a scanner's where their neighbours say so; it never takes a label
// back, so more neighbours only ever add to what fewer have shown. It reports
// whether it changed a hit.
func Reclassify(hits []Hit) bool {
	changed := window(hits, burstWindow, burstLinks, ReasonBurst, func(h *Hit) (int64, bool) {
		return int64(h.Component), h.Kind == event.Click
	})
	networks := map[string]int64{}
	changed = window(hits, networksWindow, manyNetworks, ReasonManyNetworks, func(h *Hit) (int64, bool) {
		if h.Network == "" || !fetched(h.Kind) || !person(h.Actor) && !byNeighbours(h.Reason) {
			return 0, false
		}
		if _, ok := networks[h.Network]; !ok {
			networks[h.Network] = int64(len(networks))
		}
		return networks[h.Network], true
	}) || changed
	return gateways(hits) || changed
}

func person(a event.Actor) bool { return a == event.Human || a == event.ActorUnknown }

// byNeighbours: a person's, had it been alone.
func byNeighbours(reason string) bool {
	return reason == ReasonBurst || reason == ReasonManyNetworks || reason == ReasonGatewayAtDelivery
}

func fetched(k event.Kind) bool {
	return k == event.Open || k == event.Click || k == event.AttachmentView
}

// window marks the hits within which least different values occur in the span.
// Hits for which value says no are passed over.
func window(hits []Hit, span event.Micros, least int, reason string, value func(*Hit) (int64, bool)) (changed bool) {
	type seen struct {
		value int64
		place int
	}
	var recent []seen
	var different []int64
	for i := range hits {
		v, ok := value(&hits[i])
		if !ok {
			continue
		}
		recent = append(recent, seen{v, i})
		for hits[i].At-hits[recent[0].place].At > span {
			recent = recent[1:]
		}
		if len(recent) < least {
			continue
		}
		different = different[:0]
		for _, s := range recent {
			if !slices.Contains(different, s.value) {
				different = append(different, s.value)
			}
			if len(different) == least {
				break
			}
		}
		if len(different) < least {
			continue
		}
		for _, s := range recent {
			changed = blame(&hits[s.place], reason) || changed
		}
	}
	return changed
}

// gateways marks what a probable gateway fetched just after the delivery.
func gateways(hits []Hit) (changed bool) {
	delivered := event.Micros(0)
	for i := range hits {
		h := &hits[i]
		switch {
		case h.Kind == event.Sent || h.Kind == event.Delivered:
			delivered = h.At
		case h.Reason == ReasonProbableGateway && delivered != 0 && h.At-delivered <= deliveryWindow:
			changed = blame(h, ReasonGatewayAtDelivery) || changed
		}
	}
	return changed
}

func blame(h *Hit, reason string) bool {
	if !person(h.Actor) {
		return false
	}
	h.Actor, h.Reason = event.Scanner, reason
	return true
}
