package query

import (
	"iter"
	"slices"
	"time"

	"mailwake/engine/event"
	"mailwake/engine/registry"
)

// fedRules are the Rules of an order. The lists, by the order of Purposes, come
// when they changed: whom the rows are not shown of, or shown of under OptIn.
type fedRules struct {
	MaxAge  time.Duration
	OptIn   bool
	Version uint64
	Changed bool
	Lists   [4][]event.RecipientID
}

// fedRules returns what the worker needs to follow the rules.
func (p *worker) fedRules(r *Rules) fedRules {
	f := fedRules{MaxAge: r.MaxAge, OptIn: r.Consent.OptIn, Version: r.Consent.Version}
	if p.consented && p.consent == f.Version && p.optIn == f.OptIn {
		return f
	}
	members := r.Consent.Denied
	if f.OptIn {
		members = r.Consent.Granted
	}
	for i, kind := range Purposes() {
		f.Lists[i] = slices.Collect(members(kind))
	}
	f.Changed = true
	p.consented, p.consent, p.optIn = true, f.Version, f.OptIn
	return f
}

// apply makes the rules what the order says. Only readable organisations' orders
// reach a worker.
func (f *fedRules) apply(r *Rules) {
	r.State, r.MaxAge = registry.OrgEnabled, f.MaxAge
	if !f.Changed {
		return
	}
	lists := map[event.Kind][]event.RecipientID{}
	for i, kind := range Purposes() {
		lists[kind] = f.Lists[i]
	}
	members := func(kind event.Kind) iter.Seq[event.RecipientID] { return slices.Values(lists[kind]) }
	r.Consent = Consent{OptIn: f.OptIn, Version: f.Version, Denied: members, Granted: members}
}
