package main

import (
	"iter"
	"time"

	"mailwake/engine"
	"mailwake/engine/event"
	"mailwake/engine/registry"
	"mailwake/query"
)

const day = 24 * time.Hour

// rulesOf tells queries what may be shown of an organisation as of the registry's
// last change.
func rulesOf(reg *registry.Registry) func(event.OrgID) (query.Rules, error) {
	return func(id event.OrgID) (query.Rules, error) {
		s := reg.Snapshot()
		o, ok := s.Org(id)
		if !ok {
			return query.Rules{}, engine.ErrUnknownOrg
		}
		c := s.Consent(id)
		return query.Rules{
			State: o.State, PurgeAt: o.PurgeAt, MaxAge: time.Duration(o.Policy.MaxAgeDays) * day, Zone: o.Policy.Zone, Emptied: c.Emptied,
			Consent: query.Consent{
				OptIn: c.OptIn, Version: c.Version,
				Denied:  func(k event.Kind) iter.Seq[event.RecipientID] { return c.Denied(registry.PurposeOf(k)) },
				Granted: func(k event.Kind) iter.Seq[event.RecipientID] { return c.Granted(registry.PurposeOf(k)) },
			},
		}, nil
	}
}
