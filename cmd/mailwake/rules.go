package main

import (
	"iter"

	"mailwake/engine"
	"mailwake/engine/event"
	"mailwake/engine/registry"
	"mailwake/query"
)

// rulesOf tells queries what may be shown of an organisation as of the registry's
// last change.
func rulesOf(reg *registry.Registry) func(event.OrgID) (query.Rules, error) {
	return func(id event.OrgID) (query.Rules, error) {
		o, ok := reg.Snapshot().Org(id)
		if !ok {
			return query.Rules{}, engine.ErrUnknownOrg
		}
		nobody := func(event.Kind) iter.Seq[event.RecipientID] { return func(func(event.RecipientID) bool) {} }
		return query.Rules{State: o.State, Consent: query.Consent{Denied: nobody, Granted: nobody}}, nil
	}
}
