package ingest

import (
	"errors"
	"fmt"

	"mailwake/engine/problem"
	"mailwake/engine/registry"
)

// PreferenceChanges is the request to record preferences.
type PreferenceChanges struct {
	Changes []NewPreference `json:"changes" minItems:"1" maxItems:"10000" doc:"In order; larger sets are imported."`
	Proof   Proof           `json:"proof" doc:"What shows that all of them were given so."`
}

// NewPreference is one subject's new preference: a person by kind and external id,
// or an address, or a recipient by number. The same fields are the columns of an
// import. What is left out stays as it is.
type NewPreference struct {
	Kind        string `json:"kind,omitempty" enum:"contact,lead,account,recipient"`
	ExternalID  string `json:"external_id,omitempty" maxLength:"256" doc:"Of a contact, lead or account."`
	Address     string `json:"address,omitempty" maxLength:"320" doc:"Of a recipient, who is created when missing."`
	RecipientID int64  `json:"recipient_id,omitempty" minimum:"0"`
	Follow      string `json:"follow,omitempty" enum:"unknown,allowed,denied" doc:"Follow Email: all four purposes at once."`
	Open        string `json:"open,omitempty" enum:"unknown,allowed,denied" doc:"Instead of follow."`
	Click       string `json:"click,omitempty" enum:"unknown,allowed,denied" doc:"Instead of follow."`
	Attachment  string `json:"attachment,omitempty" enum:"unknown,allowed,denied" doc:"Instead of follow."`
	Reply       string `json:"reply,omitempty" enum:"unknown,allowed,denied" doc:"Instead of follow."`
	Evidence    string `json:"evidence,omitempty" maxLength:"1000" doc:"Of this change, instead of the proof's."`
}

// Proof is what shows that preferences were given as recorded. None of it should
// hold an address or a name: the ledger outlives the person's records.
type Proof struct {
	Source      string `json:"source" minLength:"1" maxLength:"100" doc:"Where it was given." example:"signup form"`
	FormVersion string `json:"form_version,omitempty" maxLength:"100" example:"2026-03"`
	Text        string `json:"text,omitempty" maxLength:"16384" doc:"Exactly what was shown."`
	Locale      string `json:"locale,omitempty" maxLength:"35" doc:"Of the text." example:"de"`
	Evidence    string `json:"evidence,omitempty" maxLength:"1000" doc:"For example the Message-ID of a double opt-in."`
}

func (p *Proof) proof(by registry.Actor) registry.Proof {
	return registry.Proof{Source: p.Source, FormVersion: p.FormVersion, Text: p.Text, Locale: p.Locale, Evidence: p.Evidence, Actor: by}
}

// fault is what is wrong with one preference. It never holds what was given.
type fault struct {
	field, code, message string
}

// changes turns the preference into one registry change for each state it sets.
func (n *NewPreference) changes() ([]registry.PreferenceChange, *fault) {
	change := registry.PreferenceChange{Address: n.Address, Evidence: n.Evidence}
	person := n.Kind != "" && n.Kind != recipientKind
	switch {
	case person && (n.ExternalID == "" || n.Address != "" || n.RecipientID != 0):
		return nil, &fault{"external_id", "preference_subject_invalid", "a contact, lead or account is named by external_id alone"}
	case !person && (n.ExternalID != "" || (n.Address == "") == (n.RecipientID == 0)):
		return nil, &fault{"address", "preference_subject_invalid", "say kind and external_id of a person, or the address or number of a recipient"}
	case person:
		change.Person = registry.PersonKey{Kind: registry.PersonKind(n.Kind), ExternalID: n.ExternalID}
		if n.Kind != string(registry.Contact) && n.Kind != string(registry.Lead) && n.Kind != string(registry.Account) {
			return nil, &fault{"kind", "preference_subject_invalid", "the kind must be contact, lead, account or recipient"}
		}
	case n.RecipientID != 0:
		change.Subject = registry.Subject{Kind: registry.SubjectRecipient, ID: n.RecipientID}
	}
	var sets [registry.Denied + 1]registry.Purposes
	for _, f := range []struct {
		name, state string
		purpose     registry.Purpose
	}{
		{"open", n.Open, registry.PurposeOpen}, {"click", n.Click, registry.PurposeClick},
		{"attachment", n.Attachment, registry.PurposeAttachment}, {"reply", n.Reply, registry.PurposeReply},
	} {
		if f.state == "" {
			f.name, f.state = "follow", n.Follow
		}
		if f.state == "" {
			continue
		}
		state, ok := registry.ParsePreference(f.state)
		if !ok {
			return nil, &fault{f.name, "preference_invalid", "a preference is unknown, allowed or denied"}
		}
		sets[state] |= registry.PurposesOf(f.purpose)
	}
	var out []registry.PreferenceChange
	for state, set := range sets {
		if set != 0 {
			change.State, change.Purposes = registry.Preference(state), set
			out = append(out, change)
		}
	}
	if out == nil {
		return nil, &fault{"follow", "preference_invalid", "nothing is set: give follow, open, click, attachment or reply"}
	}
	return out, nil
}

// changes turns the request into registry changes; from tells for each of them
// which of the request's it comes from.
func (p *PreferenceChanges) changes() (all []registry.PreferenceChange, from []int, err error) {
	for i := range p.Changes {
		part, wrong := p.Changes[i].changes()
		if wrong != nil {
			return nil, nil, problem.New(422, wrong.code, "In changes[%d].%s: %s.", i, wrong.field, wrong.message)
		}
		for range part {
			from = append(from, i)
		}
		all = append(all, part...)
	}
	return all, from, nil
}

// placed says where in the request the fault of a single change is.
func placed(err error, from []int) error {
	c, ok := errors.AsType[*registry.ChangeError](err)
	if !ok {
		return err
	}
	p := *problem.Of(c.Err)
	p.Detail = fmt.Sprintf("In changes[%d]: %s", from[c.Index], p.Detail)
	return &p
}
